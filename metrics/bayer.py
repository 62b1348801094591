"""Noise by position in the Bayer mosaic, over which all other metrics of structure average.

Demosaicking keeps the noise of measured pixels and averages that of interpolated ones, so the noise of an sRGB image is
not stationary: it repeats every two rows and columns.
"""

import numpy as np

from metrics.histogram import check_noise, check_pair

ALIGNMENTS = ((0, 0), (0, 1), (1, 0), (1, 1))  # rows and columns by which two mosaics may be apart
ROUNDS = 10  # of `align_phases`, at most; it takes two or three


def phase(real_noise: np.ndarray, fake_noise: np.ndarray, is_aligned: bool = True) -> float:
    """Compare `phase_profile`s: RMS difference over channels, moments and positions in the 2x2 mosaic.

    is_aligned: whether both noises begin at the same position; if not, the best of the four alignments counts.
    """
    check_pair(real_noise, fake_noise)
    return phase_distance(phase_profile(real_noise), phase_profile(fake_noise), is_aligned)


def phase_distance(real: np.ndarray, fake: np.ndarray, is_aligned: bool = True) -> float:
    """Return the RMS difference of two `phase_profile`s, (C, 3, 2, 2) each; `is_aligned` as for `phase`."""
    return min(
        float(np.sqrt(np.mean(np.square(real - np.roll(fake, shift, (2, 3))))))
        for shift in (ALIGNMENTS[:1] if is_aligned else ALIGNMENTS)
    )


def phase_profile(noise: np.ndarray) -> np.ndarray:
    """Measure variance and lag-1 covariances by position in the 2x2 mosaic: (H, W, C) -> (C, 3, 2, 2).

    The moments are the variance and the covariances with the right and the lower neighbour, each minus its mean over
    the four positions (what `acf` and `std` see) and over the channel's mean variance. So noise that is stationary has
    0 everywhere, and .3 at a position means a variance 30 % above the mean. A channel without variation has 0. Raises
    ValueError for sides below 3 pixels.
    """
    check_noise(noise)
    if min(noise.shape[:2]) < 3:
        raise ValueError(f"noise of shape {noise.shape}: expected sides from 3 pixels")
    centred = np.moveaxis(noise - noise.mean(axis=(0, 1), keepdims=True), 2, 0)  # (C, H, W)
    found = np.empty((len(centred), 3, 2, 2))
    for y, x in np.ndindex(2, 2):
        partners = [(centred, centred), (centred[:, :, :-1], centred[:, :, 1:]), (centred[:, :-1], centred[:, 1:])]
        for moment, (one, other) in enumerate(partners):
            found[:, moment, y, x] = np.mean(one[:, y::2, x::2] * other[:, y::2, x::2], axis=(1, 2))
    variance = found[:, :1].mean(axis=(2, 3), keepdims=True)
    deviation = found - found.mean(axis=(2, 3), keepdims=True)
    return np.divide(deviation, variance, out=np.zeros_like(deviation), where=variance > 1e-12)


def align_phases(profiles: np.ndarray) -> np.ndarray:
    """Find where images begin in the mosaic that they share: (N, C, 3, 2, 2) profiles -> (N, 2) rows and columns.

    The mosaic is only known by the noise, so the position that most images begin at is called (0, 0). Each image takes
    in turn the alignment that is nearest to the sum of the others', until none changes.
    """
    shifted = np.stack([np.roll(profiles, shift, (3, 4)) for shift in ALIGNMENTS])  # (4, N, ...)
    chosen, total = np.zeros(len(profiles), int), profiles.sum(0)
    for _ in range(ROUNDS):
        before = chosen.copy()
        for image, of_image in enumerate(shifted.swapaxes(0, 1)):
            others = total - of_image[chosen[image]]
            chosen[image] = np.sum(of_image * others, axis=(1, 2, 3, 4)).argmax()  # all four have the same norm
            total = others + of_image[chosen[image]]
        if (chosen == before).all():
            break
    commonest = np.bincount(chosen, minlength=4).argmax()
    return np.array(ALIGNMENTS)[chosen ^ commonest]  # shifts add up modulo 2, bit by bit
