"""Noise models: everything that makes noise for clean images, under one interface.

Evaluation, synthesis and denoiser training use a model alike: `noise` turns images and white noise into noise. A new
model is a subclass of `NoiseModel` and a row in `noise.kinds.KINDS`.
"""

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from inference import white_noise
from inference.generator import NoiseGenerator
from noise.strengths import Measured, Strength, by_iso, constant, interval, nearest_iso, true_std
from utils.randomness import seed_from

__all__ = ["by_iso", "constant", "interval", "nearest_iso", "true_std"]  # and what is below

Known = TypeVar("Known")
Key = TypeVar("Key", bound=Hashable)

SCALINGS = 8  # of `TimesStd`: clipping takes a part of each


@dataclass(frozen=True)
class Images:
    """A batch of clean images and what is known of them; a model that needs what is None cannot be used.

    clean: (N, C, H, W) in [0, 1]; `NoiseModel.noisy` takes uint8, too. cameras, isos, names: one entry per image.
    noisy: the real noisy images, (N, C, H, W) in [0, 1]. other_noise: real noise of other frames of the same scenes.
    uniform: (N,) random numbers in [0, 1) that choose a strength, or a generator for each image. origins: row and
    column of each image's first pixel in the 2x2 mosaic; none: all (0, 0). illuminants: in kelvin, 0: not known.
    """

    clean: Tensor
    cameras: Sequence[str] = ()
    isos: Sequence[int] = ()
    noisy: Tensor | None = None
    uniform: np.ndarray | Sequence[random.Random] | None = None
    names: Sequence[str] = ()
    other_noise: Tensor | None = None
    origins: Sequence[tuple[int, int]] = ()
    illuminants: Sequence[int] = ()

    def rows(self, rows: list[int]) -> "Images":
        """Select some of the images."""

        def chosen(values: Any) -> Any:
            if isinstance(values, Tensor | np.ndarray):
                return values[rows]
            return [values[row] for row in rows] if values else values  # what is not known stays so

        return Images(*(chosen(getattr(self, each.name)) for each in fields(self)))


def needed(known: Known | None) -> Known:
    """Return what is known of images, for a model that cannot be used without it."""
    assert known is not None
    return known


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Noise as a function of clean images and white noise.

    name: what tables call the model; its random numbers in an evaluation depend on it. is_random: whether it
    uses the white noise at all.
    """

    name: str = field(default="", kw_only=True)
    is_random = True

    @property
    def margin(self) -> int:
        """Return the rows and columns of white noise that the model needs beyond an image's."""
        return 0

    def noise(self, images: Images, white: Tensor) -> Tensor | None:
        """Make noise in [0, 1] units, neither clipped nor rounded; None if the model has none for these images.

        white: (N, C, H + margin, W + margin), N(0, 1), on the device of the images. (N, C, H, W) -> (N, C, H, W).
        """
        raise NotImplementedError

    def noisy(self, images: Images, white: Tensor) -> Tensor:
        """Put noise on images, clipped and, for uint8, rounded: (N, C, H, W) uint8 or float in [0, 1] -> the same."""
        is_uint8 = images.clean.dtype == torch.uint8
        clean = images.clean.to(white.dtype).div(255) if is_uint8 else images.clean
        noisy = (clean + needed(self.noise(replace(images, clean=clean), white))).clamp_(0, 1)
        return noisy.mul_(255).round_().to(torch.uint8) if is_uint8 else noisy

    def white_noise(self, height: int, width: int, seed: int, key: str, channels: int = 3) -> Tensor:
        """Draw an image's white noise from (seed, key) alone, on the CPU: (1, C, H + margin, W + margin)."""
        generator = torch.Generator().manual_seed(seed_from(seed, self.name, key))
        return torch.randn(1, channels, height + self.margin, width + self.margin, generator=generator)


def estimated_gain(generator: NoiseGenerator) -> Measured:
    """Let GENet estimate the gains of the real noisy images.

    A patch like none that GENet has seen may get a gain below 0, which is no reason to end a training: it is clipped.
    """

    def gains(noisy: Tensor, clean: Tensor) -> Tensor:
        return torch.tensor(generator.estimate_gain(noisy), dtype=torch.float64).clamp(0, 1)

    return Measured(gains)


@dataclass(frozen=True, eq=False)
class Neca(NoiseModel):
    """A NeCA generator, whose white noise depends on the position: larger images begin with the same numbers."""

    generator: NoiseGenerator
    strength: Strength

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Let the networks make the noise: (N, C, H, W) -> (N, C, H, W)."""
        return self.generator.synthesize(images.clean, z=white, maps=True, **self._strength(images)).sdnc

    def noisy(self, images: Images, white: Tensor) -> Tensor:
        """Put noise on images as `NoiseModel.noisy`, tile by tile: large ones need less memory."""
        return self.generator.synthesize(images.clean, z=white, clip=True, **self._strength(images))

    def white_noise(self, height: int, width: int, seed: int, key: str, channels: int = 3) -> Tensor:
        """Draw an image's white noise from (seed, key), block by block: (1, C, H, W)."""
        return white_noise(seed, key, height, width, channels)[None]

    def _strength(self, images: Images) -> dict[str, Any]:
        raise NotImplementedError


class NecaW(Neca):
    """NeCA-W: all three networks; the strength is the gain."""

    def _strength(self, images: Images) -> dict[str, Any]:
        return {"gain": self.strength(images)}


class NecaS(Neca):
    """NeCA-S: NCNet alone, signal-independent; the strength is the noise level before NCNet."""

    def _strength(self, images: Images) -> dict[str, Any]:
        return {"noise_level": 255 * self.strength(images)}


@dataclass(frozen=True, eq=False)
class TimesStd(NoiseModel):
    """Another model's noise, scaled so that once clipped it has a standard deviation: of all channels, or of each.

    The real noise's is as much as a generator sees of the noisy image that takes as many gains from there.
    """

    model: NoiseModel
    strength: Strength = true_std

    @property
    def margin(self) -> int:
        """Return the model's margin."""
        return self.model.margin

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Scale the model's noise, image by image."""
        noise, wanted = needed(self.model.noise(images, white)), self.strength(images).to(white)
        together = wanted.ndim == 1
        for _ in range(SCALINGS):
            left = (images.clean + noise).clamp(0, 1).sub_(images.clean)
            found = left.flatten(1).std(1, correction=0) if together else left.flatten(2).std(2, correction=0)
            noise = noise * (wanted / found.clamp(min=1e-6)).view(len(noise), -1, 1, 1)
        return noise


@dataclass(frozen=True, eq=False)
class RealPair(NoiseModel):
    """The noise of the noisy images themselves, real or from somebody's files."""

    is_random = False

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Subtract the clean images from the noisy ones."""
        return needed(images.noisy) - images.clean


@dataclass(frozen=True, eq=False)
class Grouped(NoiseModel):
    """A model for each group of images, told by `_groups`."""

    models: Mapping[Any, NoiseModel]

    @property
    def margin(self) -> int:
        """Return the largest of the models' margins."""
        return max(model.margin for model in self.models.values())

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Make the noise of each image by the model of its group."""
        return noise_by_group(self.models, self._groups(images), images, white)

    def _groups(self, images: Images) -> Sequence[Hashable]:
        raise NotImplementedError


class PerCamera(Grouped):
    """A model for each camera."""

    def _groups(self, images: Images) -> Sequence[Hashable]:
        return images.cameras


class PerIso(Grouped):
    """A model for each ISO; an image gets the noise of the nearest one."""

    def _groups(self, images: Images) -> Sequence[Hashable]:
        return [nearest_iso(self.models, iso) for iso in images.isos]


def noisy_image(
    model: NoiseModel, clean: np.ndarray, seed: int, key: str, device: torch.device | None = None
) -> np.ndarray:
    """Put a model's noise on an image: (H, W, C) uint8, clipped and rounded, or float in [0, 1], clipped -> the same.

    The white noise follows from (seed, key) alone; `key` is any text, such as the file's name. device: where the noise
    is made; None: on the CPU, or where the model's networks are.
    """
    images = Images(torch.from_numpy(np.array(clean)).permute(2, 0, 1)[None].to(device or "cpu"))
    height, width, channels = clean.shape
    noisy = model.noisy(images, model.white_noise(height, width, seed, key, channels).to(device or "cpu"))
    return noisy[0].permute(1, 2, 0).contiguous().cpu().numpy()


def noise_by_group(models: Mapping[Key, NoiseModel], groups: Sequence[Key], images: Images, white: Tensor) -> Tensor:
    """Make the noise of a batch in which each image has its own key of `models`; images of one key go together."""
    noise = torch.empty_like(images.clean)
    for key in dict.fromkeys(groups):
        rows = [row for row, group in enumerate(groups) if group == key]
        height, width = (side + models[key].margin for side in images.clean.shape[-2:])
        noise[rows] = needed(models[key].noise(images.rows(rows), white[rows][..., :height, :width]))
    return noise
