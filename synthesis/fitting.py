"""Fit the baselines to image pairs, ISO by ISO, in two passes over the files."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import torch
from torch import Tensor
from tqdm import tqdm

from data.batches import read_pair
from metrics import noise_of
from models.noise_models import Coloured, Gaussian, Heteroscedastic, before_clipping, clipped_moments, colouring_kernel
from utils.workers import in_threads

MAX_LAG = 8  # pixels; ten SIDD scenes' noise: .41 to .47 at lag 1, at most .06 at 3, beyond 4 only content's .04
KERNEL_SIZE = 2 * MAX_LAG + 1
LEVELS = np.arange(256)
# A level's moments are taken over a box of levels about it, the smallest with so many pixels: a std good to 2 %.
FEWEST_PIXELS = 1000
WIDEST = 4  # levels to either side; one that needs more has the noise of the nearest that does not

FilePair = tuple[Path, np.ndarray, np.ndarray]  # file, clean, noisy


class Baselines(NamedTuple):
    """The three models of one ISO."""

    awgn: Gaussian
    heteroscedastic: Heteroscedastic
    coloured: Coloured


class NoiseLevels(NamedTuple):
    """Noise by clean level, (3, 256) in grey levels: Gaussian (mean, std), and what clipping makes of it."""

    mean: Tensor
    std: Tensor
    clipped_mean: Tensor
    clipped_std: Tensor
    linear: Tensor  # correlation of the clipped noise with the Gaussian


def fit_baselines(
    images: dict[int, list], num_workers: int, read: Callable[[Any], Iterable[FilePair]] | None = None
) -> dict[int, Baselines]:
    """Fit the baselines to image pairs: {ISO: pairs of files} -> {ISO: models}, with a progress bar for each pass.

    The models' noise has, once clipped and rounded, the measured moments; without that correction dark scenes, whose
    measured noise has lost its negative half, would get too little. Memory does not grow with the pairs, and the
    result does not depend on `num_workers` (threads; 0: the caller's). `read` turns an entry of the lists, whatever it
    is, into (file, clean, noisy), the images (H, W, 3) uint8. Raises ValueError when an ISO has no pairs, for images
    with a side of no more than MAX_LAG pixels and as `read_pair`.
    """
    empty = [iso for iso, of in images.items() if not of]
    if empty or not images:
        raise ValueError(f"no image pairs{f' of ISO {empty[0]}' if empty else ''} to fit the noise baselines to")
    jobs = [(iso, entry) for iso, of in images.items() for entry in of]
    pairs_of = read or (lambda pair: [(pair[0], *read_pair(pair))])

    def summed(sums_of: Callable, entry: Any) -> list[np.ndarray]:
        return [sum(arrays) for arrays in zip(*(sums_of(*_checked(*pair)) for pair in pairs_of(entry)))]

    def moments_of(job: tuple[int, Any]) -> list[np.ndarray]:
        return summed(lambda clean, noisy: [level_moments(clean, noisy)], job[1])

    moments = _add_up(moments_of, jobs, num_workers, "levels")
    levels = {iso: noise_levels(of) for iso, (of,) in moments.items()}

    def products_of(job: tuple[int, Any]) -> list[np.ndarray]:
        return summed(lambda clean, noisy: lagged_sums(clean, noisy, levels[job[0]]), job[1])

    sums = _add_up(products_of, jobs, num_workers, "correlations")
    return {iso: _models(moments[iso][0], levels[iso], correlation(*sums[iso])) for iso in images}


def nearest_iso(fitted: dict[int, Baselines], iso: int) -> int:
    """Which of the fitted ISOs is nearest on a logarithmic scale; of two as near, the lower."""
    return min(sorted(fitted), key=lambda one: abs(math.log(max(one, 1) / max(iso, 1))))


def _checked(file: Path, clean: np.ndarray, noisy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if min(clean.shape[:2]) <= MAX_LAG:
        size = "x".join(map(str, clean.shape[:2]))
        raise ValueError(f"{file}: {size} pixels, expected more than {MAX_LAG} a side for the noise's correlations")
    return clean, noisy


def _add_up(work: Callable, jobs: list[tuple[int, Any]], num_workers: int, name: str) -> dict[int, list[np.ndarray]]:
    """Add the arrays that `work((ISO, entry))` gives, per ISO, in the order of the jobs."""
    totals: dict[int, list[np.ndarray]] = {}
    with tqdm(total=len(jobs), desc=f"fit {name}", unit="pair", leave=False, disable=None) as progress:
        for (iso, _), arrays in zip(jobs, in_threads(work, jobs, num_workers)):
            totals[iso] = [one + other for one, other in zip(totals[iso], arrays)] if iso in totals else list(arrays)
            progress.update()
    return totals


def _models(moments: np.ndarray, levels: NoiseLevels, correlations: np.ndarray) -> Baselines:
    mean, std = ((table / 255).float() for table in (levels.mean, levels.std))
    kernel = colouring_kernel(torch.from_numpy(correlations), KERNEL_SIZE)
    return Baselines(Gaussian(_white_std(moments) / 255), Heteroscedastic(mean, std), Coloured(mean, std, kernel))


def level_moments(clean_uint8: np.ndarray, noisy_uint8: np.ndarray) -> np.ndarray:
    """Sum up the noise of each clean level: (H, W, 3), (H, W, 3) -> (3, 3, 256): 1, noise, noise^2; channel; level.

    Whole numbers in float64, so that sums over images are exact.
    """
    noise, sums = noise_of(noisy_uint8, clean_uint8), np.empty((3, 3, LEVELS.size))
    for c in range(3):
        levels, values = clean_uint8[..., c].ravel(), noise[..., c].ravel().astype(np.float64)
        sums[:, c] = [np.bincount(levels, power, LEVELS.size) for power in (None, values, values * values)]
    return sums


def noise_levels(moments: np.ndarray) -> NoiseLevels:
    """Turn sums of `level_moments` into noise level functions: smoothed, freed from clipping, filled up."""
    until = np.pad(moments.cumsum(-1), ((0, 0), (0, 0), (1, 0)))
    fewest = np.minimum(FEWEST_PIXELS, moments[0].sum(-1, keepdims=True))
    boxes, reach = np.zeros_like(moments), np.full((3, LEVELS.size), LEVELS.size)
    for radius in reversed(LEVELS):  # the widest box has enough pixels for every level
        box = until[..., np.minimum(LEVELS + radius, 255) + 1] - until[..., np.maximum(LEVELS - radius, 0)]
        enough = box[0] >= fewest
        boxes[:, enough], reach[enough] = box[:, enough], radius
    mean, square = boxes[1] / boxes[0], boxes[2] / boxes[0]
    mean, std = before_clipping(*map(torch.from_numpy, (mean, np.sqrt(np.maximum(square - mean**2, 0)))))
    for c in range(3):
        known = np.flatnonzero(reach[c] <= max(WIDEST, reach[c].min()))
        nearest = known[np.abs(LEVELS[:, None] - known).argmin(1)]
        mean[c], std[c] = mean[c, nearest], std[c, nearest]
    return NoiseLevels(mean, std, *clipped_moments(mean, std))


def _white_std(moments: np.ndarray) -> float:
    """Standard deviation of zero-mean white noise which, clipped, has that of all the noise; in grey levels."""
    _, mean, square = moments.sum((1, 2)) / moments[0].sum()
    std = wanted = math.sqrt(max(square - mean**2, 0))
    share = torch.from_numpy(moments[0].sum(0) / moments[0].sum())
    for _ in range(50):  # fixed point
        found_mean, found_std, _ = clipped_moments(torch.zeros(LEVELS.size), torch.full((LEVELS.size,), std))
        found = (share * (found_std**2 + found_mean**2)).sum() - (share * found_mean).sum() ** 2
        std = min(std * wanted / max(math.sqrt(found), 1e-6), 4 * wanted)
    return std


def lagged_sums(clean_uint8: np.ndarray, noisy_uint8: np.ndarray, levels: NoiseLevels) -> tuple[np.ndarray, ...]:
    """Sum up products of the noise with itself at all lags and channels: two (H, W, 3) -> (3, 3, 17, 17), same, (3,).

    The noise is normalised, z = (noise - mean) / std of its level, and weighted with w, its correlation with the noise
    before clipping: at a pair of pixels E[z z'] is about w w' times the wanted correlation (first order of Mehler's
    formula), so least squares takes the sums of w w' z z' and of (w w')^2. The third is the sum of w^2. Each image's
    own mean is removed: it is an error of the mean's curve, not a pattern.
    """
    tables = (table.float().numpy() for table in (levels.clipped_mean, levels.clipped_std, levels.linear))
    mean, std, weight = (np.stack([table[c][clean_uint8[..., c]] for c in range(3)]) for table in tables)
    noise = noise_of(noisy_uint8, clean_uint8).transpose(2, 0, 1)
    z = np.divide(weight * (noise - mean), std, out=np.zeros_like(mean), where=weight > 0)
    square = weight * weight
    total = square.sum((1, 2), dtype=np.float64)
    offset = z.sum((1, 2), dtype=np.float64) / np.maximum(total, 1e-3)
    z -= square * offset.astype(np.float32)[:, None, None]
    return _lag_products(z), _lag_products(square), total


def _lag_products(planes: np.ndarray) -> np.ndarray:
    """Sum planes[i, y, x] planes[j, y + dy, x + dx] over y and x: (3, H, W) float32 -> (3, 3, 17, 17) float64."""
    size = [scipy.fft.next_fast_len(side + MAX_LAG, real=True) for side in planes.shape[1:]]  # zeros: no wrap
    spectra = scipy.fft.rfft2(planes, size)
    lags = np.arange(-MAX_LAG, MAX_LAG + 1)
    sums = np.empty((3, 3, lags.size, lags.size))
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):  # one by one: whole frames need the memory
        sums[i, j] = scipy.fft.irfft2(spectra[i].conj() * spectra[j], size)[lags[:, None], lags]
        sums[j, i] = sums[i, j, ::-1, ::-1]
    return sums


def correlation(products: np.ndarray, weights: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Correlation of the noise before clipping from sums of `lagged_sums`: -> (3, 3, 17, 17), 1 at lag 0."""
    covariance = np.divide(products, weights, out=np.zeros_like(products), where=weights > 1e-3)
    variance = np.diagonal(products[:, :, MAX_LAG, MAX_LAG]) / np.maximum(total, 1e-3)
    scale = np.sqrt(np.outer(variance, variance))[:, :, None, None]
    found = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-3).clip(-1, 1)
    found[range(3), range(3), MAX_LAG, MAX_LAG] = 1
    return found
