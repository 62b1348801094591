"""Noise with the measured distribution of each level and the measured covariance: a Gaussian copula.

For cameras whose rendering cannot be identified: in-camera JPEGs, denoised or resized images. Gaussian noise with the
covariance by position in the 2x2 mosaic is mapped, value by value, to the distribution of its channel and clean level.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from noise.gaussian import phase_field
from noise.interface import Images, NoiseModel, Strength
from noise.pipeline import FORMAT, VERSION  # of all fits
from utils.checkpoints import load_checkpoint, save_checkpoint

# Clean 8-bit levels that have a distribution of their own, dense near black, where clipping and shot noise change most.
LEVELS = tuple(round(255 * (k / 19) ** 2) for k in range(20))
# Values of the Gaussian noise, in standard deviations, whose images under the mapping are stored.
SCORES = tuple(k / 4 for k in range(-16, 17))
KIND = "copula"
ROUNDS = 12  # of the fixed points that find a factor
STRONGEST = 50.0  # a factor beyond any camera's
MID_GREY = 13  # number of the level that says how strong noise is: 119
LOOKED_AT = 1024  # pixels a side of a noisy image whose clean one is not known
BAND = 2**20  # pixels that are filtered and mapped at a time
SMOOTH = 9  # pixels a side of the mean that stands for an unknown clean image
FLAT = 0.5  # share of the pixels that counts where the clean image is not known: those of the least gradient


@dataclass(frozen=True, eq=False)
class CopulaFit:
    """Copulas of a camera by ISO, with one kernel.

    kernel: as for `noise.gaussian.ColouredByPhase`. tables: (C, len(LEVELS), len(SCORES)) for each ISO, in [0, 1]
    units: the noise before clipping by channel, clean level and value of the Gaussian noise; linear between levels and
    between values. gains: (images, C) for each ISO: the channels' noise in training images, over that of the table;
    their geometric mean is 1.

    Its numbers, which say how strong noise is, are the standard deviation of each channel's noise on mid-grey, in grey
    levels. The table is that of the ISO with the nearest ones, scaled channel by channel.
    """

    kernel: Tensor
    tables: Mapping[int, Tensor]
    gains: Mapping[int, Tensor] = field(default_factory=dict)
    camera: str = ""

    @property
    def isos(self) -> list[int]:
        """List the ISOs, the lowest first."""
        return sorted(self.tables)

    @property
    def channels(self) -> int:
        """Return the number of the images' channels."""
        return len(self.kernel) // 4

    @cached_property
    def usual(self) -> Tensor:
        """Return the numbers of the tables: (ISOs, C) float64."""
        scores, weights = _quadrature(phase_variances(self.kernel))
        grey = torch.stack([_at_scores(self.tables[iso][:, MID_GREY], scores) for iso in self.isos])
        mean = (weights * grey).sum(-1, keepdim=True)
        return 255 * (weights * (grey - mean).square()).sum(-1).sqrt()

    def numbers(self, iso: int) -> Tensor:
        """Return the usual numbers of an ISO, (C,): between ISOs by a power law; beyond by that of shot noise."""
        known = torch.tensor(self.isos, dtype=torch.float64).log()
        wanted = math.log(max(iso, 1))
        inside = min(max(wanted, known[0].item()), known[-1].item())
        high = min(int(torch.searchsorted(known, torch.tensor(inside, dtype=known.dtype))), len(known) - 1)
        low = max(high - 1, 0)
        share = (inside - known[low]) / (known[high] - known[low]) if high > low else 1.0
        between = torch.lerp(self.usual[low].log(), self.usual[high].log(), torch.as_tensor(share, dtype=known.dtype))
        return between.exp() * math.exp((wanted - inside) / 2)

    def nearest(self, numbers: Tensor) -> int:
        """Choose the ISO whose table needs the least scaling: (C,) -> ISO."""
        distance = (numbers.cpu().clamp_min(1e-3).log() - self.usual.log()).abs().mean(1)
        return self.isos[int(distance.argmin())]

    def noise(self, scores: Tensor, clean: Tensor, numbers: Tensor) -> Tensor:
        """Map Gaussian noise to an image's, before clipping: (C, H, W), (C, H, W), (C,) -> (C, H, W)."""
        iso = self.nearest(numbers)
        factor = (numbers.cpu() / self.usual[self.isos.index(iso)]).to(scores)
        table = _by_level(self.tables[iso].to(scores))
        row = (255 * clean.float()).round().clamp(0, 255).long()
        row += 256 * torch.arange(len(table), device=clean.device)[:, None, None]
        low, share = _between_scores(scores)
        index, values = row * len(SCORES) + low, table.flatten()
        return factor[:, None, None] * torch.lerp(values[index], values[index + 1], share)

    def estimate(self, noisy: Tensor, clean: Tensor | None = None) -> Tensor:
        """Find the numbers of images, by channel: (N, C, H, W) in [0, 1] -> (N, C).

        From pairs: those whose noise has, once clipped, the std of the images'. From noisy images alone: those whose
        noise, put on the smoothed image, has its second differences where it is flat.
        """
        if clean is None:
            return torch.stack([self._blind(image) for image in noisy.float()])
        return torch.stack([self._paired(*pair) for pair in zip(noisy.float(), clean.float())])

    def _paired(self, noisy: Tensor, clean: Tensor) -> Tensor:
        levels = (255 * clean).round().long().flatten(1).cpu()
        wanted = (255 * (noisy - clean)).round().double().flatten(1).std(1, correction=0).cpu() / 255
        share = torch.stack([torch.bincount(channel, minlength=256) for channel in levels]).double()
        scores, weights = _quadrature(phase_variances(self.kernel))
        weights = (share / share.sum(1, keepdim=True))[..., None] * weights[:, None]
        grey = torch.arange(256, dtype=torch.float64)[:, None] / 255
        found = []
        for iso, usual in zip(self.isos, self.usual):
            noise, factor = _by_level(_at_scores(self.tables[iso], scores)), torch.ones(self.channels).double()
            for _ in range(ROUNDS):
                left = (grey + factor[:, None, None] * noise).clamp(0, 1) - grey
                mean, square = ((weights * power).sum((1, 2)) for power in (left, left.square()))
                std = (square - mean.square()).clamp_min(1e-12).sqrt()
                factor = (factor * wanted / std).clamp(0, STRONGEST)
            found.append(factor * usual)
        return self._least_scaled(found)

    def _blind(self, noisy: Tensor) -> Tensor:
        """Look at the middle of an image: (C, H, W) -> (C,)."""
        top, left = (max(side - LOOKED_AT, 0) // 4 * 2 for side in noisy.shape[1:])
        noisy = noisy[:, top : top + LOOKED_AT, left : left + LOOKED_AT]
        clean = F.avg_pool2d(F.pad(noisy[None], [SMOOTH // 2] * 4, mode="reflect"), SMOOTH, 1)
        flat, found = _flat_places(clean), []
        wanted = _roughness(noisy[None], flat)
        size = (side + 2 * self.kernel.shape[-1] for side in noisy.shape[1:])
        white = torch.randn(1, self.channels, *size, generator=torch.Generator().manual_seed(0)).to(noisy)
        scores = phase_field(self.kernel, Images(clean), white)[0]
        for usual in self.usual:
            made, factor = self.noise(scores, clean[0], usual), torch.ones(self.channels).double()
            for _ in range(ROUNDS // 2):
                fake = (clean + factor.to(made)[:, None, None] * made).clamp(0, 1)
                factor = (factor * wanted / _roughness(fake, flat).clamp_min(1e-6)).clamp(0, STRONGEST)
            found.append(factor * usual)
        return self._least_scaled(found)

    def _least_scaled(self, found: list[Tensor]) -> Tensor:
        """Choose among the numbers that the tables give, each of which is meant for those near its own."""
        distance = (torch.stack(found).clamp_min(1e-3) / self.usual).log().abs().mean(1)
        return found[int(distance.argmin())]

    def save(self, path: str | Path) -> None:
        """Write the fit as a .safetensors file, in half precision."""
        tensors = {"kernel": self.kernel}
        for iso in self.isos:
            tensors |= {f"table.{iso}": self.tables[iso], f"gains.{iso}": self.gains[iso]}
        head = {"format": FORMAT, "version": VERSION, "model": KIND, "camera": self.camera}
        save_checkpoint(path, head | {"model_state_dict": {name: value.half() for name, value in tensors.items()}})

    def digest(self) -> str:
        """Return the SHA-256 of the fit."""
        total = hashlib.sha256(self.kernel.numpy().tobytes())
        for iso in self.isos:
            total.update(f"{iso}".encode() + self.tables[iso].numpy().tobytes() + self.gains[iso].numpy().tobytes())
        return total.hexdigest()

    @classmethod
    def load(cls, path: str | Path) -> "CopulaFit":
        """Read a fit. Raise ValueError that names the file if it is damaged, or of another kind or version."""
        content = load_checkpoint(path)
        head = tuple(content.get(name) for name in ("format", "version", "model"))
        if head != (FORMAT, VERSION, KIND):
            raise ValueError(
                f"{path}: {head[0]} {head[2]}, version {head[1]}; expected {FORMAT} {KIND}, version {VERSION}"
            )
        damaged = ValueError(f"{path}: damaged; fit the camera again")
        tensors = {name: value.float() for name, value in content["model_state_dict"].items()}
        try:
            kernel = tensors.pop("kernel")
            tables, gains = (
                {int(name.split(".")[1]): value for name, value in tensors.items() if name.startswith(kind)}
                for kind in ("table.", "gains.")
            )
        except (KeyError, ValueError):
            raise damaged from None
        size = (len(kernel) // 4, len(LEVELS), len(SCORES))
        fits = kernel.ndim == 4 and kernel.shape[0] == kernel.shape[1] == 4 * size[0] and kernel.shape[-1] % 2 == 1
        fits = fits and bool(tables) and all(table.shape == size for table in tables.values())
        fits = fits and gains.keys() == tables.keys() and all(of.shape[1:] == size[:1] for of in gains.values())
        if not fits or not all(tensor.isfinite().all() for tensor in (kernel, *tensors.values())):
            raise damaged
        return cls(kernel, tables, gains, str(content.get("camera", "")))


@dataclass(frozen=True, eq=False)
class Copula(NoiseModel):
    """Gaussian noise with a covariance by position in the mosaic, mapped to measured distributions.

    strength: the fit's numbers, (N, C); None: those of each image's ISO.
    """

    fit: CopulaFit
    strength: Strength | None = None

    @property
    def margin(self) -> int:
        """Return the kernel's reach, and a cell for images that begin or end within one."""
        return 2 * self.fit.kernel.shape[-1]

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Filter the white noise cell by cell, and map it image by image, band by band: large images need memory."""
        numbers = self.strength(images) if self.strength else torch.stack([*map(self.fit.numbers, images.isos)])
        height, width = images.clean.shape[-2:]
        rows, noise = max(BAND // (width * len(white)) // 2 * 2, 2), torch.empty_like(images.clean)
        for top in range(0, height, rows):
            clean = images.clean[..., top : top + rows, :]
            part = white[..., top : top + clean.shape[-2] + self.margin, :]
            scores = phase_field(self.fit.kernel, replace(images, clean=clean), part)
            for row, each in enumerate(zip(scores, clean, numbers)):
                noise[row, :, top : top + rows] = self.fit.noise(*each)
        return noise


def phase_variances(kernel: Tensor) -> Tensor:
    """Return the variances that a kernel gives the positions of the mosaic: (4 C, 4 C, K, K) -> (C, 4) float64."""
    return kernel.double().square().sum((1, 2, 3)).view(-1, 4)


def share_below(scores: Tensor, variances: Tensor) -> Tensor:
    """Compute the share of Gaussian noise below some values, all positions together: (M,), (C, 4) -> (C, M)."""
    return torch.special.ndtr(scores / variances.sqrt()[..., None]).mean(1)


def _quadrature(variances: Tensor) -> tuple[Tensor, Tensor]:
    """Return values of the Gaussian noise and their probabilities by channel: (M,), (C, M)."""
    edges = torch.linspace(-5, 5, 101, dtype=torch.float64)
    weights = share_below(edges, variances).diff(dim=1)
    return (edges[1:] + edges[:-1]) / 2, weights / weights.sum(1, keepdim=True)


def between_levels() -> tuple[Tensor, Tensor]:
    """Return, for each 8-bit level, the number of the entry of `LEVELS` below it and the share of the next: (256,)."""
    knots, levels = torch.tensor(LEVELS), torch.arange(256)
    low = (torch.searchsorted(knots, levels, right=True) - 1).clamp(max=len(knots) - 2)
    return low, (levels - knots[low]) / (knots[low + 1] - knots[low])


def _by_level(table: Tensor) -> Tensor:
    """Interpolate a table to all levels: (C, len(LEVELS), M) -> (C, 256, M)."""
    low, share = between_levels()
    return torch.lerp(table[:, low], table[:, low + 1], share.to(table)[:, None])


def _between_scores(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of the entry of `SCORES` below some values, and the share of the next."""
    place = ((scores - SCORES[0]) / (SCORES[1] - SCORES[0])).clamp(0, len(SCORES) - 1 - 1e-3)
    low = place.floor()
    return low.long(), place - low


def _at_scores(table: Tensor, scores: Tensor) -> Tensor:
    """Interpolate a table at values of the Gaussian noise: (..., len(SCORES)), (M,) -> (..., M) float64."""
    low, share = _between_scores(scores)
    return torch.lerp(table.double()[..., low], table.double()[..., low + 1], share)


def _second_difference(image: Tensor) -> Tensor:
    """Take second differences in both directions: (1, C, H, W) -> (1, C, H - 2, W - 2)."""
    lines = image[..., 2:, :] - 2 * image[..., 1:-1, :] + image[..., :-2, :]
    return lines[..., 2:] - 2 * lines[..., 1:-1] + lines[..., :-2]


def _flat_places(smooth: Tensor) -> Tensor:
    """Choose the flatter half of an image: (1, C, H, W) -> (C, pixels) bool."""
    gradient = (smooth[..., 2:, 1:-1] - smooth[..., :-2, 1:-1]).abs()
    gradient += (smooth[..., 1:-1, 2:] - smooth[..., 1:-1, :-2]).abs()
    gradient = gradient[0].flatten(1)
    return gradient <= gradient.quantile(FLAT, dim=1, keepdim=True)


def _roughness(image: Tensor, flat: Tensor) -> Tensor:
    """Measure the RMS of second differences in chosen places: (1, C, H, W), (C, pixels) -> (C,) float64."""
    squares = _second_difference(image)[0].flatten(1).double().square()
    return ((squares * flat).sum(1) / flat.sum(1)).sqrt().cpu()
