"""The chart of the speed benchmark."""

from typing import Any

import numpy as np

from benchmark.timing import Spread
from utils.chart_parts import COLOURS, SMALL, make_panels, to_pixels


def draw(times: list[tuple[str, Spread]], fractions: list[tuple[str, float]], shares: dict[str, float]) -> np.ndarray:
    """Draw bars: how many times faster than the naive way, fraction of the machine's limit, a step by network.

    -> (H, W, 3) uint8 RGB.
    """
    titles = ["times as fast as the naive way", "fraction of machine's limit", "share of a training step"]
    figure, (ratios, limits, parts) = make_panels("Speed", titles, "", "", 3, (4.4, 0.6 + 0.4 * len(times)))
    names = [name for name, _ in times]
    ratios.set_xscale("log")
    bars(ratios, names, [value.median for _, value in times], COLOURS[0], "", begin=1)
    for row, (_, value) in enumerate(times):
        ratios.plot([value.low, value.high], [row, row], color="black", linewidth=1.2)
        end = {"xytext": (6, 0), "textcoords": "offset points", "size": SMALL, "va": "center"}
        ratios.annotate(f"{value.median:.3g}", (max(1, value.high), row), **end)
    ratios.xaxis.set_major_formatter("{x:g}")
    ratios.axvline(1, color="0.3", linewidth=1)
    bars(limits, [""] * len(names), [value for _, value in fractions], COLOURS[2], "{:.2f}")
    bars(parts, list(shares), list(shares.values()), COLOURS[1], "{:.0%}")
    return to_pixels(figure)


def bars(axis: Any, names: list[str], values: list[float], colour: str, form: str, begin: float = 0) -> None:
    """Draw bars from `begin` to the values, with the values, in this form, at their ends."""
    widths = [value - begin for value in values]
    axis.barh(range(len(names)), widths, left=begin, color=colour, height=0.62, alpha=0.85)
    for row, value in enumerate(values):
        axis.annotate(form.format(value), (value, row), (5, 0), textcoords="offset points", size=SMALL, va="center")
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.margins(x=0.18)
    axis.grid(axis="y", visible=False)
