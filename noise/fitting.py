"""Fit noise models to image pairs, ISO by ISO, in two passes over the files."""

import hashlib
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.likeness import is_blank, name_left_out
from data.pairs import ImagePair, Reader, read_samples
from noise.copula import LEVELS, SCORES, CopulaFit, between_levels, phase_variances, share_below
from noise.statistics import (
    CELL_LAG,
    GREY_LEVELS,
    MAX_LAG,
    THRESHOLDS,
    NoiseLevels,
    clipped_moments,
    colouring_kernel,
    correlation,
    lagged_sums,
    level_moments,
    noise_levels,
    over_phases,
    phase_covariance,
    white_std,
)
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.randomness import evenly_spaced
from utils.workers import in_threads

Group = TypeVar("Group", bound=Hashable)
PairReader = Callable[[Any], Iterable[tuple[Path | str, np.ndarray, np.ndarray, tuple[int, int]]]]
COPULA_LAG = 3  # cells to either side of the copula's kernel
# Standardised noise at which the copula's distributions are measured.
PLACES = np.linspace(-8, 8, 161)
FEWEST_BEYOND = 10  # pixels that an observed part of a distribution has on either side
OF_ALL_LEVELS = 1500  # pixels that the distribution of all levels counts for on each
GAIN_ROUNDS = 3
GAIN_RANGE = 0.02, 50.0  # of an image's noise, over the level function
HELD = 40  # images whose gains a fit holds
SLOPES, TAIL = (0.3, 3.0), 5  # of straight lines beyond the observed, and the places that they follow from
STORED = ("awgn", "mean", "std", "kernel", "phase_kernel")  # names of the fields of a `Fit` in a file


@dataclass(frozen=True, eq=False)
class Fit:
    """Noise of some image pairs, in [0, 1] units, before clipping and rounding.

    std: of all the noise, as if it were white and of mean 0. level_mean, level_std: (C, 256) by channel and clean
    8-bit level. kernel: (C, C, K, K), the filter that gives white noise the measured correlations; phase_kernel:
    (4 C, 4 C, K, K), the one for `pixel_unshuffle`d white noise, by position in the mosaic.
    """

    std: float
    level_mean: Tensor
    level_std: Tensor
    kernel: Tensor
    phase_kernel: Tensor


def fit_noise(pairs: Mapping[Group, Sequence], read: PairReader, num_workers: int) -> dict[Group, Fit]:
    """Fit the noise of groups of image pairs, with a progress bar for each pass.

    read: turns an entry of the lists into one or several (name, clean, noisy, origin), the images (H, W, C) uint8, the
    origin that of the images in the 2x2 mosaic.

    The models' noise has, once clipped and rounded, the measured moments; without that correction dark scenes, whose
    measured noise has lost its negative half, would get too little. Memory does not grow with the pairs, and the
    result does not depend on `num_workers` (threads; 0: the caller's). Images of one colour are left out and named,
    unless a group has no others. Raises ValueError for a group without pairs and for images with a side of no more than
    MAX_LAG pixels.
    """
    jobs = _jobs(pairs)
    varied: _Varied[Group] = _Varied(read)

    def moments_of(job: tuple[Group, Any]) -> list[np.ndarray]:
        return _summed(lambda clean, noisy, origin: [level_moments(clean, noisy)], varied.reader(job[0]), job[1])

    sums = _add_up(moments_of, jobs, num_workers, "levels")
    sums |= _add_up(moments_of, varied.restored(jobs, sums), num_workers, "levels")
    moments = {group: of for group, [of] in sums.items()}
    levels = {group: noise_levels(of) for group, of in moments.items()}

    def products_of(job: tuple[Group, Any]) -> list[np.ndarray]:
        return _summed(partial(_products, levels[job[0]]), varied.reader(job[0]), job[1])

    products = _add_up(products_of, jobs, num_workers, "correlations")
    return {group: _fit(moments[group], levels[group], products[group]) for group in pairs}


def read_from(reader: Reader) -> PairReader:
    """Read numbered pairs for `fit_noise` and `fit_copula`."""
    return lambda number: [(reader.name(number), *reader.pair(number), reader.pairs[number].origin)]


def read_windows(pairs: list[ImagePair]) -> list[tuple[Path, np.ndarray, np.ndarray, tuple[int, int]]]:
    """Read the pairs of one file, as `data.pairs.by_file` puts them together, for `fit_noise` and `fit_copula`."""
    return [(sample.pair.noisy, sample.clean, sample.noisy, sample.pair.origin) for sample in read_samples(pairs)]


def _products(levels: NoiseLevels, clean: np.ndarray, noisy: np.ndarray, origin: tuple[int, int]) -> Iterable:
    return lagged_sums(clean, noisy, levels, origin)


class _Varied(Generic[Group]):
    """Reads pairs without those of one colour, unless a group has no others."""

    def __init__(self, read: PairReader):
        self.read = read
        self.blank: dict[str, Group] = {}  # by name
        self.all_blank: set[Group] = set()  # groups of blank images only

    def reader(self, group: Group) -> PairReader:
        """Return what reads the pairs of a group."""

        def read(entry: Any) -> Iterator[tuple]:
            for pair in self.read(entry):
                if group not in self.all_blank and is_blank(pair[2]):
                    self.blank[str(pair[0])] = group
                else:
                    yield pair

        return read

    def restored(self, jobs: list[tuple[Group, Any]], found: Container[Group]) -> list[tuple[Group, Any]]:
        """List the jobs of groups of which nothing was found, to be done with all pairs; name what is left out."""
        self.all_blank = {group for group, _ in jobs if group not in found}
        for name, group in sorted(self.blank.items()):
            if group not in self.all_blank:
                name_left_out(name)
        return [job for job in jobs if job[0] in self.all_blank]


def _jobs(pairs: Mapping[Group, Sequence]) -> list[tuple[Group, Any]]:
    """List the entries of all groups, each with its group. Raise ValueError for a group without any."""
    empty = [group for group, entries in pairs.items() if not entries]
    if empty or not pairs:
        raise ValueError(f"no image pairs{f' of {empty[0]}' if empty else ''} to fit noise models to")
    return [(group, entry) for group, entries in pairs.items() for entry in entries]


def _summed(sums_of: Callable[..., Iterable[np.ndarray]], read: PairReader, entry: Any) -> list[np.ndarray]:
    """Add up what `sums_of` returns for each of an entry's images (clean, noisy, origin)."""
    return [np.sum(arrays, 0) for arrays in zip(*(sums_of(*_checked(*pair)) for pair in read(entry)))]


def _checked(name: Path | str, clean: np.ndarray, noisy: np.ndarray, origin: tuple[int, int]) -> tuple:
    if min(clean.shape[:2]) <= MAX_LAG:
        size = "x".join(map(str, clean.shape[:2]))
        raise ValueError(f"{name}: {size} pixels, expected more than {MAX_LAG} a side for the noise's correlations")
    return clean, noisy, origin


def _with_progress(work: Callable, jobs: list[tuple[Group, Any]], num_workers: int, name: str) -> Iterator[Any]:
    """Yield what `work` returns for each job, in the order of the jobs."""
    with tqdm(total=len(jobs), desc=f"fit {name}", unit="pair", leave=False, disable=None) as progress:
        for arrays in in_threads(work, jobs, num_workers):
            yield arrays
            progress.update()


def _add_up(work: Callable, jobs: list[tuple[Group, Any]], num_workers: int, name: str) -> dict[Group, list]:
    """Add the arrays that `work` returns for each job, group by group, in the order of the jobs."""
    totals: dict[Group, list[np.ndarray]] = {}
    for (group, _), arrays in zip(jobs, _with_progress(work, jobs, num_workers, name)):
        if not arrays:
            continue
        before = totals.get(group)
        totals[group] = [one + other for one, other in zip(before, arrays)] if before else list(arrays)
    return totals


def _fit(moments: np.ndarray, levels: NoiseLevels, products: list[np.ndarray]) -> Fit:
    mean, std = ((table / 255).float() for table in (levels.mean, levels.std))
    stationary = torch.from_numpy(correlation(*map(over_phases, products)))
    by_phase = torch.from_numpy(phase_covariance(*products))
    kernels = colouring_kernel(stationary, 2 * MAX_LAG + 1), colouring_kernel(by_phase, 2 * CELL_LAG + 1)
    return Fit(white_std(moments) / 255, mean, std, *kernels)


def fit_copula(pairs: Mapping[int, Sequence], read: PairReader, num_workers: int, camera: str = "") -> CopulaFit:
    """Fit copulas to a camera's image pairs, {ISO: entries}, as `fit_noise` fits Gaussian noise.

    Level functions are those of the noise over the gain that each channel has in each image, since white balance
    amplifies channels by the light. Distributions are those before clipping and rounding: an 8-bit value only says
    between which thresholds the noisy value was, and nothing of how far beyond black or white.
    """
    jobs = _jobs(pairs)
    varied: _Varied[int] = _Varied(read)

    def moments_of(job: tuple[int, Any]) -> list[np.ndarray]:
        return [level_moments(clean, noisy) for _, clean, noisy, _ in varied.reader(job[0])(job[1])]

    moments: dict[int, list[np.ndarray]] = {}

    def gather(some: list[tuple[int, Any]]) -> None:
        for (iso, _), found in zip(some, _with_progress(moments_of, some, num_workers, "levels")):
            if found:
                moments.setdefault(iso, []).extend(found)

    gather(jobs)
    gather(varied.restored(jobs, moments))
    levels = {iso: _levels_at_gain_1(np.stack(of)) for iso, of in moments.items()}

    def sums_of(job: tuple[int, Any]) -> list[np.ndarray]:
        return _summed(partial(_copula_sums, levels[job[0]]), varied.reader(job[0]), job[1])

    sums = _add_up(sums_of, jobs, num_workers, "distributions")
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


def save_fits(path: Path, made_of: str, fits: Mapping[str, Mapping[int, Fit]]) -> None:
    """Write the fits of cameras, {camera: {ISO: fit}}; made_of: what tells the images that they were fitted to."""
    packed = {
        camera: {
            iso: dict(zip(STORED, (fit.std, fit.level_mean, fit.level_std, fit.kernel, fit.phase_kernel)))
            for iso, fit in of.items()
        }
        for camera, of in fits.items()
    }
    save_checkpoint(path, {"images": made_of, "models": packed})


def load_fits(path: Path, made_of: str) -> dict[str, dict[int, Fit]] | None:
    """Read what `save_fits` wrote; None if it was fitted to other images. Raises ValueError for a damaged file."""
    content = load_checkpoint(path)
    if content.get("images") != made_of:
        return None
    try:
        return {
            camera: {iso: Fit(*(values[name] for name in STORED)) for iso, values in of.items()}
            for camera, of in content["models"].items()
        }
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: damaged; delete it to have the noise models fitted anew") from None


def fingerprint(fits: Mapping[str, Mapping[int, Fit]]) -> str:
    """Tell these fits of cameras from others."""
    total = hashlib.sha256()
    for camera, of in sorted(fits.items()):
        for iso, fit in sorted(of.items()):
            total.update(f"{camera} {iso} {fit.std!r}".encode())
            for table in (fit.level_mean, fit.level_std, fit.kernel, fit.phase_kernel):
                total.update(table.numpy().tobytes())
    return total.hexdigest()[:12]
