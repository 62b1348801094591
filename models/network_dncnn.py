"""DnCNN, the denoiser (letter G3)."""

import re
from typing import Any

from torch import Tensor, nn

from models.blocks import activation, conv


class DnCNN(nn.Module):
    """Denoise an image: noisy (N, 3, H, W) in [0, 1] -> (N, 3, H, W), the input minus the predicted noise.

    Source: Zhang et al. 2017, as in KAIR; `nb` convolutions of `nc` channels, `act_mode` after the middle ones and
    its last letter alone after the first.
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nc: int = 64, nb: int = 20, act_mode: str = "BR"):
        super().__init__()
        self.config = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc, "nb": nb, "act_mode": act_mode}
        layers = [conv(in_nc, nc, 3), *activation(act_mode[-1:], nc)]
        for _ in range(nb - 2):
            layers += [conv(nc, nc, 3), *activation(act_mode, nc)]
        self.model = nn.Sequential(*layers, conv(nc, out_nc, 3))

    def forward(self, noisy: Tensor) -> Tensor:
        """Remove the noise: (N, 3, H, W) -> (N, 3, H, W)."""
        return noisy - self.model(noisy)


def is_dncnn(weights: dict[str, Any]) -> bool:
    """Return whether weights are those of a DnCNN, ours or KAIR's, that is not given the noise level."""
    kernels = [weight for weight in weights.values() if isinstance(weight, Tensor) and weight.ndim == 4]
    names = (
        re.fullmatch(r"model\.\d+\.(weight|bias|running_mean|running_var|num_batches_tracked)", x) for x in weights
    )
    return bool(kernels) and kernels[0].shape[1] == kernels[-1].shape[0] in (1, 3) and all(names)


def dncnn_config(weights: dict[str, Any]) -> dict[str, Any]:
    """Derive the constructor arguments of a DnCNN from its weights, for files without `config`.

    Leaky ReLUs look like ReLUs in weights; ReLUs are taken. Without any convolution: no arguments, the paper's sizes.
    """
    kernels = [weight for weight in weights.values() if isinstance(weight, Tensor) and weight.ndim == 4]
    if not kernels:
        return {}
    norms = sum(isinstance(weight, Tensor) and weight.ndim == 1 for weight in weights.values()) > len(kernels)
    act_mode = "R" if not norms else "BR" if any(name.endswith("running_mean") for name in weights) else "IR"
    return {"nc": kernels[0].shape[0], "nb": len(kernels), "act_mode": act_mode}
