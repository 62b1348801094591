"""Where a denoiser's training samples have their noise from: the pair, or a model of the noise of its camera."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.sidd import Scene
from models.generator import NoiseGenerator
from models.noise_models import Baseline, Gaussian
from synthesis.fitting import Baselines, nearest_iso


class Patches(NamedTuple):
    """Samples of a batch that get their noise together."""

    clean: Tensor  # (N, 3, P, P) uint8
    noisy: Tensor  # (N, 3, P, P) uint8, of the pair
    white: Tensor  # (N, 3, P + margin, P + margin), N(0, 1)
    strength: np.ndarray  # (N,) in [0, 1): which of the source's strengths
    scenes: list[Scene]


class NoiseSource:
    """Makes noisy patches, clipped and rounded to 8 bit as files are."""

    margin: int | None = 0  # rows and columns of white noise that it wants beyond a patch's; None: no white noise

    def group(self, scene: Scene) -> Hashable:
        """Samples of scenes of one group get their noise together."""
        return None

    def noisy(self, patches: Patches) -> Tensor:
        """Make noisy patches of one group: -> (N, 3, P, P) uint8."""
        raise NotImplementedError


class OfPair(NoiseSource):
    """The noisy half of the pair: real noise, or that of somebody's files."""

    margin = None

    def noisy(self, patches: Patches) -> Tensor:
        return patches.noisy


@dataclass(frozen=True)
class NecaW(NoiseSource):
    """Each camera's generator on that camera's clean patches (the paper's protocol).

    The gain is GENet's of the pair's noisy patch; with `banks`, {camera: {ISO: gains}}, one of the training images of
    the ISO, or of the nearest there is.
    """

    generators: dict[str, NoiseGenerator]
    banks: dict[str, dict[int, np.ndarray]] | None = None

    def group(self, scene: Scene) -> str:
        return scene.camera

    def noisy(self, patches: Patches) -> Tensor:
        generator = self.generators[patches.scenes[0].camera]
        if self.banks is None:
            # Of a patch that GENet has seen nothing like its gain may be below 0: no reason to end a training.
            gains = np.clip(generator.estimate_gain(patches.noisy), 0, 1)
        else:
            gains = [self._banked(scene, rank) for scene, rank in zip(patches.scenes, patches.strength)]
        return generator.synthesize(patches.clean, torch.as_tensor(gains), z=_cut(patches.white, patches.clean, 0))

    def _banked(self, scene: Scene, rank: float) -> float:
        bank = self.banks[scene.camera]
        gains = bank[nearest_iso(bank, scene.iso)]
        return gains[int(rank * len(gains))]


@dataclass(frozen=True)
class NecaS(NoiseSource):
    """Each camera's NCNet on white noise of a level in grey levels: levels(scene, strength in [0, 1))."""

    generators: dict[str, NoiseGenerator]
    levels: Callable[[Scene, float], float]

    def group(self, scene: Scene) -> str:
        return scene.camera

    def noisy(self, patches: Patches) -> Tensor:
        levels = [self.levels(scene, rank) for scene, rank in zip(patches.scenes, patches.strength)]
        generator = self.generators[patches.scenes[0].camera]
        return generator.synthesize(patches.clean, noise_level=levels, z=_cut(patches.white, patches.clean, 0))


@dataclass(frozen=True)
class Fitted(NoiseSource):
    """A Gaussian model fitted to each camera's training images of each ISO: `name` is a field of `Baselines`."""

    name: str
    fitted: dict[str, dict[int, Baselines]]

    @property
    def margin(self) -> int:
        return max(getattr(of_iso, self.name).margin for of in self.fitted.values() for of_iso in of.values())

    def group(self, scene: Scene) -> tuple[str, int]:
        return scene.camera, nearest_iso(self.fitted[scene.camera], scene.iso)

    def noisy(self, patches: Patches) -> Tensor:
        camera, iso = self.group(patches.scenes[0])
        return _with_noise(getattr(self.fitted[camera][iso], self.name), patches)


@dataclass(frozen=True)
class WhiteOfRange(NoiseSource):
    """White Gaussian noise with a standard deviation drawn evenly from an interval, in grey levels."""

    low: float
    high: float

    def noisy(self, patches: Patches) -> Tensor:
        std = torch.from_numpy(self.low + (self.high - self.low) * patches.strength) / 255
        return _with_noise(Gaussian(std.to(patches.white)[:, None, None, None]), patches)


def _with_noise(model: Baseline, patches: Patches) -> Tensor:
    clean = patches.clean.to(patches.white) / 255
    noise = model.noise_from(_cut(patches.white, clean, model.margin), clean)
    return (clean + noise).clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _cut(white: Tensor, images: Tensor, margin: int) -> Tensor:
    return white[..., : images.shape[-2] + margin, : images.shape[-1] + margin]
