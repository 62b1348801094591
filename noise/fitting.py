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
from noise.statistics import (
    CELL_LAG,
    MAX_LAG,
    NoiseLevels,
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
from utils.workers import in_threads

Group = TypeVar("Group", bound=Hashable)
PairReader = Callable[[Any], Iterable[tuple[Path | str, np.ndarray, np.ndarray, tuple[int, int]]]]
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
    jobs = jobs_of(pairs)
    varied: Varied[Group] = Varied(read)

    def moments_of(job: tuple[Group, Any]) -> list[np.ndarray]:
        return summed(lambda clean, noisy, origin: [level_moments(clean, noisy)], varied.reader(job[0]), job[1])

    sums = add_up(moments_of, jobs, num_workers, "levels")
    sums |= add_up(moments_of, varied.restored(jobs, sums), num_workers, "levels")
    moments = {group: of for group, [of] in sums.items()}
    levels = {group: noise_levels(of) for group, of in moments.items()}

    def products_of(job: tuple[Group, Any]) -> list[np.ndarray]:
        return summed(partial(_products, levels[job[0]]), varied.reader(job[0]), job[1])

    products = add_up(products_of, jobs, num_workers, "correlations")
    return {group: _fit(moments[group], levels[group], products[group]) for group in pairs}


def read_from(reader: Reader) -> PairReader:
    """Read numbered pairs for `fit_noise` and `fit_copula`."""
    return lambda number: [(reader.name(number), *reader.pair(number), reader.pairs[number].origin)]


def read_windows(pairs: list[ImagePair]) -> list[tuple[Path, np.ndarray, np.ndarray, tuple[int, int]]]:
    """Read the pairs of one file, as `data.pairs.by_file` puts them together, for `fit_noise` and `fit_copula`."""
    return [(sample.pair.noisy, sample.clean, sample.noisy, sample.pair.origin) for sample in read_samples(pairs)]


def _products(levels: NoiseLevels, clean: np.ndarray, noisy: np.ndarray, origin: tuple[int, int]) -> Iterable:
    return lagged_sums(clean, noisy, levels, origin)


class Varied(Generic[Group]):
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


def jobs_of(pairs: Mapping[Group, Sequence]) -> list[tuple[Group, Any]]:
    """List the entries of all groups, each with its group. Raise ValueError for a group without any."""
    empty = [group for group, entries in pairs.items() if not entries]
    if empty or not pairs:
        raise ValueError(f"no image pairs{f' of {empty[0]}' if empty else ''} to fit noise models to")
    return [(group, entry) for group, entries in pairs.items() for entry in entries]


def summed(sums_of: Callable[..., Iterable[np.ndarray]], read: PairReader, entry: Any) -> list[np.ndarray]:
    """Add up what `sums_of` returns for each of an entry's images (clean, noisy, origin)."""
    return [np.sum(arrays, 0) for arrays in zip(*(sums_of(*_checked(*pair)) for pair in read(entry)))]


def _checked(name: Path | str, clean: np.ndarray, noisy: np.ndarray, origin: tuple[int, int]) -> tuple:
    if min(clean.shape[:2]) <= MAX_LAG:
        size = "x".join(map(str, clean.shape[:2]))
        raise ValueError(f"{name}: {size} pixels, expected more than {MAX_LAG} a side for the noise's correlations")
    return clean, noisy, origin


def with_progress(work: Callable, jobs: list[tuple[Group, Any]], num_workers: int, name: str) -> Iterator[Any]:
    """Yield what `work` returns for each job, in the order of the jobs."""
    with tqdm(total=len(jobs), desc=f"fit {name}", unit="pair", leave=False, disable=None) as progress:
        for arrays in in_threads(work, jobs, num_workers):
            yield arrays
            progress.update()


def add_up(work: Callable, jobs: list[tuple[Group, Any]], num_workers: int, name: str) -> dict[Group, list]:
    """Add the arrays that `work` returns for each job, group by group, in the order of the jobs."""
    totals: dict[Group, list[np.ndarray]] = {}
    for (group, _), arrays in zip(jobs, with_progress(work, jobs, num_workers, name)):
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
    """Return a checksum of the fits of cameras."""
    total = hashlib.sha256()
    for camera, of in sorted(fits.items()):
        for iso, fit in sorted(of.items()):
            total.update(f"{camera} {iso} {fit.std!r}".encode())
            for table in (fit.level_mean, fit.level_std, fit.kernel, fit.phase_kernel):
                total.update(table.numpy().tobytes())
    return total.hexdigest()[:12]
