"""Does a noisy image lie on its clean image, pixel by pixel?"""

from typing import NamedTuple

import numpy as np

SHIFTS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
TILE = 16  # pixels; the evidence of two tiles counts as independent
FEWEST_TILES = 9  # with less evidence there is no verdict
# Measured on 56 pairs of SIDD's five cameras, 24 of the demo camera and 31 of a Canon T3i: none of them warns; shifted
# by a row, all of the first two do and 52 of 62 of the last, whose pairs are off by up to 0.6 pixels as they are. (A
# bar on the ratio of the two MSEs is of no use: at high ISO a whole row's shift costs 2 % of it, the rest is noise.)
SHARE, STANDARD_ERRORS = 0.55, 3


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
        """Whether the pair is misaligned beyond doubt."""
        return self.share > SHARE and self.share - 0.5 > STANDARD_ERRORS * self.standard_error


ALIGNED = Shift(0, 0, 0.0, 0.0, 0.0)


def best_shift(noisy_uint8: np.ndarray, clean_uint8: np.ndarray) -> Shift:
    """Compare the nine shifts by up to one pixel: (H, W, 3), (H, W, 3) uint8 -> the best one.

    Each shift's MSE is taken over the pixels that all of them have, after removing each channel's mean difference:
    real noise is not zero-mean, and an offset on a ramp looks like a shift. Images too small to tell count as aligned.
    """
    height, width = clean_uint8.shape[:2]
    if ((height - 2) // TILE) * ((width - 2) // TILE) < FEWEST_TILES:
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
    rows, columns = image.shape[0] // TILE, image.shape[1] // TILE
    tiles = image[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE, -1)
    return tiles.sum(axis=(1, 3, 4), dtype=np.float64).ravel()
