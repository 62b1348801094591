"""Strength of the noise of an output: where its gain (NeCA-W) or noise level (NeCA-S) comes from."""

import hashlib
import random
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from data.folders import ImageJob, find_images
from noise.gains import GainEstimator, NamedGain, gain_or_fail, rounded_gain
from utils.files import sha256_of
from utils.image import PHOTO_SUFFIXES, read_photo


class OutputStrength(NamedTuple):
    """The strength of one output: a gain, or a noise level in grey levels; `origin` is the image of the gain."""

    gain: float | None = None
    noise_level: float | None = None
    origin: str = ""


class StrengthSource(Protocol):
    """Strengths for outputs; each depends on the seed, the image's name and the number of its draw alone."""

    @property
    def fingerprint(self) -> str:
        """Describe gains that were read from files, so that a run can tell whether they have changed."""

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[OutputStrength]:
        """Choose one for each of an image's targets. `size`: the image's height and width. Raises ValueError."""


def _random(job: ImageJob, draw: int, seed: int) -> random.Random:
    return random.Random(f"{seed} strength {job.key(draw)}")


class Interval(NamedTuple):
    """A number, or one drawn from an interval.

    Gains are drawn log-uniformly, for each stop of ISO multiplies them alike; noise levels uniformly, as is usual in
    the training of blind denoisers.
    """

    low: float
    high: float
    is_gain: bool
    fingerprint: str = ""

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[OutputStrength]:
        """Draw one for each target."""
        values = [self._draw(_random(job, target.draw, seed)) for target in job.targets]
        return [OutputStrength(gain=value) if self.is_gain else OutputStrength(noise_level=value) for value in values]

    def _draw(self, source: random.Random) -> float:
        if self.low == self.high:
            return self.low
        if self.is_gain:
            value = self.low * (self.high / self.low) ** source.random()
        else:
            value = self.low + (self.high - self.low) * source.random()
        return min(max(rounded_gain(value), self.low), self.high)


class OneOf:
    """One of some images' gains, drawn for each output."""

    def __init__(self, gains: list[NamedGain]):
        self.gains = gains
        self.fingerprint = hashlib.sha256(repr(gains).encode()).hexdigest()

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[OutputStrength]:
        """Draw one for each target."""
        chosen = [_random(job, target.draw, seed).choice(self.gains) for target in job.targets]
        return [OutputStrength(gain=gain, origin=name) for name, gain in chosen]


class OneOfImages(OneOf):
    """One of the gains of a noisy image, or of a folder of them, which `estimate` lets GENet estimate."""

    def __init__(self, estimator: GainEstimator, path: str | Path, max_megapixels: float):
        self.estimator, self.max_megapixels = estimator, max_megapixels
        self.images = _noisy_images(Path(path))
        self.gains: list[NamedGain] = []
        self.fingerprint = sha256_of(self.images)

    def estimate(self) -> None:
        """Estimate the gains to draw from. Raises ValueError that names an image that cannot be used."""
        for path in tqdm(self.images, desc="gains", unit="image", leave=False, disable=None):
            noisy = as_network_input(read_photo(path, self.max_megapixels, self.estimator.channels).pixels)
            self.gains.append((str(path), gain_or_fail(self.estimator, noisy, path)))


class OfPartner:
    """The gain of the image's own real noisy image, by GENet."""

    fingerprint = ""  # a changed partner is newer than its outputs

    def __init__(self, estimator: GainEstimator, max_megapixels: float):
        self.estimator, self.max_megapixels = estimator, max_megapixels

    def strengths(self, job: ImageJob, size: tuple[int, int], seed: int) -> list[OutputStrength]:
        """Estimate one for all targets."""
        assert job.partner is not None
        noisy = read_photo(job.partner, self.max_megapixels, self.estimator.channels).pixels
        if noisy.shape[:2] != size:
            sizes = [f"{height}x{width}" for height, width in (noisy.shape[:2], size)]
            raise ValueError(f"{job.partner}: {sizes[0]} pixels, but {job.source} has {sizes[1]}; expected the same")
        gain = gain_or_fail(self.estimator, as_network_input(noisy), job.partner)
        return [OutputStrength(gain=gain, origin=str(job.partner))] * len(job.targets)


def as_network_input(image: np.ndarray) -> np.ndarray:
    """Convert an image to what the generator accepts: uint8 as it is, uint16 to float32 in [0, 1]."""
    return image if image.dtype == np.uint8 else image.astype(np.float32) / 65535


def _noisy_images(path: Path) -> list[Path]:
    if path.is_dir():
        found = find_images(path)
        if found.problems:
            raise ValueError(found.problems[0])
        return [path / name for name in found.names]
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder")
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        raise ValueError(f"{path}: expected {' '.join(PHOTO_SUFFIXES)} or a folder")
    return [path]
