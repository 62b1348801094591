"""What the speed benchmark found, as ratios, tables and a chart."""

import platform
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch

from benchmark.data_path import CropResult
from benchmark.limits import MEGAPIXELS, Limits
from benchmark.published import corners
from benchmark.samples import BATCH
from benchmark.speed_chart import draw
from benchmark.timing import Spread, ratio, spread
from benchmark.training import StepResult
from models.networks import PAPER_NAMES
from utils.files import write_text
from utils.image import write_image
from utils.report import Heading, Picture, Table, Text, to_markdown, to_terminal

BARS = {
    "patch_ratio": (80, "patches/s, cache over published path"),
    "memcpy_ratio": (4, "a batch's time over a plain copy of its bytes; at most"),
    "crop_ratio": (1.7, "cropper, one process over two"),
    "raw_to_first_batch_ratio": (4, "raw frames to the first batch, by crops over by the cache, two cores each"),
    "step_ratio": (1, "training step, naive over ours"),
    "gemm_fraction": (0.65, "FLOP/s of the training step over the best matrix product's"),
}
AT_MOST = ("memcpy_ratio",)
Times = dict[str, list[float]]  # seconds by name and round


class Measured(NamedTuple):
    """All that was timed."""

    limits: Limits
    step: StepResult
    patches: CropResult
    crop: Times
    first_batch: dict[int, Times]  # by number of workers
    evaluation: Times
    curve: list[dict[str, float]]  # rows of benchmark.data_path
    frames: int
    sides: tuple[int, int]
    evaluated: int  # crops


def headline(measured: Measured) -> dict[str, Spread]:
    """The ratios that have bars, in their order."""
    step, crop, first = measured.step.seconds, measured.crop, measured.first_batch[2]
    rate = measured.step.flops / measured.step.gemm_flops
    return {
        "patch_ratio": measured.patches.ratios["patch_ratio"],
        "memcpy_ratio": measured.patches.ratios["memcpy_ratio"],
        "crop_ratio": ratio(crop["one process"], crop["two processes"]),
        "raw_to_first_batch_ratio": ratio(first["Crop_SIDD.py"], first["cache"]),
        "step_ratio": ratio(step["naive"], step["ours"]),
        "gemm_fraction": spread([rate * gemm / ours for gemm, ours in zip(step["gemm"], step["ours"])]),
    }


def comparisons(measured: Measured) -> list[tuple[str, str, str, Spread, float, str]]:
    """Rows: what, ours, naive, naive over ours, fraction of the limit, which limit."""
    step, crop, evaluation = measured.step.seconds, measured.crop, measured.evaluation
    limits, row = measured.limits, measured.patches.row
    megapixels = 2 * measured.sides[0] * measured.sides[1] / 1e6  # of a pair of frames
    cut = 2 * len(corners(*measured.sides)) * MEGAPIXELS
    decoding = megapixels / limits.decode_mp.median
    cutting = decoding + cut / limits.encode_mp.median
    ratios = headline(measured)

    def middle(values: list[float]) -> float:
        return spread(values).median

    rows = [
        (
            f"training patches/s, batches of {BATCH}",
            *(f"{1e6 / row[name]:,.0f}" for name in ("on CPU", "published")),
            ratios["patch_ratio"],
            row["copy"] / row["batches"],
            "memory copy",
        )
    ]
    for name, processes in (("one process", 1), ("two processes", 2)):
        seconds, published = ([value / measured.frames for value in crop[key]] for key in (name, "published"))
        shown = f"{middle(seconds):.2f}", f"{middle(published):.2f}"
        limit = cutting / processes / middle(seconds)
        rows.append((f"cropper, s/frame pair, {name}", *shown, ratio(published, seconds), limit, "PNG coding"))
    for workers, taken in measured.first_batch.items():
        limit = measured.frames * decoding / workers / middle(taken["cache"])
        for name, what in (("published", "published cropper"), ("Crop_SIDD.py", "Crop_SIDD.py")):
            shown = (f"{middle(taken[key]):.2f}" for key in ("cache", name))
            label = f"raw to first batch, s, {workers} worker{'s' * (workers > 1)}, beside {what}"
            rows.append((label, *shown, ratio(taken[name], taken["cache"]), limit, "PNG decoding"))
    shown = (f"{1 / middle(step[name]):.3f}" for name in ("ours", "naive"))
    rows.append(
        ("training steps/s", *shown, ratios["step_ratio"], ratios["gemm_fraction"].median, limits.best_gemm_name())
    )
    shown = (f"{measured.evaluated / middle(evaluation[name]):.1f}" for name in ("ours", "published"))
    limit = measured.evaluated * 2 * MEGAPIXELS / limits.decode_mp.median / 2 / middle(evaluation["ours"])
    rows.append(
        ("evaluation images/s", *shown, ratio(evaluation["published"], evaluation["ours"]), limit, "PNG decoding")
    )
    return rows


def write(folder: Path, measured: Measured, ratios: dict[str, Spread], conditions: str) -> None:
    """Write speed.md and speed.png, and print the tables."""
    rows = comparisons(measured)
    shares = step_shares(measured.step)
    write_image(
        folder / "speed.png", draw([(row[0], row[3]) for row in rows], [(row[0], row[4]) for row in rows], shares)
    )
    tables = [bars_table(ratios), comparison_table(rows), limits_table(measured.limits), step_table(measured.step)]
    if measured.curve:
        tables.append(curve_table(measured.curve))
    for table in tables:
        print(to_terminal(table), end="\n\n", flush=True)
    command = "python -m benchmark.speed" + " --cost_curve" * bool(measured.curve)
    made = f"{date.today()}, {processor()}, torch {torch.__version__}; {conditions}. Made by `{command}`."
    blocks = [Heading("Speed", 1), Text(made), *tables[:2], Picture(folder / "speed.png", ""), *tables[2:]]
    write_text(folder / "speed.md", to_markdown(blocks))


def bars_table(ratios: dict[str, Spread]) -> Table:
    rows = []
    for name, value in ratios.items():
        bar, meaning = BARS[name]
        held = value.median <= bar if name in AT_MOST else value.median >= bar
        rows.append([name, str(value), f"{'≤' if name in AT_MOST else '≥'} {bar}", "yes" if held else "no", meaning])
    return Table(["ratio", "median (range)", "bar", "held", "of what"], rows)


def comparison_table(rows: list[tuple]) -> Table:
    cells = [[what, *shown, str(times), f"{part:.2f}", limit] for what, *shown, times, part, limit in rows]
    header = ["what", "ours", "naive", "ours faster, times", "fraction of limit", "limit"]
    return Table(
        header, cells, "Naive: the published protocol, written plainly. Evaluation: ours is all metrics, naive one."
    )


def limits_table(limits: Limits) -> Table:
    rows = [[f"GEMM, {name}", "GFLOP/s", str(value)] for name, value in limits.gflops.items()]
    rows += [["memory copy", "GB/s", str(limits.copy_gb)], ["PNG decoding", "megapixels/s", str(limits.decode_mp)]]
    rows.append(["PNG encoding", "megapixels/s", str(limits.encode_mp)])
    return Table(["limit", "unit", "median (range)"], rows, "The machine. Copies and PNGs: one thread.")


def step_shares(step: StepResult) -> dict[str, float]:
    """Share of each network in the time of a step; `rest` is what is not a network's alone."""
    whole = spread(step.seconds["ours"]).median
    shares = {letter: seconds / whole for letter, (seconds, _) in step.parts.items()}
    return shares | {"rest": max(0.0, 1 - sum(shares.values()))}


def step_table(step: StepResult) -> Table:
    shares, rows = step_shares(step), []
    for letter, (seconds, flops) in step.parts.items():
        rate = flops / seconds / 1e9
        rows.append([f"{letter}: {PAPER_NAMES[letter]}", f"{shares[letter]:.1%}", f"{flops / 1e9:.1f}", f"{rate:.0f}"])
    whole = spread(step.seconds["ours"]).median
    rows.append(["rest", f"{shares['rest']:.1%}", "", ""])
    rows.append(["a step", "100%", f"{step.flops / 1e9:.1f}", f"{step.flops / whole / 1e9:.0f}"])
    caption = "A mean training step by network, each timed alone, with its backward passes, critic losses and Adam."
    return Table(["network", "share of time", "GFLOP", "GFLOP/s"], rows, caption)


def curve_table(curve: list[dict[str, float]]) -> Table:
    names = {"crops": "crops", "build": "build, s", "files": "files, GB", "memory": "memory of the process, MiB"}
    rows = [[f"{row[name]:,.4g}" if name != "crops" else f"{row[name]:,}" for name in names] for row in curve]
    for cells, row in zip(rows, curve):
        cells += [f"{1e6 / row['batches']:,.0f}", f"{1e6 / row['on CPU']:,.0f}"]
    return Table([*names.values(), "patches/s", "patches/s, on CPU"], rows, "Cost by size of the set.")


def processor() -> str:
    """Name of the processor, or what the platform has of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
