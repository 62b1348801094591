"""Charts by matplotlib: numbers in, (H, W, 3) uint8 RGB pictures out.

In the charts of models the first name is the real noise: black, and on top. The others take their looks in the order
of their first appearance, so a model looks the same wherever the same names are listed. Values that are not finite
are not drawn, and a panel without any says so.
"""

import textwrap
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from utils.command import printable

CHANNELS = {1: ["grey"], 3: ["red", "green", "blue"]}
INTENSITY, LEVEL = "clean intensity (grey levels)", "noise std (grey levels)"
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255"]  # Okabe, Ito 2008, no yellow
DASHES = ["solid", "dashed", "dotted"]
DPI = 100  # a browser counts 96, so points are about those of the page around the picture
SMALL, NORMAL, LARGE = 8.5, 9.5, 11.5  # points
LETTERS_PER_INCH, BOLD_PER_INCH = 12, 8.5  # of titles: of panels in normal size, of figures in large one
Curves = dict[str, dict[str, np.ndarray]]  # values by group (such as "ISO 100") and name


def autocorrelation_maps(maps: dict[str, np.ndarray]) -> np.ndarray:
    """Draw autocorrelation by lag, without lag (0, 0) where all are 1: (2 L + 1, 2 L + 1) by name, the real one first.

    Numbers are written into maps of up to 9 x 9 lags.
    """
    known = _known(maps)
    side = max(map(len, known.values()))
    lag = side // 2
    for values in known.values():
        values[lag, lag] = np.nan
    limit = max([0.05] + [np.abs(values[np.isfinite(values)]).max(initial=0) for values in known.values()])
    labels = "horizontal lag (pixels)", "vertical lag (pixels)"
    figure, axes = make_panels("Autocorrelation of the noise", known, *labels, 4, (2.65, 3.0), sharex=True, sharey=True)
    for axis, values in zip(axes, known.values()):
        edge = lag + 0.5
        image = axis.imshow(values, "RdBu_r", vmin=-limit, vmax=limit, extent=(-edge, edge, edge, -edge))
        axis.grid(False)
        axis.set_facecolor("0.8")
        for y, x in np.argwhere(np.isfinite(values)) if side <= 9 else []:
            number = f"{values[y, x]:.2f}".replace("0.", ".").replace("-.00", ".00")
            ink = "white" if abs(values[y, x]) > 0.6 * limit else "0.6" if number == ".00" else "black"
            axis.text(x - lag, y - lag, number, color=ink, size=6.5, ha="center", va="center")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.01)
    bar.set_label("correlation", size=NORMAL)
    bar.ax.tick_params(labelsize=SMALL)
    return to_pixels(figure)


def mosaic_tiles(tiles: dict[str, np.ndarray]) -> np.ndarray:
    """Draw values at the positions of the 2x2 mosaic, 1 on average: name -> (C, 2, 2), a row for each channel."""
    known = _known(tiles)
    limit = max([0.05] + [np.abs(values[np.isfinite(values)] - 1).max(initial=0) for values in known.values()])
    channels = CHANNELS[len(next(iter(known.values())))]
    titles = [name if channel == channels[0] else "" for channel in channels for name in known]
    figure, axes = make_panels("Variance by position in the mosaic", titles, "", "", len(known), (1.1, 1.1))
    for number, axis in enumerate(axes):
        channel, column = divmod(number, len(known))
        values = list(known.values())[column][channel]
        axis.imshow(values, "RdBu_r", vmin=1 - limit, vmax=1 + limit)
        axis.set(xticks=[], yticks=[], ylabel="" if column else channels[channel])
        axis.grid(False)
        for y, x in np.argwhere(np.isfinite(values)):
            ink = "white" if abs(values[y, x] - 1) > 0.6 * limit else "black"
            axis.text(x, y, f"{values[y, x]:.2f}", color=ink, size=SMALL, ha="center", va="center")
    return to_pixels(figure)


def spectra(frequencies: np.ndarray, curves: Curves) -> np.ndarray:
    """Draw power spectra, a panel for each group: (K,) in cycles per pixel, (K,) in dB by group and name."""
    frequencies = np.asarray(frequencies, float).ravel()
    curves = {group: _known(values) for group, values in curves.items()}
    labels = "spatial frequency (cycles per pixel)", "power (dB)"
    figure, axes = make_panels("Power spectrum of the noise", curves, *labels, sharex=True, sharey=True)
    looks = _line_looks(_all_names(curves))
    _add_legend(figure, looks)
    for axis, group in zip(axes, curves.values()):
        _draw_curves(axis, frequencies, group, looks)
    return to_pixels(figure)


def noise_level_functions(intensity: np.ndarray, curves: Curves) -> np.ndarray:
    """Draw the noise's std by clean intensity, a row for each group, a column for each channel.

    (B,) in grey levels, group -> name -> (C, B) in grey levels, nan where it is not known.
    """
    intensity = np.asarray(intensity, float).ravel()
    curves = {group: _known(values) for group, values in curves.items()}
    count = len(next(values for group in curves.values() for values in group.values()))  # of channels
    titles = [f"{group}, {channel}" for group in curves for channel in CHANNELS[count]]
    figure, axes = make_panels(
        "Noise by clean intensity", titles, INTENSITY, LEVEL, count, (3.5, 2.3), sharex=True, sharey="row"
    )
    looks = _line_looks(
        _all_names(curves), marker=".", markersize=5
    )  # markers: a bin between two unknown ones is seen too
    _add_legend(figure, looks)
    for number, axis in enumerate(axes):
        group = list(curves.values())[number // count]
        _draw_curves(axis, intensity, {name: values[number % count] for name, values in group.items()}, looks)
    _from_zero(axes)
    return to_pixels(figure)


def histograms(curves: Curves) -> np.ndarray:
    """Draw distributions of the noise, a panel for each group: group -> name -> (511,) counts of -255..255.

    A panel shows the range that holds 99.9 % of the real noise, and a margin.
    """
    curves = {group: _known(values) for group, values in curves.items()}
    figure, axes = make_panels("Distribution of the noise", curves, "noise (grey levels)", "share of pixel values")
    looks, levels = _line_looks(_all_names(curves)), np.arange(-255, 256)
    _add_legend(figure, looks)
    for axis, group in zip(axes, curves.values()):
        shares = {name: counts / np.nansum(counts) for name, counts in group.items() if np.nansum(counts) > 0}
        axis.set_yscale("log", nonpositive="clip")
        _draw_curves(axis, levels, shares, looks)
        if shares:
            real = np.nan_to_num(shares[min(shares, key=list(looks).index)])
            low, high = levels[np.searchsorted(np.cumsum(real), [0.0005, 0.9995])]
            margin = 1 + 0.1 * (high - low)
            axis.set(xlim=(low - margin, high + margin), ylim=(real.max() / 2000, None))  # below are single pixels
    return to_pixels(figure)


def intensity_curves(curves: dict[str, np.ndarray]) -> np.ndarray:
    """Draw noise by clean intensity under ordered settings, such as gains: label -> (256, C) std in grey levels."""
    curves = _known(curves)
    channels = CHANNELS[next(iter(curves.values())).shape[1]]
    figure, axes = make_panels("Noise by clean intensity", channels, INTENSITY, LEVEL, sharex=True, sharey=True)
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0.88, 0, len(curves)))
    looks = {label: {"color": shade, "linewidth": 1.8} for label, shade in zip(curves, shades)}
    _add_legend(figure, looks)
    for channel, axis in enumerate(axes):
        _draw_curves(axis, np.arange(256), {label: values[:, channel] for label, values in curves.items()}, looks)
    _from_zero(axes)
    return to_pixels(figure)


def scores(names: Iterable[str], values: dict[str, tuple[float, float, float]]) -> np.ndarray:
    """Draw scores, the lowest (best) on top: names in the order of the other charts, name -> (mean, low, high).

    Names without values are left out; they are listed so that the others keep their colours.
    """
    looks, known = _line_looks(names), _known(values)
    order = sorted(known, key=lambda name: np.nan_to_num(known[name][0], nan=np.inf))
    figure, (axis,) = make_panels("Scores", [""], "score (lower is better)", "", 1, (8.5, 0.4 + 0.32 * len(order)))
    axis.axvline(1, color="0.45", linestyle="dashed", linewidth=1.2, zorder=1)
    top = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", "size": SMALL, "color": "0.3"}
    axis.annotate("white Gaussian noise of the true std", (1, 1.01), **top)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for row, name in enumerate(order):
        mean, *interval = known[name]
        if np.isnan(mean):
            axis.text(1, row, "no value", color="0.45", size=SMALL, ha="center", va="center", bbox=paper)
            continue
        axis.plot(interval, [row, row], color=looks[name]["color"], linewidth=2.2)
        axis.plot(mean, row, "o", color=looks[name]["color"], markersize=7)
        end = np.nanmax(known[name]), row
        axis.annotate(f"{mean:.3g}", end, (8, 0), textcoords="offset points", size=SMALL, va="center", bbox=paper)
    means = np.array([known[name][0] for name in order if np.isfinite(known[name][0])] + [1.0])
    axis.set_xscale("log" if means.min() > 0 and means.max() / means.min() > 20 else "linear")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_yticks(range(len(order)), [_short_label(name) for name in order])
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.margins(x=0.12)
    return to_pixels(figure)


def _from_zero(axes: list[Any]) -> None:
    """Set the limits of axes over intensity; only after the last curve, for the limits of shared axes then stay."""
    for axis in axes:
        axis.set(xlim=(0, 255), ylim=(0, None), xticks=(0, 64, 128, 192))


def bars(
    groups: dict[str, dict[str, tuple[float, float]]], origin: str, title: str, plain: Iterable[str]
) -> np.ndarray:
    """Draw means as bars that begin at that of `origin`, a panel for each group: (mean, spread) by label and name.

    The names come from top to bottom in their order in the first group; a spread that is not finite is not drawn, and
    the bars of `plain` names are grey.
    """
    known = {label: _known(values) for label, values in groups.items()}
    names, plain = _all_names(known), set(plain)
    size = (4.6, 0.5 + 0.34 * len(names))
    figure, axes = make_panels(title, [""] * len(known), "", "", len(known), size, sharey=True)
    for axis, (label, values) in zip(axes, known.items()):
        axis.set_xlabel(label, size=NORMAL)
        start = values[origin][0] if origin in values else np.nan
        for row, name in enumerate(names):
            mean, spread = values.get(name, (np.nan, np.nan))
            if np.isnan(mean):
                continue
            low = mean if np.isnan(start) else start
            axis.barh(row, mean - low, left=low, height=0.66, color="0.72" if name in plain else COLOURS[0])
            if np.isfinite(spread):
                axis.plot([mean - spread, mean + spread], [row, row], color="black", linewidth=1.4)
            end = max(low, mean + np.nan_to_num(spread)), row
            axis.annotate(f"{mean:#.4g}", end, (5, 0), textcoords="offset points", size=SMALL, va="center")
        axis.axvline(start, color="0.3", linewidth=1)
        axis.margins(x=0.2)
    axes[0].set_yticks(range(len(names)), [_short_label(name) for name in names])
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    return to_pixels(figure)


def _known(curves: dict[str, Any]) -> dict[str, np.ndarray]:
    """Copy arrays as floats with nan for what is not finite."""
    arrays = {name: np.array(values, float) for name, values in curves.items()}
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in arrays.items()}


def _all_names(groups: Curves) -> list[str]:
    return list(dict.fromkeys(name for curves in groups.values() for name in curves))


def _short_label(name: str, letters: int = 32) -> str:
    """Shorten a name in the middle, and keep it from being taken for mathematics or for a hidden label."""
    name = printable(name)
    name = name if len(name) <= letters else f"{name[: letters - 13]}\u2026{name[-12:]}"
    return f" {name}".replace("$", r"\$")  # matplotlib hides labels that begin with an underscore


def _line_looks(names: Iterable[str], **more: Any) -> dict[str, dict[str, Any]]:
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, for its import takes a second
    from matplotlib.figure import Figure

    titles = list(titles)
    columns = min(len(titles), columns or (2 if len(titles) == 4 else 3))
    rows = -(-len(titles) // columns)
    width, height = size or {1: (6.4, 3.8), 2: (4.6, 3.1), 3: (3.5, 2.9)}[columns]
    figure = Figure((columns * width + 1, rows * height + 0.7), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, int(BOLD_PER_INCH * (columns * width + 1))), size=LARGE, weight="bold")
    axes = list(figure.subplots(rows, columns, squeeze=False, **sharing).flat)
    for axis in axes[len(titles) :]:
        axis.remove()
    for number, (axis, name) in enumerate(zip(axes, titles)):
        lines = textwrap.fill(_short_label(name, 60).strip(), int(LETTERS_PER_INCH * width))
        axis.set_title(lines, size=NORMAL)
        lowest = number + columns >= len(titles)
        axis.set_xlabel(x_label if lowest else "", size=NORMAL)
        axis.set_ylabel("" if number % columns else y_label, size=NORMAL)
        axis.tick_params(labelsize=SMALL, labelbottom=lowest or "sharex" not in sharing)
        axis.grid(color="0.9", linewidth=0.7)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[: len(titles)]


def _add_legend(figure: Any, looks: dict[str, dict[str, Any]]) -> None:
    """Name the curves once for all panels, on the right where no number of them covers a curve."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **look) for look in looks.values()]
    labels = [_short_label(name) for name in looks]
    if lines:
        figure.legend(lines, labels, loc="outside right center", fontsize=SMALL, handlelength=3, frameon=False)


def _draw_curves(axis: Any, x: np.ndarray, curves: dict[str, np.ndarray], looks: dict[str, dict[str, Any]]) -> None:
    for name, values in curves.items():
        axis.plot(x, values, **looks[name])
    if not any(np.isfinite(values).any() for values in curves.values()):
        axis.text(0.5, 0.5, "nothing measured", transform=axis.transAxes, ha="center", color="0.45", size=SMALL)


def to_pixels(figure: Any) -> np.ndarray:
    """Render a matplotlib figure: -> (H, W, 3) uint8."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in a script that the font lacks
        figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
