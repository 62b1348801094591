"""What the charts are made of: checked curves, the looks of lines, empty panels, legends, pixels."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from utils.report import printable

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255"]  # Okabe, Ito 2008, no yellow
DASHES = ["solid", "dashed", "dotted"]
DPI = 100  # a browser counts 96, so points are about those of the page around the picture
SMALL, NORMAL, LARGE = 8.5, 9.5, 11.5  # points
Curves = dict[str, dict[str, np.ndarray]]  # group (such as "ISO 100") -> name -> values


def checked(curves: dict[str, np.ndarray], shape: tuple[int, ...], what: str) -> dict[str, np.ndarray]:
    """Copy arrays as floats with nan for what is not finite. Raises ValueError that names an array of another shape."""
    if not curves:
        raise ValueError(f"{what}: there is nothing to draw")
    result = {}
    for name, values in curves.items():
        values = np.array(values, float)
        if values.shape != shape:
            raise ValueError(f"{what} of {name!r}: shape {values.shape}, expected {shape}")
        result[name] = np.where(np.isfinite(values), values, np.nan)
    return result


def checked_groups(groups: Curves, shape: tuple[int, ...], what: str) -> Curves:
    if not groups:
        raise ValueError(f"{what}: there are no groups to draw")
    return {group: curves and checked(curves, shape, f"{group}, {what}") for group, curves in groups.items()}


def all_names(groups: Curves) -> list[str]:
    return list(dict.fromkeys(name for curves in groups.values() for name in curves))


def short_label(name: str) -> str:
    """Shorten a name in the middle, and keep it from being taken for mathematics or for a hidden label."""
    name = printable(name)
    name = name if len(name) <= 30 else f"{name[:17]}\u2026{name[-12:]}"
    return f" {name}".replace("$", r"\$")  # matplotlib hides labels that begin with an underscore


def line_looks(names: Iterable[str], **more: Any) -> dict[str, dict[str, Any]]:
    """Give every name its line: the first is black and thin, on top of the broader others."""
    looks = {}
    for number, name in enumerate(names):
        round_, colour = divmod(number - 1, len(COLOURS))
        looks[name] = {"color": COLOURS[colour], "linestyle": DASHES[round_ % len(DASHES)], "linewidth": 2.2, **more}
        if number == 0:
            looks[name] |= {"color": "black", "linestyle": "solid", "linewidth": 1.4, "zorder": 3}
    return looks


def make_panels(
    title: str,
    titles: Iterable[str],
    x_label: str,
    y_label: str,
    columns: int | None = None,
    size: tuple[float, float] | None = None,
    **sharing: Any,
) -> tuple[Any, list[Any]]:
    """Make a figure of titled, empty axes in rows of at most `columns`, `size` inches each."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("charts need matplotlib, which is not installed: pip install matplotlib") from None
    titles = list(titles)
    columns = min(len(titles), columns or (2 if len(titles) == 4 else 3))
    rows = -(-len(titles) // columns)
    width, height = size or {1: (6.4, 3.8), 2: (4.6, 3.1), 3: (3.5, 2.9)}[columns]
    figure = Figure((columns * width + 1, rows * height + 0.7), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(title, size=LARGE, weight="bold")
    axes = list(figure.subplots(rows, columns, squeeze=False, **sharing).flat)
    for axis in axes[len(titles) :]:
        axis.remove()
    for number, (axis, name) in enumerate(zip(axes, titles)):
        axis.set_title(short_label(name).strip(), size=NORMAL)
        lowest = number + columns >= len(titles)
        axis.set_xlabel(x_label if lowest else "", size=NORMAL)
        axis.set_ylabel("" if number % columns else y_label, size=NORMAL)
        axis.tick_params(labelsize=SMALL, labelbottom=lowest or "sharex" not in sharing)
        axis.grid(color="0.9", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[: len(titles)]


def add_legend(figure: Any, looks: dict[str, dict[str, Any]]) -> None:
    """Name the curves once for all panels, on the right where no number of them covers a curve."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **look) for look in looks.values()]
    labels = [short_label(name) for name in looks]
    if lines:
        figure.legend(lines, labels, loc="outside right center", fontsize=SMALL, handlelength=3, frameon=False)


def draw_curves(axis: Any, x: np.ndarray, curves: dict[str, np.ndarray], looks: dict[str, dict[str, Any]]) -> None:
    for name, values in curves.items():
        axis.plot(x, values, **looks[name])
    if not any(np.isfinite(values).any() for values in curves.values()):
        axis.text(0.5, 0.5, "nothing measured", transform=axis.transAxes, ha="center", color="0.45", size=SMALL)


def to_pixels(figure: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font lacks
        figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
