"""Report what the speed benchmark found, as ratios, tables and a chart."""

import platform
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.timing import Limits, Spread
from utils.charts import COLOURS, SMALL, make_panels, to_pixels
from utils.files import write_text
from utils.image import write_image
from utils.report import Picture, Table, to_markdown, to_terminal

BARS = {
    "patch_ratio": (80, "patches/s, cache over published path"),
    "memcpy_ratio": (4, "a batch's time over a plain copy of its bytes; at most"),
    "crop_ratio": (1.5, "cropper, one worker over two"),
    "crop_plain_ratio": (1, "cropper, plain OpenCV over one worker of ours"),
    "raw_to_first_batch_ratio": (4, "raw frames to the first batch, by crops over by the cache, two cores each"),
    "step_ratio": (1, "training step, naive over ours"),
    "gemm_fraction": (0.65, "FLOP/s of the training step over the best matrix product's"),
}
AT_MOST = ("memcpy_ratio",)


class Comparison(NamedTuple):
    """A row of the report."""

    what: str
    ours: str
    naive: str
    faster: Spread  # naive over ours, in time
    fraction: float  # of the limit
    limit: str


class Found(NamedTuple):
    """Findings of one part of the benchmark."""

    ratios: dict[str, Spread]
    rows: list[Comparison]
    tables: list[Table]


def bars_table(ratios: dict[str, Spread]) -> Table:
    """Set the ratios beside their bars."""
    rows = []
    for name, value in ratios.items():
        bar, meaning = BARS[name]
        held = value.median <= bar if name in AT_MOST else value.median >= bar
        rows.append([name, str(value), f"{'≤' if name in AT_MOST else '≥'} {bar}", "yes" if held else "no", meaning])
    return Table.from_rows(["ratio", "median (range)", "bar", "held", "of what"], rows)


def comparison_table(rows: list[Comparison]) -> Table:
    """Set ours beside the naive way and the machine's limit."""
    cells = [[row.what, row.ours, row.naive, str(row.faster), f"{row.fraction:.2f}", row.limit] for row in rows]
    header = ["what", "ours", "naive", "ours faster, times", "fraction of limit", "limit"]
    caption = "Naive: the published protocol, written plainly. Evaluation: ours is all metrics, naive one."
    return Table.from_rows(header, cells, caption)


def limits_table(limits: Limits) -> Table:
    """List the machine's limits."""
    rows = [[f"GEMM, {name}", "GFLOP/s", str(value)] for name, value in limits.gflops.items()]
    rows += [["memory copy", "GB/s", str(limits.copy_gb)], ["PNG decoding", "megapixels/s", str(limits.decode_mp)]]
    rows.append(["PNG encoding", "megapixels/s", str(limits.encode_mp)])
    return Table.from_rows(["limit", "unit", "median (range)"], rows, "The machine. Copies and PNGs: one thread.")


def draw(rows: list[Comparison]) -> np.ndarray:
    """Draw bars: how many times faster than the naive way, and fraction of the machine's limit, (H, W, 3) uint8."""
    titles = ["times as fast as the naive way", "fraction of the limit"]
    figure, (ratios, limits) = make_panels("Speed", titles, "", "", 2, (3.9, 0.6 + 0.4 * len(rows)))
    ratios.set_xscale("log")
    ratios.axvline(1, color="0.3", linewidth=1)
    ratios.xaxis.set_major_formatter("{x:g}")
    for number, row in enumerate(rows):
        ratios.barh(number, row.faster.median - 1, left=1, color=COLOURS[0], height=0.62, alpha=0.85)
        ratios.plot([row.faster.low, row.faster.high], [number, number], color="black", linewidth=1.2)
        limits.barh(number, row.fraction, color=COLOURS[2], height=0.62, alpha=0.85)
        for axis, end, text in (
            (ratios, max(1, row.faster.high), f"{row.faster.median:.3g}"),
            (limits, row.fraction, f"{row.fraction:.2f}"),
        ):
            axis.annotate(text, (end, number), (6, 0), textcoords="offset points", size=SMALL, va="center")
    for axis, names in ((ratios, [row.what for row in rows]), (limits, [""] * len(rows))):
        axis.set_yticks(range(len(rows)), names)
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.margins(x=0.18)
        axis.grid(axis="y", visible=False)
    return to_pixels(figure)


def write(folder: Path, found: Found, limits: Limits, made: str) -> None:
    """Write speed.md and speed.png, and print the tables."""
    write_image(folder / "speed.png", draw(found.rows))
    tables = [bars_table(found.ratios), comparison_table(found.rows), limits_table(limits), *found.tables]
    for table in tables:
        print(to_terminal(table), end="\n\n", flush=True)
    items: list[str | Table | Picture] = [made, *tables[:2], Picture(folder / "speed.png"), *tables[2:]]
    write_text(folder / "speed.md", to_markdown("Speed", {"": items}))


def processor() -> str:
    """Return the name of the processor, or what the platform has of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
