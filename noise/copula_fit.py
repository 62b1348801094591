"""Fit copulas to image pairs, ISO by ISO, in two passes over the files."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noise.copula import LEVELS, SCORES, CopulaFit, between_levels, phase_variances, share_below
from noise.fitting import PairReader, Varied, add_up, jobs_of, summed, with_progress
from noise.statistics import (
    GREY_LEVELS,
    THRESHOLDS,
    NoiseLevels,
    clipped_moments,
    colouring_kernel,
    lagged_sums,
    level_moments,
    noise_levels,
    phase_covariance,
)
from utils.randomness import evenly_spaced

COPULA_LAG = 3  # cells to either side of the copula's kernel
# Standardised noise at which the copula's distributions are measured.
PLACES = np.linspace(-8, 8, 161)
FEWEST_BEYOND = 10  # pixels that an observed part of a distribution has on either side
OF_ALL_LEVELS = 1500  # pixels that the distribution of all levels counts for on each
GAIN_ROUNDS = 3
GAIN_RANGE = 0.02, 50.0  # of an image's noise, over the level function
HELD = 40  # images whose gains a fit holds
SLOPES, TAIL = (0.3, 3.0), 5  # of straight lines beyond the observed, and the places that they follow from


def fit_copula(pairs: Mapping[int, Sequence], read: PairReader, num_workers: int, camera: str = "") -> CopulaFit:
    """Fit copulas to a camera's image pairs, {ISO: entries}, as `fit_noise` fits Gaussian noise.

    Level functions are those of the noise over the gain that each channel has in each image, since white balance
    amplifies channels by the light. Distributions are those before clipping and rounding: an 8-bit value only says
    between which thresholds the noisy value was, and nothing of how far beyond black or white.
    """
    jobs = jobs_of(pairs)
    varied: Varied[int] = Varied(read)

    def moments_of(job: tuple[int, Any]) -> list[np.ndarray]:
        return [level_moments(clean, noisy) for _, clean, noisy, _ in varied.reader(job[0])(job[1])]

    moments: dict[int, list[np.ndarray]] = {}

    def gather(some: list[tuple[int, Any]]) -> None:
        for (iso, _), found in zip(some, with_progress(moments_of, some, num_workers, "levels")):
            if found:
                moments.setdefault(iso, []).extend(found)

    gather(jobs)
    gather(varied.restored(jobs, moments))
    levels = {iso: _levels_at_gain_1(np.stack(of)) for iso, of in moments.items()}

    def sums_of(job: tuple[int, Any]) -> list[np.ndarray]:
        return summed(partial(_copula_sums, levels[job[0]]), varied.reader(job[0]), job[1])

    sums = add_up(sums_of, jobs, num_workers, "distributions")
    products = [sum(arrays) for arrays in zip(*(of[1:] for of in sums.values()))]
    kernel = colouring_kernel(torch.from_numpy(phase_covariance(*products)), 2 * COPULA_LAG + 1)
    tables = {iso: _copula_table(sums[iso][0], levels[iso], phase_variances(kernel)) for iso in pairs}
    gains = {
        iso: np.stack([_gains(one, levels[iso]) for one in evenly_spaced(of, HELD)]) for iso, of in moments.items()
    }
    return CopulaFit(kernel, tables, {iso: torch.from_numpy(of).float() for iso, of in gains.items()}, camera)


def _gains(moments: np.ndarray, levels: NoiseLevels) -> np.ndarray:
    """Compare an image's noise with the level functions, by channel: (3, C, 256) -> (C,)."""
    mean, std = levels.clipped_mean.numpy(), levels.clipped_std.numpy()
    count, total, square = moments
    real = (square - 2 * mean * total + mean**2 * count).sum(1)
    return np.sqrt(real / np.maximum((count * std**2).sum(1), 1e-6)).clip(*GAIN_RANGE)


def _levels_at_gain_1(moments: np.ndarray) -> NoiseLevels:
    """Find the level functions of images whose channels have gains of their own: (images, 3, C, 256)."""
    levels = noise_levels(moments.sum(0))
    for _ in range(GAIN_ROUNDS):
        gains = np.stack([_gains(one, levels) for one in moments])[..., None]
        gains /= np.exp(np.log(gains).mean(0))
        count, total, square = moments.swapaxes(0, 1)
        levels = noise_levels(np.stack([count, total / gains, square / gains**2]).sum(1))
    return levels


def _copula_sums(
    levels: NoiseLevels, clean: np.ndarray, noisy: np.ndarray, origin: tuple[int, int]
) -> list[np.ndarray]:
    """Sum up an image for its ISO's distributions, and its products as `lagged_sums`."""
    gains = torch.from_numpy(_gains(level_moments(clean, noisy), levels))[:, None]
    mean, std = gains * levels.mean, gains * levels.std
    own = NoiseLevels(mean, std, *clipped_moments(mean, std))
    return [_counts_below(clean, noisy, own), *lagged_sums(clean, noisy, own, origin)]


def _counts_below(clean: np.ndarray, noisy: np.ndarray, levels: NoiseLevels) -> np.ndarray:
    """Count pixels for which standardised noise of `PLACES` is known to be reached or not, and those below it.

    -> (2, C, len(LEVELS), len(PLACES)). Of a pixel it is known within the 8-bit range: (k + .5 - level - mean) / std
    for the 255 thresholds k + .5. Each pixel counts for the two of `LEVELS` about its own.
    """
    found = np.zeros((2, clean.shape[2], len(LEVELS), PLACES.size))
    low, share = (of.numpy() for of in between_levels())
    for c in range(clean.shape[2]):
        both = clean[..., c].ravel().astype(np.int64) * GREY_LEVELS.size + noisy[..., c].ravel()
        counts = np.bincount(both, minlength=GREY_LEVELS.size**2).reshape(GREY_LEVELS.size, -1)
        below, pixels = counts.cumsum(1)[:, :-1], counts.sum(1)
        for level in np.flatnonzero(pixels):
            mean, std = levels.mean[c, level].item(), max(levels.std[c, level].item(), 1e-3)
            places = (THRESHOLDS.numpy() - level - mean) / std
            known = (places[0] <= PLACES) & (places[-1] >= PLACES)
            values = np.stack([np.full(known.sum(), pixels[level]), np.interp(PLACES[known], places, below[level])])
            found[:, c, low[level], known] += (1 - share[level]) * values
            found[:, c, low[level] + 1, known] += share[level] * values
    return found


def _copula_table(counts: np.ndarray, levels: NoiseLevels, variances: Tensor) -> Tensor:
    """Turn counts into `Copula.table`: (2, C, L, P) -> (C, L, len(SCORES))."""
    fine = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    mean, std = levels.mean.numpy(), levels.std.numpy()
    shares, table = share_below(fine, variances).numpy(), np.empty((*counts.shape[1:3], len(SCORES)))
    for c, share in enumerate(shares):
        usual = _quantiles(counts[:, c].sum(1), fine.numpy(), share)
        below = np.interp(np.interp(PLACES, usual, SCORES), fine, share)
        for k, level in enumerate(LEVELS):
            own = counts[:, c, k] + OF_ALL_LEVELS * np.stack([np.ones_like(below), below])
            table[c, k] = mean[c, level] + std[c, level] * _quantiles(own, fine.numpy(), share)
    return torch.from_numpy(table / 255).float()


def _quantiles(counts: np.ndarray, scores: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Find the standardised noise that is as rare as each of `SCORES`, by counts of pixels and those below: (2, P).

    share: of Gaussian noise below `scores`. Beyond what is observed the function goes on as a straight line.
    """
    pixels, below = counts
    shares = np.maximum.accumulate(np.divide(below, pixels, out=np.zeros_like(below), where=pixels > 0).clip(0, 1))
    enough = (shares * pixels >= FEWEST_BEYOND) & ((1 - shares) * pixels >= FEWEST_BEYOND)
    known = np.flatnonzero(enough & (np.diff(shares, prepend=-1) > 1e-9))
    if known.size < 2:
        return np.array(SCORES)  # Gaussian
    places, found = PLACES[known], np.interp(shares[known], share, scores)
    low, high = (
        slope.clip(*SLOPES) for slope in (_slope(found[:TAIL], places[:TAIL]), _slope(found[-TAIL:], places[-TAIL:]))
    )
    wanted = np.array(SCORES)
    beyond = low * np.minimum(wanted - found[0], 0) + high * np.maximum(wanted - found[-1], 0)
    return np.interp(wanted, found, places) + beyond


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.cov(x, y, bias=True)[0, 1] / max(x.var(), 1e-12)
