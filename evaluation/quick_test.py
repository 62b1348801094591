"""The quick test: put a camera's noise on clean images, set it beside the real noise, check that pairs are aligned."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.folders import NamedPair
from inference import NoiseGenerator
from metrics import autocorrelation, noise_of
from models import Synthesis
from utils.image import to_uint8, write_image
from utils.panels import Tile, magnified_noise, panel

PANEL_TILE = 512  # pixels of a panel's tile: larger images show their middle, smaller ones are enlarged
EXPECTED_GAIN = "expected above 0 and up to 1"  # at the end of the warning about another one
PANEL_STD = 40  # grey levels to which the panel magnifies the noise

# Alignment
SHIFTS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
EVIDENCE = 16  # pixels a side; the evidence of two such tiles counts as independent
FEWEST_TILES = 9  # with less evidence there is no verdict
# Measured on 56 pairs of SIDD's five cameras, 24 of the demo camera and 31 of a Canon T3i: none of them warns; shifted
# by a row, all of the first two do and 52 of 62 of the last, whose pairs are off by up to 0.6 pixels as they are. (A
# bar on the ratio of the two MSEs is of no use: at high ISO a whole row's shift costs 2 % of it, the rest is noise.)
SHARE, STANDARD_ERRORS = 0.55, 3


def run_pair(
    pair: NamedPair, generator: NoiseGenerator, target: Path, seed: int, gain: float | None, noise_level: float | None
) -> list[str]:
    """Synthesise one image's noise, compare it with the real noise and write all files; return the lines to print.

    target: folder of the files. noise_level: that of NeCA-S; without it the noise is NeCA-W's of `gain`, by default
    the gain of the noisy image, whatever GENet makes of it (published).
    """
    clean, noisy = pair.read(generator.channels)
    lines = [str(pair.clean)]
    strength: dict[str, Any]
    # Gain: the noisy image's, or the chosen one.
    if noise_level is not None:
        strength, title = {"noise_level": noise_level}, f"NeCA-S, level {noise_level:g}"
    else:
        strength = {"gain_of": noisy} if gain is None else {"gain": gain}
        shown = generator.estimate_gain(noisy) if gain is None else gain
        title = f"NeCA-W, gain {shown:.4f}"
        lines.append(f"  gain {shown:.4f}, {255 * shown:.2f} grey levels")
        if gain is None and not 0 < shown <= 1:
            lines.append(f"  warning: {pair.noisy}: GENet gives the gain {shown:.4g}, {EXPECTED_GAIN}")
    # Synthesise.
    synthesis = generator.synthesize(clean, **strength, seed=seed, key=pair.name, maps=True)
    images = output_images(synthesis, "W" if noise_level is None else "S")
    # Compare.
    if noisy is not None:
        lines.append(f"  real noise: {noise_statistics(noise_of(noisy, clean))}")
    lines.append(f"  fake noise: {noise_statistics(noise_of(images['fake_noisy'], clean))}")
    if noisy is not None and (shift := best_shift(noisy, clean)).is_clear:
        lines.append(
            f"  warning: {pair.noisy} looks misaligned, moved by {shift.dy:+d} rows and {shift.dx:+d} columns it fits "
            f"better (MSE {shift.improvement:.1%} lower); align the pair, its noise and gain contain edges of the image"
        )
    images["panel"] = draw_panel(clean, noisy, images["fake_noisy"], synthesis.sdnu, title)
    # Write.
    paths = [target / pair.file(kind) for kind in images]
    for path, image in zip(paths, images.values()):
        write_image(path, image)
    return lines + [f"  written: {' '.join(map(str, paths))}"]


def output_images(synthesis: Synthesis, neca_type: str) -> dict[str, np.ndarray]:
    """Name the images that the quick test writes: {"fake_noisy": (H, W, C) uint8, ...}; noises lie around mid-grey.

    `synthesis` holds (H, W, C) arrays in [0, 1] units.
    """
    noises = {"sdnc": synthesis.sdnc, "sdnu": synthesis.sdnu} if neca_type == "W" else {"sinc": synthesis.sdnc}
    images = {f"{name}_noise": to_uint8(noise + 0.5) for name, noise in noises.items()}
    return {"fake_noisy": to_uint8(synthesis.fake)} | images


class NoiseStatistics(NamedTuple):
    """Standard deviation in grey levels, and lag-1 autocorrelation along rows (h) and columns (v), channels' mean."""

    std: float
    lag1_h: float
    lag1_v: float

    def __str__(self) -> str:
        return f"std {self.std:.2f}, lag-1 {self.lag1_h:.2f} h {self.lag1_v:.2f} v"


def noise_statistics(noise: np.ndarray) -> NoiseStatistics:
    """Measure noise in grey levels, (H, W, C)."""
    correlation = autocorrelation(noise, max_lag=1).mean(axis=0)  # (3, 3), lag (0, 0) in the middle
    return NoiseStatistics(float(noise.std()), float(correlation[1, 2]), float(correlation[2, 1]))


def draw_panel(
    clean: np.ndarray, noisy: np.ndarray | None, fake: np.ndarray, uncorrelated: np.ndarray, title: str
) -> np.ndarray:
    """Draw the quick test's panel, each noise below its image, all magnified alike: (H', W', 3) uint8.

    clean, noisy, fake: (H, W, C) uint8; uncorrelated: the noise before NCNet, (H, W, C) in [0, 1] units; title: what
    made the fake image.
    """
    noises = {"fake": noise_of(fake, clean)} | ({} if noisy is None else {"real": noise_of(noisy, clean)})
    strongest = max(noise.std() for noise in noises.values())
    factor = max(2, round(PANEL_STD / max(strongest, 1)))

    def column(label: str, image: np.ndarray, noise_label: str, noise: np.ndarray, statistics: object) -> list[Tile]:
        magnified = _tile(magnified_noise(noise, factor))
        return [(label, _tile(image)), (f"{noise_label} noise x{factor}\n{statistics}", magnified)]

    columns = [column("clean", clean, "uncorrelated", 255 * uncorrelated, "before NCNet")]
    if noisy is not None:
        columns.append(column("real noisy", noisy, "real", noises["real"], noise_statistics(noises["real"])))
    columns.append(column(f"fake noisy, {title}", fake, "fake", noises["fake"], noise_statistics(noises["fake"])))
    return panel([list(row) for row in zip(*columns)])


def _tile(image: np.ndarray) -> np.ndarray:
    """Cut an image to its middle, or enlarge its pixels, to fill a tile."""
    height, width = image.shape[:2]
    top, left = max(0, height - PANEL_TILE) // 2, max(0, width - PANEL_TILE) // 2
    middle = image[top : top + PANEL_TILE, left : left + PANEL_TILE]
    factor = max(1, PANEL_TILE // max(middle.shape[:2]))
    return middle.repeat(factor, axis=0).repeat(factor, axis=1)


class Shift(NamedTuple):
    """The shift by up to one pixel under which a pair fits best: noisy pixel (y, x) shows clean (y + dy, x + dx).

    improvement: how much lower the MSE is than without the shift, 0 to 1. share: how much of the change that the
    shift makes to the clean image is found in the noise, 0 when the pair is aligned, 1 when it is shifted so, 0.5 when
    both fit equally; standard_error is that of the share.
    """

    dy: int
    dx: int
    improvement: float
    share: float
    standard_error: float

    @property
    def is_clear(self) -> bool:
        """Return whether the pair is misaligned beyond doubt."""
        return self.share > SHARE and self.share - 0.5 > STANDARD_ERRORS * self.standard_error


ALIGNED = Shift(0, 0, 0.0, 0.0, 0.0)


def best_shift(noisy_uint8: np.ndarray, clean_uint8: np.ndarray) -> Shift:
    """Compare the nine shifts by up to one pixel: (H, W, C), (H, W, C) uint8; return the best one.

    Each shift's MSE is taken over the pixels that all of them have, after removing each channel's mean difference:
    real noise is not zero-mean, and an offset on a ramp looks like a shift. Images too small to tell count as aligned.
    """
    height, width = clean_uint8.shape[:2]
    if ((height - 2) // EVIDENCE) * ((width - 2) // EVIDENCE) < FEWEST_TILES:
        return ALIGNED
    clean = clean_uint8.astype(np.float32)
    centre = clean[1:-1, 1:-1]
    noise = _centred(noisy_uint8[1:-1, 1:-1] - centre)
    best, least_change = ALIGNED, 0.0
    for dy, dx in SHIFTS:
        # MSE(shifted) - MSE(unshifted) = E[difference^2] - 2 E[noise difference]
        difference = _centred(clean[1 + dy : height - 1 + dy, 1 + dx : width - 1 + dx] - centre)
        found, full = _tile_sums(noise * difference), _tile_sums(np.square(difference))
        change = full.sum() - 2 * found.sum()
        if change < least_change:
            share = found.sum() / full.sum()
            # Least squares of noise on difference, its error from the scatter between tiles: noise is correlated.
            error = np.sqrt(np.square(found - share * full).sum()) / full.sum()
            best = Shift(dy, dx, float(-change / _tile_sums(np.square(noise)).sum()), float(share), float(error))
            least_change = change
    return best


def _centred(image: np.ndarray) -> np.ndarray:
    return image - image.mean(axis=(0, 1), keepdims=True, dtype=np.float64).astype(np.float32)


def _tile_sums(image: np.ndarray) -> np.ndarray:
    """Sum over tiles and channels: (H, W, C) -> (tiles,) float64. What does not fill a tile is left out."""
    rows, columns = image.shape[0] // EVIDENCE, image.shape[1] // EVIDENCE
    tiles = image[: rows * EVIDENCE, : columns * EVIDENCE].reshape(rows, EVIDENCE, columns, EVIDENCE, -1)
    return tiles.sum(axis=(1, 3, 4), dtype=np.float64).ravel()
