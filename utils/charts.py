"""Charts of noise and scores by matplotlib: numbers in, (H, W, 3) uint8 RGB pictures out.

In the charts of models the first name is the real noise: black, and on top. The others take their looks in the order
of their first appearance, so a model looks the same wherever the same names are listed. Values that are not finite
are not drawn, and a panel without any says so. Wrong shapes and an absent matplotlib raise ValueError.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from utils.chart_parts import (
    NORMAL,
    SMALL,
    Curves,
    add_legend,
    all_names,
    checked,
    checked_groups,
    draw_curves,
    line_looks,
    make_panels,
    short_label,
    to_pixels,
)

CHANNELS = ["red", "green", "blue"]
INTENSITY, LEVEL = "clean intensity (grey levels)", "noise std (grey levels)"


def autocorrelation_maps(maps: dict[str, np.ndarray]) -> np.ndarray:
    """Draw autocorrelation by lag, without lag (0, 0) where all are 1: name -> (2 L + 1, 2 L + 1), the real one first.

    Numbers are written into maps of up to 9 x 9 lags.
    """
    side = max((len(values) for values in maps.values()), default=1)
    if side % 2 == 0:
        raise ValueError(f"autocorrelation over {side} x {side} lags: expected odd sides, lag (0, 0) is in the middle")
    lag, known = side // 2, checked(maps, (side, side), "autocorrelation")
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


def spectra(frequencies: np.ndarray, curves: Curves) -> np.ndarray:
    """Draw power spectra, a panel for each group: (K,) in cycles per pixel, group -> name -> (K,) in dB."""
    frequencies = np.asarray(frequencies, float).ravel()
    curves = checked_groups(curves, frequencies.shape, "spectrum")
    labels = "spatial frequency (cycles per pixel)", "power (dB)"
    figure, axes = make_panels("Power spectrum of the noise", curves, *labels, sharex=True, sharey=True)
    looks = line_looks(all_names(curves))
    add_legend(figure, looks)
    for axis, group in zip(axes, curves.values()):
        draw_curves(axis, frequencies, group, looks)
    return to_pixels(figure)


def noise_level_functions(intensity: np.ndarray, curves: Curves) -> np.ndarray:
    """Draw the noise's std by clean intensity, a row for each group, a column for each channel.

    (B,) in grey levels, group -> name -> (3, B) in grey levels, nan where it is not known.
    """
    intensity = np.asarray(intensity, float).ravel()
    curves = checked_groups(curves, (3, intensity.size), "noise level function")
    titles = [f"{group}, {channel}" for group in curves for channel in CHANNELS]
    figure, axes = make_panels(
        "Noise by clean intensity", titles, INTENSITY, LEVEL, 3, (3.5, 2.3), sharex=True, sharey="row"
    )
    looks = line_looks(
        all_names(curves), marker=".", markersize=5
    )  # markers: a bin between two unknown ones is seen too
    add_legend(figure, looks)
    for number, axis in enumerate(axes):
        group = list(curves.values())[number // 3]
        draw_curves(axis, intensity, {name: values[number % 3] for name, values in group.items()}, looks)
    _from_zero(axes)
    return to_pixels(figure)


def histograms(curves: Curves) -> np.ndarray:
    """Draw distributions of the noise, a panel for each group: group -> name -> (511,) counts of -255..255.

    A panel shows the range that holds 99.9 % of the real noise, and a margin.
    """
    curves = checked_groups(curves, (511,), "histogram")
    figure, axes = make_panels("Distribution of the noise", curves, "noise (grey levels)", "share of pixel values")
    looks, levels = line_looks(all_names(curves)), np.arange(-255, 256)
    add_legend(figure, looks)
    for axis, group in zip(axes, curves.values()):
        shares = {name: counts / np.nansum(counts) for name, counts in group.items() if np.nansum(counts) > 0}
        axis.set_yscale("log", nonpositive="clip")
        draw_curves(axis, levels, shares, looks)
        if shares:
            real = np.nan_to_num(shares[min(shares, key=list(looks).index)])
            low, high = levels[np.searchsorted(np.cumsum(real), [0.0005, 0.9995])]
            margin = 1 + 0.1 * (high - low)
            axis.set(xlim=(low - margin, high + margin), ylim=(real.max() / 2000, None))  # below are single pixels
    return to_pixels(figure)


def intensity_curves(curves: dict[str, np.ndarray]) -> np.ndarray:
    """Draw noise by clean intensity under ordered settings, such as gains: label -> (256, 3) std in grey levels."""
    curves = checked(curves, (256, 3), "intensity curve")
    figure, axes = make_panels("Noise by clean intensity", CHANNELS, INTENSITY, LEVEL, sharex=True, sharey=True)
    from matplotlib import colormaps

    shades = colormaps["viridis"](np.linspace(0.88, 0, len(curves)))
    looks = {label: {"color": shade, "linewidth": 1.8} for label, shade in zip(curves, shades)}
    add_legend(figure, looks)
    for channel, axis in enumerate(axes):
        draw_curves(axis, np.arange(256), {label: values[:, channel] for label, values in curves.items()}, looks)
    _from_zero(axes)
    return to_pixels(figure)


def scores(
    names: Iterable[str], values: dict[str, tuple[float, float, float]], label: str = "score (lower is better)"
) -> np.ndarray:
    """Draw scores, the lowest (best) on top: names in the order of the other charts, name -> (mean, low, high).

    Names without values are left out; they are listed so that the others keep their colours.
    """
    looks, known = line_looks(names), checked(values, (3,), "score")
    strange = [name for name in known if name not in looks]
    if strange:
        raise ValueError(f"scores of {strange}, which are not among the names {list(looks)}")
    order = sorted(known, key=lambda name: np.nan_to_num(known[name][0], nan=np.inf))
    figure, (axis,) = make_panels("Scores", [""], label, "", 1, (8.5, 0.4 + 0.32 * len(order)))
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
    axis.set_yticks(range(len(order)), [short_label(name) for name in order])
    axis.set_ylim(len(order) - 0.4, -0.6)
    axis.margins(x=0.12)
    return to_pixels(figure)


def _from_zero(axes: list[Any]) -> None:
    """Set the limits of axes over intensity; only after the last curve, for the limits of shared axes then stay."""
    for axis in axes:
        axis.set(xlim=(0, 255), ylim=(0, None), xticks=(0, 64, 128, 192))
