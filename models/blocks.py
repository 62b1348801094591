"""Layers that several networks share, and their initial weights."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

MAX_CHANNELS = 512  # where the widths of NCNet and of the critics stop doubling (published)
INIT_TYPES = ("normal", "xavier", "kaiming", "orthogonal")
ACT_MODES = ("R", "L", "BR", "BL", "IR", "IL")  # KAIR's letters: B/I batch/instance norm, R ReLU, L leaky ReLU


def activation(act_mode: str, channels: int) -> list[nn.Module]:
    """Make the layers that follow a convolution, by the letters of `ACT_MODES`.

    LeakyReLU has slope 0.2, BatchNorm momentum 0.9 and epsilon 1e-4 (published). Raises ValueError for other letters.
    """
    if act_mode not in ACT_MODES:
        raise ValueError(f"activation mode {act_mode!r}, expected one of {', '.join(ACT_MODES)}")
    layers = {
        "B": lambda: nn.BatchNorm2d(channels, momentum=0.9, eps=1e-4),
        "I": lambda: nn.InstanceNorm2d(channels, affine=True),
        "R": lambda: nn.ReLU(inplace=True),
        "L": lambda: nn.LeakyReLU(0.2, inplace=True),
    }
    return [layers[letter]() for letter in act_mode]


def conv(in_nc: int, out_nc: int, kernel: int, stride: int = 1, **options: Any) -> nn.Conv2d:
    """Make a convolution whose padding keeps the size, or halves it with stride 2: 3 for 7x7, 1 for 3x3 and 4x4."""
    return nn.Conv2d(in_nc, out_nc, kernel, stride, padding=(kernel - 1) // 2, **options)


def exact_convolutions() -> AbstractContextManager[None]:
    """Return a context of full float32 on CUDA too: with TF32, cuDNN's default, noise would differ from the CPU's."""
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def initialise(network: nn.Module, init_type: str = "normal") -> nn.Module:
    """Fill a network's weights in place and return it.

    Convolution and linear weights: `normal` N(0, 0.02) (published), `xavier` normal with gain 0.02, `kaiming` normal
    over fan_in, `orthogonal` with gain 0.02; biases 0. BatchNorm: weight N(1, 0.02), bias 0;
    InstanceNorm stays at weight 1, bias 0 (published).
    Raises ValueError for another name.
    """
    fill = {
        "normal": lambda weight: nn.init.normal_(weight, 0.0, 0.02),
        "xavier": lambda weight: nn.init.xavier_normal_(weight, gain=0.02),
        "kaiming": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_in"),
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain=0.02),
    }
    if init_type not in fill:
        raise ValueError(f"initial weights {init_type!r}, expected one of {', '.join(INIT_TYPES)}")
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fill[init_type](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
    return network
