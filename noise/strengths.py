"""Strength of the noise of each image: numbers of the model's own kind, from wherever they come.

A number for each image, in [0, 1] units: the gain of NeCA-W, the noise level of NeCA-S, the standard deviation of white
noise, (N,) float64. Or several, (N, k): a copula's, one for each channel; a pipeline's, two for each.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from noise.interface import Images

Item = TypeVar("Item")
Number = float | Sequence[float]
Estimator = Callable[[Tensor, Tensor], Tensor]  # noisy and clean images -> their numbers


class Drawn(NamedTuple):
    """Strengths of images, and the names of those that they were measured on; "" for a strength without one."""

    numbers: Tensor
    origins: Sequence[str]


class Strength:
    """A way to the strengths of images; random ones are chosen by `Images.uniform`.

    is_random: the draws of one image differ.
    """

    is_random = True

    @property
    def fingerprint(self) -> str:
        """Describe numbers that were read from files, so that a run can tell whether they have changed."""
        return ""

    def draw(self, images: Images) -> Drawn:
        """Choose a strength for each image."""
        raise NotImplementedError

    def __call__(self, images: Images) -> Tensor:
        """Return the strengths alone: (N,) or (N, k) float64."""
        return self.draw(images).numbers


@dataclass(frozen=True)
class Constant(Strength):
    """The same for all images."""

    value: Number
    is_random = False

    def draw(self, images: Images) -> Drawn:
        """Repeat the value."""
        value = torch.tensor(self.value, dtype=torch.float64)
        return _unnamed(value.expand(len(images.clean), *value.shape))


@dataclass(frozen=True, eq=False)
class Known(Strength):
    """The numbers of a batch that is at hand: (N,) or (N, k)."""

    numbers: Tensor
    is_random = False

    def draw(self, images: Images) -> Drawn:
        """Return the numbers."""
        return _unnamed(self.numbers)


@dataclass(frozen=True)
class Interval(Strength):
    """Numbers of an interval, drawn uniformly or uniformly in their logarithm; digits: significant ones that are kept.

    Each stop of ISO multiplies gains alike, so they are drawn log-uniformly where images have no ISO; noise levels
    uniformly, as is usual in the training of blind denoisers.
    """

    low: float
    high: float
    log: bool = False
    digits: int | None = None

    def draw(self, images: Images) -> Drawn:
        """Draw one for each image."""
        values = [self._between(one) for one in draws_of(images)]
        return _unnamed(torch.tensor(values, dtype=torch.float64))

    def _between(self, draw: Generator) -> float:
        if self.log and self.low == self.high:
            return self.low
        share = draw.random()
        value = self.low * (self.high / self.low) ** share if self.log else self.low + (self.high - self.low) * share
        return value if self.digits is None else min(max(float(f"{value:.{self.digits}g}"), self.low), self.high)


@dataclass(eq=False)
class OneOf(Strength):
    """One of some images' numbers, (name, number) each; made_of: a fingerprint of the images, if they were read."""

    named: Sequence[tuple[str, Number]]
    made_of: str = ""

    @property
    def fingerprint(self) -> str:
        """Return that of the images, else the SHA-256 of names and numbers."""
        return self.made_of or hashlib.sha256(repr(list(self.named)).encode()).hexdigest()

    def draw(self, images: Images) -> Drawn:
        """Choose one for each image."""
        chosen = [one.choice(self.named) for one in draws_of(images)]
        return Drawn(_stack([number for _, number in chosen]), [name for name, _ in chosen])


@dataclass(frozen=True, eq=False)
class ByIso(Strength):
    """One of the numbers of each image's camera and nearest ISO, {camera: {ISO: numbers}}."""

    values: Mapping[str, Mapping[int, Sequence[Number]]]

    def draw(self, images: Images) -> Drawn:
        """Choose one for each image."""
        numbers = []
        for camera, iso, one in zip(images.cameras, images.isos, draws_of(images)):
            of_iso = self.values[camera][nearest_iso(self.values[camera], iso)]
            numbers.append(one.choice(of_iso))
        return _unnamed(_stack(numbers))


@dataclass(frozen=True, eq=False)
class Measured(Strength):
    """Strength that `estimate` measures on the noisy images."""

    estimate: Estimator
    is_random = False

    def draw(self, images: Images) -> Drawn:
        """Measure each image."""
        assert images.noisy is not None
        return _unnamed(self.estimate(images.noisy, images.clean))


@dataclass(frozen=True, eq=False)
class Multiple(Strength):
    """Another strength times a factor, drawn log-uniformly; times: what a factor does to the model's numbers."""

    strength: Strength
    low: float
    high: float
    times: Callable[[Tensor, float], Tensor]

    @property
    def fingerprint(self) -> str:
        """Return that of the strength."""
        return self.strength.fingerprint

    def draw(self, images: Images) -> Drawn:
        """Draw the strengths, then the factors."""
        numbers, origins = self.strength.draw(images)
        factors = Interval(self.low, self.high, log=True, digits=6)(images).tolist()
        return Drawn(torch.stack([self.times(one, factor) for one, factor in zip(numbers, factors)]), origins)


@dataclass(frozen=True, eq=False)
class Over(Strength):
    """Another strength's numbers over how many of them make 1."""

    strength: Strength
    per_unit: float

    def draw(self, images: Images) -> Drawn:
        """Divide the numbers."""
        numbers, origins = self.strength.draw(images)
        return Drawn(numbers / self.per_unit, origins)


class Generator(Protocol):
    """Generator of random numbers as strengths use it, such as random.Random."""

    def random(self) -> float:
        """Return a number in [0, 1)."""

    def choice(self, seq: Sequence[Item], /) -> Item:
        """Return one of the items."""


class Given(NamedTuple):
    """A random number that was drawn before, in place of a generator: it gives this one, again and again."""

    uniform: float

    def random(self) -> float:
        """Return the number."""
        return self.uniform

    def choice(self, seq: Sequence[Item], /) -> Item:
        """Choose by the number."""
        return seq[int(self.uniform * len(seq))]


def draws_of(images: Images) -> list[Generator]:
    """Return what chooses the strength of each image."""
    assert images.uniform is not None
    return [one if isinstance(one, random.Random) else Given(float(one)) for one in images.uniform]


def _unnamed(numbers: Tensor) -> Drawn:
    return Drawn(numbers, [""] * len(numbers))


def _stack(numbers: Sequence[Number | Tensor]) -> Tensor:
    return torch.stack([torch.as_tensor(number, dtype=torch.float64) for number in numbers])


def nearest_iso(known: Mapping[int, object], iso: int) -> int:
    """Find the known ISO that is nearest on a logarithmic scale; of two as near, the lower."""
    return min(sorted(known), key=lambda one: abs(math.log(max(one, 1) / max(iso, 1))))


def constant(value: Number) -> Strength:
    """Give all images the same strength."""
    return Constant(value)


def interval(low: float, high: float) -> Strength:
    """Draw each image's strength uniformly from an interval."""
    return Interval(low, high)


def by_iso(values: Mapping[str, Mapping[int, Sequence[Number]]]) -> Strength:
    """Choose among the values of each image's camera and nearest ISO, {camera: {ISO: values}}."""
    return ByIso(values)


def noise_std(noisy: Tensor, clean: Tensor) -> Tensor:
    """Measure the standard deviation of images' noise: (N, C, H, W) in [0, 1] -> (N,)."""
    return _grey_noise(noisy, clean).flatten(1).std(1, correction=0) / 255


def channel_std(noisy: Tensor, clean: Tensor) -> Tensor:
    """Measure the standard deviation of each channel's noise: (N, C, H, W) in [0, 1] -> (N, C)."""
    return _grey_noise(noisy, clean).flatten(2).std(2, correction=0) / 255


def _grey_noise(noisy: Tensor, clean: Tensor) -> Tensor:
    return (255 * (noisy - clean)).round().cpu().double()  # whole grey levels


true_std = Measured(noise_std)  # of the real noise, which only an oracle knows
true_channel_std = Measured(channel_std)
