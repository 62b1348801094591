"""Noise synthesis: clean image and white noise in, fake noisy image and everything on the way out."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.network_ncnet import UNET_STRIDE
from models.network_npnet import NoiseMaps

Network = Callable[..., Tensor]


class Synthesis(NamedTuple):
    """Noise that NeCA makes for a clean image; all (N, 3, H, W), in [0, 1] units, not clipped.

    noise_level: NPNet's map, or the constant of NeCA-S; sdnu: the uncorrelated noise (signal-dependent,
    neighbouring-uncorrelated; for NeCA-S signal-independent); sdnc: the neighbouring-correlated noise (NeCA-S: sinc);
    fake: clean + sdnc.
    """

    noise_level: Tensor
    sdnu: Tensor
    sdnc: Tensor
    fake: Tensor


def correlate(ncnet: Network, noise: Tensor) -> Tensor:
    """Give white noise its neighbouring correlation, NCNet(v) + v: (N, 3, H, W) -> (N, 3, H, W), any size.

    Sizes that are no multiples of the U-Net's stride are padded by reflection and cut back.
    """
    height, width = noise.shape[-2:]
    bottom, right = -height % UNET_STRIDE, -width % UNET_STRIDE
    if not bottom and not right:
        return ncnet(noise) + noise
    if min(height, width) <= max(bottom, right):
        raise ValueError(
            f"an image of {height}x{width} pixels is too small, expected at least {UNET_STRIDE}x{UNET_STRIDE}"
        )
    padded = F.pad(noise, (0, right, 0, bottom), mode="reflect")
    return ncnet(padded)[..., :height, :width] + noise


def correlated_noise(ncnet: Network, maps: NoiseMaps, z: Tensor, level_after: bool = False) -> Tensor:
    """Make noise from white noise z ~ N(0, 1), (N, C, H, W): NCNet(v) + v of v = level z (paper), plus the mean.

    level_after: see `with_level`; else the maps have no skew.
    """
    if level_after:
        return with_level(correlate(ncnet, z), maps)
    return sum(maps[1:2], correlate(ncnet, maps[0] * z))


def with_level(field: Tensor, maps: NoiseMaps) -> Tensor:
    """Give correlated noise of variance 1 its skew and tail, its level and its mean, (N, C, H, W) each.

    For networks whose `level` is "after": NCNet mixes channels, so that only after it the levels are those that a
    likelihood has found for each channel.
    """
    if len(maps) > 2:
        field = sinh_arcsinh(field, *maps[2:])
    return sum(maps[1:2], maps[0] * field)


def sinh_arcsinh(field: Tensor, skew: Tensor, tail: Tensor) -> Tensor:
    """Bend Gaussian noise: sinh(exp(tail) (asinh(field) + skew)); both 0 change nothing.

    Jones and Pewsey, "Sinh-arcsinh distributions" (Biometrika 96, 2009), their epsilon being exp(tail) skew and their
    delta exp(-tail). The order of values stays, and so, nearly, do the correlations (a Gaussian copula).
    """
    return torch.sinh(tail.exp() * (torch.asinh(field) + skew))


def filter_noise(z: Tensor, kernel: Tensor) -> Tensor:
    """Filter white noise without padding, (N, C, H, W), (C, C, K, K) -> (N, C, H - K + 1, W - K + 1).

    A kernel of (4 C, 4 C, K, K) filters cells of 2x2 pixels, H and W even, so that the result depends on the position
    in a mosaic of such cells: -> (N, C, H - 2 K + 2, W - 2 K + 2).
    """
    if kernel.shape[1] == z.shape[1]:
        return F.conv2d(z, kernel)
    return F.pixel_shuffle(F.conv2d(F.pixel_unshuffle(z, 2), kernel), 2)


def synthesize_w(
    npnet: Network, ncnet: Network, clean: Tensor, gain: Tensor, z: Tensor, level_after: bool = False
) -> Synthesis:
    """Make NeCA-W noise: clean (N, C, H, W) in [0, 1], gain (N, 1, 1, 1), z ~ N(0, 1) of clean's shape."""
    maps = npnet(clean, gain).split(clean.shape[1], dim=1)
    sdnc = correlated_noise(ncnet, maps, z, level_after)
    return Synthesis(maps[0], maps[0] * z, sdnc, clean + sdnc)


def synthesize_s(ncnet: Network, clean: Tensor, noise_level: float, z: Tensor) -> Synthesis:
    """Make NeCA-S noise: clean and z as for `synthesize_w`; noise_level before NCNet, in grey levels."""
    level = clean.new_full((1, 1, 1, 1), noise_level / 255)
    sinc = correlated_noise(ncnet, (level,), z)
    return Synthesis(level.expand_as(clean), level * z, sinc, clean + sinc)
