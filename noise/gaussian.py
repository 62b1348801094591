"""Gaussian noise models: white, heteroscedastic and coloured."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.blocks import exact_convolutions
from noise.interface import Images, NoiseModel, Strength
from noise.statistics import filter_noise


@dataclass(frozen=True, eq=False)
class Gaussian(NoiseModel):
    """Additive white Gaussian noise (AWGN) of mean 0; the strength is the standard deviation."""

    std: Strength

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Scale the white noise."""
        return self.std(images).to(white)[:, None, None, None] * white


@dataclass(frozen=True, eq=False)
class Heteroscedastic(NoiseModel):
    """White Gaussian noise that follows the clean intensity: the measured noise level function of each channel.

    mean, std: (C, 256) in [0, 1] units, for the channel's own 8-bit level round(255 clean).
    """

    mean: Tensor
    std: Tensor

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Give the white noise the moments of the clean levels."""
        return _modulate(white, self.mean, self.std, images.clean)


@dataclass(frozen=True, eq=False)
class Coloured(NoiseModel):
    """Heteroscedastic noise of stationary in place of white noise: Gaussian, of variance 1, with measured correlations.

    mean, std: (C, 256) as for `Heteroscedastic`; kernel: (C, C, K, K), K odd, from
    `noise.statistics.colouring_kernel`.
    """

    mean: Tensor
    std: Tensor
    kernel: Tensor

    @property
    def margin(self) -> int:
        """Return how far the kernel reaches beyond the borders, which are thus like the middle."""
        return self.kernel.shape[-1] - 1

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Filter the white noise, then give it the moments of the clean levels."""
        with exact_convolutions():
            field = filter_noise(white, self.kernel.to(white))
        return _modulate(field, self.mean, self.std, images.clean)


@dataclass(frozen=True, eq=False)
class ColouredByPhase(NoiseModel):
    """As `Coloured`, but the covariance depends on the position in the 2x2 mosaic, as demosaicking makes it.

    mean, std: (C, 256) as for `Heteroscedastic`; kernel: (4 C, 4 C, K, K), K odd, between the planes of
    `pixel_unshuffle`; the mean of a channel's four variances is 1.
    """

    mean: Tensor
    std: Tensor
    kernel: Tensor

    @property
    def margin(self) -> int:
        """Return the kernel's reach, and a cell for images that begin or end within one."""
        return 2 * self.kernel.shape[-1]

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Filter the white noise cell by cell, then give it the moments of the clean levels."""
        return _modulate(phase_field(self.kernel, images, white), self.mean, self.std, images.clean)


def phase_field(kernel: Tensor, images: Images, white: Tensor) -> Tensor:
    """Filter white noise cell by cell of the mosaic that the images begin in: -> (N, C, H, W), as `ColouredByPhase`."""
    height, width = images.clean.shape[-2:]
    even = white[..., : white.shape[-2] // 2 * 2, : white.shape[-1] // 2 * 2]
    with exact_convolutions():
        field = filter_noise(even, kernel.to(white))
    origins = images.origins or [(0, 0)] * len(field)
    return torch.stack([one[:, y : y + height, x : x + width] for one, (y, x) in zip(field, origins)])


def _modulate(field: Tensor, mean: Tensor, std: Tensor, clean: Tensor) -> Tensor:
    """Give noise of variance 1 the mean and standard deviation of the clean level: (N, C, H, W) -> (N, C, H, W)."""
    level = (255 * clean.float()).round().clamp(0, 255).long()
    channel = torch.arange(len(mean), device=clean.device)[:, None, None]
    return mean.to(clean)[channel, level] + std.to(clean)[channel, level] * field
