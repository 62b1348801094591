"""A camera's noise: a noise model whose strength comes from an ISO, from a noisy image, or is given in numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from inference.generator import NoiseGenerator
from inference.image_batch import NOISY_RANGE, ImageBatch, image_keys
from noise.copula import Copula, CopulaFit
from noise.gains import GainBank, bank_path, gain_or_fail, read_bank, rounded_gain
from noise.gaussian import Gaussian
from noise.interface import Images, NecaS, NecaW, NoiseModel, Strength, TimesStd, estimated_gain, needed
from noise.pipeline import Pipeline
from noise.strengths import (
    Constant,
    Drawn,
    Estimator,
    Generator,
    Measured,
    Number,
    OneOf,
    Over,
    draws_of,
    nearest_iso,
    noise_std,
)

ALIGNED = 128  # pixels a side; training patches are smaller


class AbsentError(ValueError):
    """Something that a model needs is not there. What is there and damaged raises a plain ValueError."""


@dataclass(frozen=True, eq=False)
class CameraNoise:
    """A noise model whose strength, some numbers, comes from an ISO, from an image or as given.

    channels: of its images, None: any. files: that it was read from. fingerprint: of what it depends on. unit: what
    its numbers are. sources: where they can come from: "iso", "pair" (of a noisy and a clean image), "noisy" (a noisy
    image alone), "times" (a multiple of others).
    """

    channels: int | None = None
    files: Mapping[str, Path] = field(default_factory=dict, kw_only=True)
    fingerprint: str = field(default="", kw_only=True)

    unit = ""
    sources: ClassVar[frozenset[str]] = frozenset()

    @property
    def isos(self) -> Sequence[int]:
        """List the ISOs that it was measured at; none: it does not come from an ISO."""
        return ()

    @property
    def folder(self) -> Path:
        """Return the folder of its files."""
        return next(iter(self.files.values()), Path()).parent

    def model(self, strength: Strength) -> NoiseModel:
        """Build the noise model with a strength."""
        raise NotImplementedError

    def of_iso(self, iso: int | None = None) -> Strength:
        """Take the strength of an ISO; None: of each image's ISO, else of one that it was measured at."""
        raise ValueError(f"its strength, {self.unit}, does not come from an ISO")

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Measure the strength of noisy images: (N, C, H, W) in [0, 1] -> (N,) or (N, k); clean: None if not known."""
        raise ValueError(f"its strength, {self.unit}, does not come from noisy images")

    def measure(self, noisy: np.ndarray, clean: np.ndarray | None, name: Any) -> Number:
        """Measure the strength of one image, (H, W, C) uint8 or float in [0, 1]: to six digits, as files name it.

        Raises ValueError that names the image.
        """
        try:
            found = self.estimate(_as_tensor(noisy), None if clean is None else _as_tensor(clean))
            return rounded(found[0].tolist())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def _estimate_of_any(self, noisy: Tensor, clean: Tensor) -> Tensor:
        return self.estimate(noisy, clean if clean.shape == noisy.shape else None)

    def times(self, numbers: Tensor, factor: float) -> Tensor:
        """Return the numbers of noise whose standard deviation is that of `numbers` times a factor."""
        return numbers * factor

    @torch.no_grad()
    def synthesize(
        self,
        clean: Any,
        iso: int | None = None,
        *,
        strength: Any = None,
        noisy: Any = None,
        times: float = 1.0,
        seed: int = 0,
        key: str | Sequence[str] = "",
        origin: tuple[int, int] = (0, 0),
    ) -> Any:
        """Put the camera's noise on clean images of any size, clipped.

        clean: an (H, W, C) array or a (C, H, W) or (N, C, H, W) tensor, uint8 or float in [0, 1]; the answer is of the
        same kind, rounded for uint8. At most one of: iso; strength, the numbers themselves; noisy, a real noisy image
        or a batch, whose strength is measured, as the pair of the clean one where their sizes agree, else alone.
        times: a factor of the noise. (seed, key) determine all random numbers, key as in `NoiseGenerator.synthesize`.
        origin: of the images' first pixel in the 2x2 mosaic. Raises ValueError that says what was expected.
        """
        images = ImageBatch(clean, self.channels or _channels_of(clean))
        count, channels, height, width = images.pixels.shape
        if sum(one is not None for one in (iso, strength, noisy)) > 1:
            raise ValueError("expected at most one of iso, strength and noisy")
        if strength is not None:
            chosen: Strength = Constant(strength)
        else:
            chosen = self.of_iso() if noisy is None else Measured(self._estimate_of_any)
        real = None if noisy is None else in_unit(ImageBatch(noisy, channels, "noisy", NOISY_RANGE).pixels)
        out = torch.empty_like(images.pixels)
        for row, (pixels, name) in enumerate(zip(images.pixels, image_keys(key, count))):
            own = None if real is None else real[min(row, len(real) - 1)][None]
            one = Images(pixels[None], isos=[] if iso is None else [iso], noisy=own, origins=[origin])
            numbers = drawn(chosen, one, seed, name).numbers[0]
            model = self.model(Constant(self.times(numbers, times).tolist()))
            white = model.white_noise(height, width, seed, name, channels).to(pixels.device)
            out[row] = model.noisy(one, white)[0]
        return images.like_given(out)


def drawn(strength: Strength, image: Images, seed: int, key: str) -> Drawn:
    """Choose the strength of one image by (seed, key)."""
    return strength.draw(replace(image, clean=in_unit(image.clean), uniform=[Random(f"{seed} strength {key}")]))


def rounded(number: Number) -> Number:
    """Keep six digits of numbers, so that files which name them are exact and the same on every device."""
    return [rounded_gain(one) for one in number] if isinstance(number, Sequence) else rounded_gain(number)


def _as_tensor(image: np.ndarray) -> Tensor:
    return in_unit(torch.from_numpy(np.array(image)).permute(2, 0, 1)[None])


def in_unit(images: Tensor) -> Tensor:
    """Bring images of uint8 to [0, 1]."""
    return images.float().div(255) if images.dtype == torch.uint8 else images


def _channels_of(clean: Any) -> int:
    """Return the number of channels of clean images: the last axis of an array, the axis before height of a tensor."""
    shape = tuple(getattr(clean, "shape", ()))
    if len(shape) < 3:
        raise ValueError(f"clean has the shape {shape}, expected (H, W, C), (C, H, W) or (N, C, H, W)")
    return shape[-3] if isinstance(clean, Tensor) else shape[-1]


@dataclass(frozen=True, eq=False)
class OfIso(Strength):
    """The numbers of a camera's noise at an ISO; None: at each image's, else at one of those that it was measured at.

    Images without random numbers get usual ones.
    """

    noise: "MeasuredByIso"
    iso: int | None = None

    def draw(self, images: Images) -> Drawn:
        """Choose numbers for each image."""
        draws = [None] * len(images.clean) if images.uniform is None else draws_of(images)
        isos, numbers = self.noise.isos or (0,), []
        for row, draw in enumerate(draws):
            if self.iso is not None or images.isos:
                iso = images.isos[row] if self.iso is None else self.iso
            else:
                iso = draw.choice(isos) if draw else isos[len(isos) // 2]
            light = images.illuminants[row] if images.illuminants else 0
            numbers.append(self.noise.numbers(iso, draw, light).double())
        return Drawn(torch.stack(numbers), [""] * len(numbers))


class MeasuredByIso(CameraNoise):
    """Noise that was measured at some ISOs."""

    def of_iso(self, iso: int | None = None) -> Strength:
        """Take the numbers of the ISO."""
        return OfIso(self, iso)

    def numbers(self, iso: int, draw: Generator | None, illuminant: int = 0) -> Tensor:
        """Return the numbers of an ISO, (k,): usual ones, or those of a training image."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class CopulaNoise(MeasuredByIso):
    """A camera's copula."""

    fit: CopulaFit = field(kw_only=True)

    unit = "standard deviation of each channel on mid-grey, in grey levels"
    sources = frozenset({"iso", "pair", "noisy", "times"})

    def model(self, strength: Strength) -> NoiseModel:
        """Build the copula."""
        return Copula(self.fit, strength)

    @property
    def isos(self) -> Sequence[int]:
        """List the ISOs that it was fitted to."""
        return self.fit.isos

    def numbers(self, iso: int, draw: Generator | None, illuminant: int = 0) -> Tensor:
        """Return the usual numbers of the ISO, or those times the channels' gains of one of its training images."""
        usual = self.fit.numbers(iso)
        return usual if draw is None else usual * draw.choice(list(self.fit.gains[nearest_iso(self.fit.gains, iso)]))

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Measure each channel."""
        return self.fit.estimate(noisy, clean)


@dataclass(frozen=True, eq=False)
class PipelineNoise(MeasuredByIso):
    """A camera's rendering and raw noise."""

    pipeline: Pipeline = field(kw_only=True)

    unit = "shot and read noise of red, green and blue, and the factors of the light's red and blue"
    sources = frozenset({"iso", "pair", "noisy", "times"})

    @property
    def isos(self) -> Sequence[int]:
        """List the ISOs that it was fitted to."""
        return self.pipeline.isos

    def numbers(self, iso: int, draw: Generator | None, illuminant: int = 0) -> Tensor:
        """Return the numbers of the ISO: usual ones, or those of a training scene's light: (8,)."""
        share = None if draw is None else draw.random()
        numbers, balance = self.pipeline.numbers(iso, share), self.pipeline.balance(illuminant, share)
        return torch.cat([numbers.flatten(), balance.flatten()])

    def model(self, strength: Strength) -> NoiseModel:
        """Build the model that renders raw noise."""
        return RenderedNoise(self.pipeline, strength)

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Look at each image: (N, 3, H, W) -> (N, 8)."""
        from noise.pipeline_fit import look_at  # here, for noise by the ISO needs none of what fits use

        cleans = [None] * len(noisy) if clean is None else list(clean.cpu())
        seen = [look_at(self.pipeline, *pair) for pair in zip(noisy.cpu(), cleans)]
        return torch.stack([torch.cat([one.numbers.flatten(), one.balance.flatten()]) for one in seen]).double()

    def times(self, numbers: Tensor, factor: float) -> Tensor:
        """Multiply the variances, not the light."""
        return torch.cat([numbers[..., :6] * factor**2, numbers[..., 6:]], -1)


@dataclass(frozen=True, eq=False)
class RenderedNoise(NoiseModel):
    """Raw noise through a camera's rendering; the strength is that of `PipelineNoise`, (N, 8).

    Crops may begin anywhere in the mosaic: from `ALIGNED` pixels a side the real noisy images, where they are known,
    tell where.
    """

    pipeline: Pipeline
    strength: Strength

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Subtract the clean images from the rendered ones."""
        numbers = self.strength(images).to(white)
        rendering = self.pipeline.rendering
        phases = [rendering.phase(origin) for origin in images.origins] or None
        if images.noisy is not None and min(images.clean.shape[-2:]) >= ALIGNED:
            phases = [rendering.find_phase(noisy[None]) for noisy in images.noisy.float()]
        fake = self.pipeline.synthesize(
            images.clean, numbers[:, :6].view(-1, 3, 2), white[:, :1], phases, numbers[:, 6:]
        )
        return fake - images.clean


class OfBank(OneOf):
    """One of the gains of a bank: of the ISO nearest to each image's, of any where that is not known."""

    def __init__(self, bank: GainBank):
        super().__init__(bank.of_iso(None))
        self.bank = bank

    def draw(self, images: Images) -> Drawn:
        """Choose one for each image."""
        if not images.isos:
            return super().draw(images)
        gains = [self.bank.gains[nearest_iso(self.bank.gains, iso)] for iso in images.isos]
        named = [one.choice(of_iso) for one, of_iso in zip(draws_of(images), gains)]
        return Drawn(torch.tensor([gain for _, gain in named], dtype=torch.float64), [name for name, _ in named])


@dataclass(frozen=True, eq=False)
class GainNoise(CameraNoise):
    """NeCA-W, whose gain comes from the bank beside its weights or from GENet."""

    generator: NoiseGenerator = field(kw_only=True)

    unit = "gain"
    sources = frozenset({"iso", "pair", "noisy", "times"})

    def model(self, strength: Strength) -> NoiseModel:
        """Build NeCA-W."""
        return NecaW(self.generator, strength)

    def of_iso(self, iso: int | None = None) -> Strength:
        """Take the gain of a training image of the ISO; None: of each image's, else of any."""
        bank = self._bank()
        return OfBank(bank) if iso is None else OneOf(bank.of_iso(iso))

    @property
    def isos(self) -> Sequence[int]:
        """List the ISOs of the bank."""
        return tuple(self._bank().gains)

    def _bank(self) -> GainBank:
        return read_bank(bank_path(self.generator.folder))

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Let GENet estimate the gains."""
        return estimated_gain(self.generator).estimate(noisy, noisy)

    def measure(self, noisy: np.ndarray, clean: np.ndarray | None, name: Any) -> Number:
        """Let GENet estimate the gain; one out of [0, 1] is of another camera's image, and refused."""
        return gain_or_fail(self.generator, noisy, name)


@dataclass(frozen=True, eq=False)
class LevelNoise(CameraNoise):
    """NeCA-S, whose noise level is given, or the standard deviation of real noise."""

    generator: NoiseGenerator = field(kw_only=True)
    per_unit: float = field(default=1.0, kw_only=True)  # numbers of it that make 1, as images have it

    unit = "noise level"
    sources = frozenset({"pair", "times"})

    def model(self, strength: Strength) -> NoiseModel:
        """Build NeCA-S."""
        return NecaS(self.generator, strength if self.per_unit == 1 else Over(strength, self.per_unit))

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Measure the standard deviation of the noise."""
        return super().estimate(noisy) if clean is None else self.per_unit * noise_std(noisy, clean)


@dataclass(frozen=True, eq=False)
class GivenNoise(MeasuredByIso):
    """A noise model as it is, by ISO if it has ISOs; its numbers are the ISO, 0 without any, and a factor."""

    base: NoiseModel = field(kw_only=True)
    isos: Sequence[int] = field(default=(), kw_only=True)  # none: it does not depend on the ISO

    unit = "ISO and factor"
    sources = frozenset({"iso", "times"})

    def model(self, strength: Strength) -> NoiseModel:
        """Build the model of the ISO, times the factor."""
        return Multiplied(self.base, strength)

    def numbers(self, iso: int, draw: Generator | None, illuminant: int = 0) -> Tensor:
        """Return the ISO, and the factor 1."""
        return torch.tensor([iso, 1.0], dtype=torch.float64)

    def times(self, numbers: Tensor, factor: float) -> Tensor:
        """Multiply the factor alone."""
        return numbers * torch.tensor([1.0, factor], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Multiplied(NoiseModel):
    """Another model's noise of an ISO, times a factor; the strength is both, (N, 2)."""

    base: NoiseModel
    strength: Strength

    @property
    def margin(self) -> int:
        """Return the model's margin."""
        return self.base.margin

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Make the noise of the ISOs and multiply it."""
        isos, factor = self.strength(images).unbind(1)
        noise = needed(self.base.noise(replace(images, isos=[round(iso) for iso in isos.tolist()]), white))
        return noise if bool((factor == 1).all()) else factor.to(noise)[:, None, None, None] * noise


@dataclass(frozen=True, eq=False)
class ScaledNoise(CameraNoise):
    """A noise model that is scaled to a standard deviation, of all channels or of each."""

    base: NoiseModel = field(kw_only=True)
    std_of: Estimator = field(kw_only=True)

    unit = "standard deviation"
    sources = frozenset({"pair", "times"})

    def model(self, strength: Strength) -> NoiseModel:
        """Build the scaled model."""
        return TimesStd(self.base, strength)

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Measure the standard deviation of the noise."""
        return super().estimate(noisy) if clean is None else self.std_of(noisy, clean)


@dataclass(frozen=True, eq=False)
class WhiteNoise(CameraNoise):
    """White Gaussian noise of a standard deviation, in [0, 1] units."""

    unit = "standard deviation"
    sources = frozenset({"pair", "times"})

    def model(self, strength: Strength) -> NoiseModel:
        """Build the white noise."""
        return Gaussian(strength)

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Measure the standard deviation of the noise."""
        return super().estimate(noisy) if clean is None else noise_std(noisy, clean)
