"""Noise synthesis: clean image and white noise in, fake noisy image and everything on the way out."""

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from models.network_ncnet import UNET_STRIDE

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


def synthesize_w(npnet: Network, ncnet: Network, clean: Tensor, gain: Tensor, z: Tensor) -> Synthesis:
    """Make NeCA-W noise: clean (N, C, H, W) in [0, 1], gain (N, 1, 1, 1), z ~ N(0, 1) of clean's shape."""
    noise_level = npnet(clean, gain)
    sdnu = noise_level * z
    sdnc = correlate(ncnet, sdnu)
    return Synthesis(noise_level, sdnu, sdnc, clean + sdnc)


def synthesize_s(ncnet: Network, clean: Tensor, noise_level: float, z: Tensor) -> Synthesis:
    """Make NeCA-S noise: clean and z as for `synthesize_w`; noise_level before NCNet, in grey levels."""
    level = clean.new_full((1, 1, 1, 1), noise_level / 255)
    sinu = level * z
    sinc = correlate(ncnet, sinu)
    return Synthesis(level.expand_as(clean), sinu, sinc, clean + sinc)
