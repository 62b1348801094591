"""How strong the noise of an output is: where its gain (NeCA-W) or noise level (NeCA-S) comes from."""

import argparse
import hashlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from data.folders import ImageJob, find_images
from synthesis.gains import GainEstimator, NamedGain, bank_path, gain_or_fail, read_bank, rounded_gain
from utils.image import PHOTO_SUFFIXES, read_photo


class Strength(NamedTuple):
    """The strength of one output: a gain, or a noise level in grey levels; `origin` is the image of the gain."""

    gain: float | None = None
    noise_level: float | None = None
    origin: str = ""


class StrengthSource(Protocol):
    """Strengths for outputs; each depends on the seed, the image's name and the number of its draw alone."""

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[Strength]:
        """One for each of an image's targets. `size`: the image's height and width. Raises ValueError."""


class Interval(NamedTuple):
    """A number, or one drawn from an interval.

    Gains are drawn log-uniformly, for each stop of ISO multiplies them alike; noise levels uniformly, as is usual in
    the training of blind denoisers.
    """

    low: float
    high: float
    is_gain: bool

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[Strength]:
        return [self._draw(random.Random(f"{seed} strength {job.key(target.draw)}")) for target in job.targets]

    def _draw(self, source: random.Random) -> Strength:
        if self.low == self.high:
            value = self.low
        elif self.is_gain:
            value = self.low * (self.high / self.low) ** source.random()
        else:
            value = self.low + (self.high - self.low) * source.random()
        if self.low != self.high:
            value = min(max(rounded_gain(value), self.low), self.high)
        return Strength(gain=value) if self.is_gain else Strength(noise_level=value)


class Sampled(NamedTuple):
    """One of some images' gains, drawn for each output."""

    gains: list[NamedGain]

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[Strength]:
        chosen = [random.Random(f"{seed} strength {job.key(target.draw)}").choice(self.gains) for target in job.targets]
        return [Strength(gain=gain, origin=name) for name, gain in chosen]


class OfPartner:
    """The gain of the image's own real noisy image, by GENet."""

    def __init__(self, estimator: GainEstimator, max_megapixels: float):
        self.estimator, self.max_megapixels = estimator, max_megapixels

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[Strength]:
        noisy = read_photo(job.partner, self.max_megapixels).pixels
        if noisy.shape[:2] != size:
            sizes = [f"{height}x{width}" for height, width in (noisy.shape[:2], size)]
            raise ValueError(f"{job.partner}: {sizes[0]} pixels, but {job.source} has {sizes[1]}; expected the same")
        gain = gain_or_fail(self.estimator, as_network_input(noisy), job.partner)
        return [Strength(gain=gain, origin=str(job.partner))] * len(job.targets)


def as_network_input(image: np.ndarray) -> np.ndarray:
    """What the generator accepts: uint8 as it is, uint16 as float32 in [0, 1]."""
    return image if image.dtype == np.uint8 else image.astype(np.float32) / 65535


def choose_source(args: argparse.Namespace, weights: Path) -> tuple[Interval | Sampled | None, list[Path], str]:
    """Decide where strengths come from, by the options: -> source, images to estimate gains of, fingerprint.

    The source is None where GENet has to look at images first: the listed ones, or, where none are, each image's
    partner. The fingerprint tells whether gains that were read from files are the same as before.
    """
    if args.NeCA_type == "S":
        return Interval(*args.noise_level, is_gain=False), [], ""
    if args.gain is not None:
        return Interval(*args.gain, is_gain=True), [], ""
    if args.noisy_dir is not None:
        return None, [], ""
    if args.gain_from is not None:
        images = _images_of(args.gain_from)
        total = hashlib.sha256()
        for image in images:
            total.update(image.read_bytes())
        return None, images, total.hexdigest()
    gains = read_bank(bank_path(weights)).of_iso(args.iso)
    return Sampled(gains), [], hashlib.sha256(repr(gains).encode()).hexdigest()


def _images_of(path: str) -> list[Path]:
    if Path(path).is_dir():
        found = find_images(path, "--gain_from")
        if found.problems:
            raise ValueError(f"{found.problems[0]} (--gain_from)")
        return [Path(path) / name for name in found.names]
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file or folder; change --gain_from")
    if Path(path).suffix.lower() not in PHOTO_SUFFIXES:
        raise ValueError(f"{path}: expected {' '.join(PHOTO_SUFFIXES)} or a folder; change --gain_from")
    return [Path(path)]


def sample_images(estimator: GainEstimator, images: Iterable[Path], max_megapixels: float) -> Sampled:
    """Estimate the gains of images to draw from. Raises ValueError that names one that cannot be used."""
    gains = []
    for path in tqdm(images, desc="gains", unit="image", leave=False, disable=None):
        try:
            noisy = as_network_input(read_photo(path, max_megapixels).pixels)
            gains.append((str(path), gain_or_fail(estimator, noisy, path)))
        except ValueError as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}; change --gain_from") from None
    return Sampled(gains)
