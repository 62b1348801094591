"""Statistics of the noise of images: what the metrics compare, and the sums that plots are drawn from."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

import metrics

REAL = "real noise"  # what the fakes are compared with; the model called `real` is another frame of it
EXAMPLE_SIDE = 160  # pixels of the pictures of noise


class Description(NamedTuple):
    """Statistics of one noise that the distances and the plots need."""

    counts: np.ndarray  # (511,) pixels of each grey-level difference
    autocorrelation: np.ndarray  # (C, 9, 9)
    spectrum: np.ndarray  # (C, 32) dB
    channels: np.ndarray  # (C, C)
    level_sums: np.ndarray  # (3, C, 16)
    phases: np.ndarray  # (C, 3, 2, 2), from the mosaic's first position on

    @property
    def levels(self) -> np.ndarray:
        """Return the noise level function, (2, C, 16)."""
        return metrics.noise_level_function(self.level_sums)


def describe(noise: np.ndarray, clean_uint8: np.ndarray, origin: tuple[int, int] = (0, 0)) -> Description:
    """Describe noise in whole grey levels, (H, W, C); origin: where it begins in the 2x2 mosaic."""
    return Description(
        metrics.count_levels(noise),
        metrics.autocorrelation(noise),
        metrics.spectrum(noise),
        metrics.channel_correlation(noise),
        metrics.noise_level_sums(noise, clean_uint8),
        np.roll(metrics.phase_profile(noise), origin, (2, 3)),
    )


@dataclass
class Evidence:
    """Sums over images that the plots are drawn from, of one noise at one ISO."""

    images: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(511, np.int64))
    autocorrelation: np.ndarray = field(default_factory=lambda: np.zeros((9, 9)))  # channels' mean
    spectrum: np.ndarray = field(default_factory=lambda: np.zeros(metrics.spectrum_frequencies().shape))  # same, dB
    level_sums: np.ndarray = field(default_factory=lambda: np.zeros(()))  # (3, C, 16), of no image one 0
    phases: np.ndarray = field(default_factory=lambda: np.zeros(()))  # (C, 3, 2, 2), the same
    # The middle of the first image's noise, (h, w, C) in grey levels.
    example: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3)))

    def add(self, description: Description, noise: np.ndarray) -> None:
        """Add one image's noise, (H, W, C) in whole grey levels, and its description."""
        if not self.images:
            top, left = (max(0, side - EXAMPLE_SIDE) // 2 for side in noise.shape[:2])
            self.example = noise[top : top + EXAMPLE_SIDE, left : left + EXAMPLE_SIDE].copy()
        self.images += 1
        self.counts += description.counts
        self.autocorrelation += description.autocorrelation.mean(axis=0)
        self.spectrum += description.spectrum.mean(axis=0)
        self.level_sums = self.level_sums + description.level_sums
        self.phases = self.phases + description.phases
