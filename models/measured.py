"""A start from measurements: networks that make nearly the right noise before any training.

GENet becomes a meter of noise, NCNet the filter of the measured correlation, NPNet the mean noise level everywhere.
Only weights are set: the networks, their forward passes and their files are the published ones.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.losses import global_noise_level
from models.network_genet import GENet
from models.network_ncnet import NCNet
from models.network_npnet import NPNet

KERNEL = 7  # pixels a side, of NCNet's first convolution
CONTRAST = 8  # of GENet's first filters: they see the noise in the first place, not the shift of a bias
SMALL = {"NPNet": 0.1, "NCNet": 0.02}  # what is left of the random weights of the last layers


@torch.no_grad()
def start_from_measurements(networks: Mapping[str, Any], kernel: Tensor, clean: Tensor, noisy: Tensor) -> None:
    """Set the weights of E, G1 and G2, which were initialised at random, in place.

    kernel: (C, C, K, K) of `models.noise_statistics.colouring_kernel`, K odd and at least 7, or (4 C, 4 C, K, K) by
    position in the mosaic for an NCNet with `mosaic`; clean, noisy: (N, C, P, P) in [0, 1], patches of the training
    images on which the meter is set. Raises ValueError for an NCNet that cannot be set so.
    """
    noise = noisy - clean
    _set_meter(networks["E"], noisy, noise)
    _set_level(networks["G1"], noise)
    if networks["G2"].mosaic is None:
        _set_filter(networks["G2"], kernel)
    else:
        _set_mosaic(networks["G2"], kernel)


def _set_meter(genet: GENet, noisy: Tensor, noise: Tensor) -> None:
    """Let GENet add up what high-pass filters see, on the scale of the noise's standard deviation."""
    first, head = _conv(genet, "model.0.0"), _conv(genet, "linear.0.0")
    first.weight.sub_(first.weight.mean((2, 3), keepdim=True)).mul_(CONTRAST)  # blind to brightness
    head.weight.abs_()
    head.weight.mul_(global_noise_level(noise).mean() / genet(noisy).mean())


def _set_level(npnet: NPNet, noise: Tensor) -> None:
    """Let NPNet, whose output is squared, begin near the mean noise level of all images."""
    npnet.conv5.weight.mul_(SMALL["NPNet"])
    bias = npnet.conv5.bias
    assert bias is not None
    bias[: noise.shape[1]] = math.sqrt(global_noise_level(noise).mean())


def _set_filter(ncnet: NCNet, kernel: Tensor) -> None:
    """Let NCNet filter noise: NCNet(v) + v = kernel * v, but for its last Tanh and a little of the random weights.

    The first convolution makes kernel * v - v, both halves of which pass its ReLU in channels of their own; centre taps
    carry them along the first skip connection to the head, which joins them.
    """
    config = ncnet.config
    lanes = 2 * len(kernel)  # NCNet's channels that carry the filtered noise: half for its positive part
    if config["nc"] < lanes or config["act_mode"] != "R" or config["final_act"] not in ("Tanh", "linear"):
        raise ValueError(
            f"NCNet of {config['nc']} channels, activation {config['act_mode']} and {config['final_act']} at the end: "
            f"expected at least {lanes} channels, R and Tanh or linear to begin with the measured correlation"
        )
    first, second, head = (_conv(ncnet, name) for name in ("encoders.0.0", "encoders.0.2", "decoder_head.0"))
    decoder = [layer for layer in ncnet.decoders[-1].modules() if isinstance(layer, nn.Conv2d)]
    added = _added(kernel, KERNEL)
    first.weight[:lanes] = torch.cat([added, -added])
    skipped = decoder[0].in_channels - config["nc"]  # the up-sampled features come before those of the skip connection
    for layer, begin in ((second, 0), (decoder[0], skipped), (decoder[1], 0)):
        layer.weight[:lanes] = 0
        layer.weight[range(lanes), range(begin, begin + lanes), 1, 1] = 1
    head.weight.mul_(SMALL["NCNet"])
    identity = torch.eye(len(kernel))
    head.weight[:, :lanes] = torch.cat([identity, -identity], 1)[..., None, None]


def _set_mosaic(ncnet: NCNet, kernel: Tensor) -> None:
    """Let NCNet's filter of cells make the noise alone: NCNet(v) + v = kernel * v; the U-Net's head begins at 0."""
    cells = _conv(ncnet, "mosaic.1")
    cells.weight.copy_(_added(kernel, cells.kernel_size[0]))
    _conv(ncnet, "decoder_head.0").weight.zero_()


def _conv(network: nn.Module, name: str) -> nn.Conv2d:
    """Return a layer of a network."""
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer


def _added(kernel: Tensor, size: int) -> Tensor:
    """Cut what a kernel adds to its input to its middle, at the same variance of each channel: -> (..., size, size)."""
    border, channels = (kernel.shape[-1] - size) // 2, range(len(kernel))
    middle = kernel[..., border : border + size, border : border + size]
    energy, left = (taps.square().sum((1, 2, 3), keepdim=True) for taps in (kernel, middle))
    added = middle * (energy / left).sqrt()
    added[channels, channels, size // 2, size // 2] -= 1  # NCNet's output is added to its input
    return added
