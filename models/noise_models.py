"""Noise models without a network, which any learned one must beat: white, signal-dependent, and correlated Gaussian.

All have one method, `noise(clean, generator)`: clean (N, 3, H, W) in [0, 1] -> noise of that shape, device and dtype in
[0, 1] units, not clipped. Random numbers are drawn on the CPU, so that every device gets the same noise.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.blocks import exact_convolutions

LEVELS = 256  # 8-bit values of a channel
THRESHOLDS = torch.arange(LEVELS - 1, dtype=torch.float64) + 0.5  # where rounding goes on to the next value
ROUNDS = 150  # of the fixed point


class Baseline:
    """A noise model that is a function of the clean image and of white noise, N(0, 1).

    margin: rows and columns of white noise that it wants beyond the image's.
    """

    margin = 0

    def noise(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the noise of a clean image: (N, 3, H, W) -> (N, 3, H, W)."""
        number, channels, height, width = clean.shape
        white = torch.randn(number, channels, height + self.margin, width + self.margin, generator=generator)
        return self.noise_from(white.to(clean), clean)

    def noise_from(self, white: Tensor, clean: Tensor) -> Tensor:
        """Make noise of white noise: (N, 3, H + margin, W + margin), (N, 3, H, W) -> (N, 3, H, W)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Gaussian(Baseline):
    """Additive white Gaussian noise (AWGN) of standard deviation `std`, in [0, 1] units, and mean 0.

    std: a number, or one for each image of a batch, (N, 1, 1, 1).
    """

    std: float | Tensor

    def noise_from(self, white: Tensor, clean: Tensor) -> Tensor:
        return self.std * white


@dataclass(frozen=True)
class Heteroscedastic(Baseline):
    """White Gaussian noise that follows the clean intensity: the measured noise level function of each channel.

    mean, std: (3, 256) in [0, 1] units, for the channel's own 8-bit level round(255 clean).
    """

    mean: Tensor
    std: Tensor

    def noise_from(self, white: Tensor, clean: Tensor) -> Tensor:
        return _modulate(white, self.mean, self.std, clean)


@dataclass(frozen=True)
class Coloured(Baseline):
    """The same with stationary noise in place of the white: Gaussian, of variance 1, with measured correlations.

    mean, std: (3, 256) as for `Heteroscedastic`; kernel: (3, 3, K, K) from `colouring_kernel`, K odd.
    """

    mean: Tensor
    std: Tensor
    kernel: Tensor

    @property
    def margin(self) -> int:
        return self.kernel.shape[-1] - 1  # beyond the borders, which are thus like the middle

    def noise_from(self, white: Tensor, clean: Tensor) -> Tensor:
        with exact_convolutions():
            field = F.conv2d(white, self.kernel.to(clean))
        return _modulate(field, self.mean, self.std, clean)


def _modulate(field: Tensor, mean: Tensor, std: Tensor, clean: Tensor) -> Tensor:
    """Give noise of variance 1 the mean and standard deviation of the clean level: (N, 3, H, W) -> (N, 3, H, W)."""
    level = (255 * clean.float()).round().clamp(0, LEVELS - 1).long()
    channel = torch.arange(3, device=clean.device).view(3, 1, 1)
    return mean.to(clean)[channel, level] + std.to(clean)[channel, level] * field


def colouring_kernel(covariance: Tensor, size: int) -> Tensor:
    """Find a filter that gives white noise these correlations: (3, 3, 2L+1, 2L+1) -> (3, 3, size, size) for `conv2d`.

    covariance[i, j, L + dy, L + dx] = E[c_i(y, x) c_j(y + dy, x + dx)], taken as 0 beyond lag L. Its Fourier transform
    is the cross-spectral density S, and any K with K K^H = S is the response of such a filter. Taken is S^(1/2): of all
    of them nearest to the identity, so its taps gather about the middle (Desolneux, Moisan, Ronsin 2012, "A compact
    representation of random phase and Gaussian textures"). Negative eigenvalues, which errors of measurement and the
    end at lag L bring, are set to 0. Cutting to `size` changes correlations by at most about 2e where the lost taps
    hold a share e^2 of the energy; last, each channel is rescaled to variance 1. Raises ValueError for an even size
    and for a channel without variance.
    """
    lag = covariance.shape[-1] // 2
    if size % 2 == 0:
        raise ValueError(f"a colouring kernel of {size}x{size}, expected an odd size")
    if not (torch.einsum("ii...->i...", covariance)[:, lag, lag] > 0).all():
        raise ValueError("a channel of the covariance has variance 0, expected noise in all of them")
    grid = 4 * max(size, 2 * lag + 1)  # so wide that the root's tails, wrapped around, do not matter
    padded = F.pad(covariance.double(), (0, grid - 2 * lag - 1, 0, grid - 2 * lag - 1))
    spectrum = torch.fft.fft2(padded.roll((-lag, -lag), (2, 3))).permute(2, 3, 0, 1)  # (grid, grid, 3, 3)
    power, basis = torch.linalg.eigh((spectrum + spectrum.mH) / 2)
    root = (basis * power.clamp(min=0).sqrt()[..., None, :]) @ basis.mH
    taps = torch.fft.ifft2(root.permute(2, 3, 0, 1)).real.roll((size // 2, size // 2), (2, 3))[..., :size, :size]
    return (taps / taps.square().sum((1, 2, 3), keepdim=True).sqrt()).float()


def clipped_moments(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What clipping and rounding to 8 bit leave of Gaussian noise on each clean level: (..., 256), (..., 256) -> same.

    Grey levels, float64. -> mean and standard deviation of round(clip(level + noise, 0, 255)) - level, and its
    correlation with the noise before (below 1; 0 where nothing varies). The 8-bit value y is the number of thresholds
    that are passed, so E[y] = sum P(k), E[y^2] = sum (2k + 1) P(k), and dE[y]/dmean gives the covariance (Stein).
    """
    centre = torch.arange(LEVELS, dtype=torch.float64) + mean
    score = (centre[..., None] - THRESHOLDS) / std.clamp(min=1e-6)[..., None]  # (..., 256, 255)
    passed = torch.special.ndtr(score)
    first, second = passed.sum(-1), (passed * (2 * THRESHOLDS)).sum(-1)
    clipped_std = (second - first.square()).clamp(min=0).sqrt()
    covariance = torch.exp(-score.square() / 2).sum(-1) / (2 * torch.pi) ** 0.5  # with noise / std
    linear = torch.where(clipped_std > 1e-3, covariance / clipped_std.clamp(min=1e-3), 0.0)
    return first - torch.arange(LEVELS), clipped_std, linear.clamp(max=1)


def before_clipping(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Undo `clipped_moments`: measured mean and std per level -> those of Gaussian noise not yet clipped nor rounded.

    (..., 256), (..., 256) in grey levels, float64 -> same. Fixed-point iteration, damped because mean and std depend on
    each other where most is clipped. Neither goes farther from the measured mean than four times the measured std:
    moments that no clipped Gaussian has (rare bright noise on black) are only come close to.
    """
    farthest = 4 * std
    new_mean, new_std = mean.clone(), std.clone()
    for _ in range(ROUNDS):
        found_mean, found_std, linear = clipped_moments(new_mean, new_std)
        slope = (linear * found_std / new_std.clamp(min=1e-6)).clamp(0.03, 1)  # dE[y]/dmean
        new_mean = new_mean + (mean - found_mean) / (2 * slope)
        new_mean = new_mean.maximum(mean - farthest).minimum(mean + farthest)
        new_std = (new_std * (std / found_std.clamp(min=1e-6)).clamp(0.5, 2) ** 0.25).minimum(farthest)
    return new_mean, new_std
