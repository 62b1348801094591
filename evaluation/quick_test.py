"""The quick test: put a camera's noise on clean images and set it beside the real noise."""

from typing import NamedTuple

import cv2
import numpy as np

from metrics import autocorrelation, noise_of
from models.neca import Synthesis
from utils.image import to_uint8
from utils.plots import magnified_noise, panel

TILE_SIDE = 512  # pixels of a panel's tile: larger images show their middle, smaller ones are enlarged
PANEL_STD = 40  # grey levels to which the panel magnifies the noise


def output_images(synthesis: Synthesis, neca_type: str) -> dict[str, np.ndarray]:
    """What the quick test writes, by kind: -> {"fake_noisy": (H, W, 3) uint8, ...}; noises lie around mid-grey.

    `synthesis` holds (H, W, 3) arrays in [0, 1] units.
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
    """Measure noise in grey levels, (H, W, 3)."""
    correlation = autocorrelation(noise, max_lag=1).mean(axis=0)  # (3, 3), lag (0, 0) in the middle
    return NoiseStatistics(float(noise.std()), float(correlation[1, 2]), float(correlation[2, 1]))


def draw_panel(
    clean: np.ndarray, noisy: np.ndarray | None, fake: np.ndarray, uncorrelated: np.ndarray, title: str
) -> np.ndarray:
    """Draw the quick test's panel, each noise below its image, all magnified alike: -> (H', W', 3) uint8.

    clean, noisy, fake: (H, W, 3) uint8; uncorrelated: the noise before NCNet, (H, W, 3) in [0, 1] units; title: what
    made the fake image.
    """
    noises = {"fake": noise_of(fake, clean)} | ({} if noisy is None else {"real": noise_of(noisy, clean)})
    strongest = max(noise.std() for noise in noises.values())
    factor = max(2, round(PANEL_STD / max(strongest, 1)))

    def column(label: str, image: np.ndarray, noise_label: str, noise: np.ndarray, statistics: object):
        magnified = _tile(magnified_noise(noise, factor))
        return (label, _tile(image)), (f"{noise_label} noise x{factor}\n{statistics}", magnified)

    columns = [column("clean", clean, "uncorrelated", 255 * uncorrelated, "before NCNet")]
    if noisy is not None:
        columns.append(column("real noisy", noisy, "real", noises["real"], noise_statistics(noises["real"])))
    columns.append(column(f"fake noisy, {title}", fake, "fake", noises["fake"], noise_statistics(noises["fake"])))
    return panel([list(row) for row in zip(*columns)])


def _tile(image: np.ndarray) -> np.ndarray:
    """Cut an image to its middle, or enlarge its pixels, to fill a tile."""
    height, width = image.shape[:2]
    top, left = max(0, height - TILE_SIDE) // 2, max(0, width - TILE_SIDE) // 2
    middle = image[top : top + TILE_SIDE, left : left + TILE_SIDE]
    factor = max(1, TILE_SIDE // max(middle.shape[:2]))
    return cv2.resize(middle, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
