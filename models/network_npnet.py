"""NPNet, the noise-level prediction network (letter G1)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import conv

EPSILON = 1e-5  # added to the standard deviation, not to the variance (published)


def gain_normalise(features: Tensor, gain: Tensor) -> Tensor:
    """Normalise each sample over channels and pixels, then scale by its gain.

    (N, C, H, W), (N, 1, 1, 1) -> (N, C, H, W). The standard deviation is the unbiased one. Operations come in the
    published order, bit for bit: after Adam's first steps the golden vectors show any other rounding.
    """
    mean = features.mean(dim=(1, 2, 3), keepdim=True)  # (N, 1, 1, 1)
    std = features.std(dim=(1, 2, 3), keepdim=True)
    return (features - mean) / (std + EPSILON) * gain


def square_levels(maps: Tensor, channels: int) -> Tensor:
    """Square the noise levels among NPNet's last features, not the means: (N, C or 2 C, H, W) -> the same."""
    if maps.shape[1] == channels:
        return maps.square()
    return torch.cat([maps[:, :channels].square(), maps[:, channels:]], 1)


def split_mean(maps: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
    """Take noise levels and means apart, (N, C or 2 C, H, W) -> (N, C, H, W) each; None without means."""
    return maps[:, :channels], maps[:, channels:] if maps.shape[1] > channels else None


class NPNet(nn.Module):
    """Predict the noise level of every pixel: clean (N, C, H, W) in [0, 1], gain (N, 1, 1, 1) -> (N, C, H, W) >= 0.

    With twice as many channels out as in, a variant of ours, means follow the levels: noise of dark and of bright
    places has one (-9 grey levels at ISO 10000). It is added to NCNet's noise.

    Source: paper, noise level prediction. As in the published code the last layer's output is squared, where the
    paper's figure adds the gain to it. No activation follows the first convolution (published).
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nc: int = 96):
        super().__init__()
        if out_nc not in (in_nc, 2 * in_nc):
            raise ValueError(f"NPNet with {out_nc} channels out, expected {in_nc}, or {2 * in_nc} with means")
        self.config = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc}
        self.conv1 = conv(in_nc, nc, 7, padding_mode="reflect")
        self.conv2 = conv(nc, nc, 1)
        self.conv3 = conv(nc, nc, 1)
        self.conv4 = conv(nc, nc, 1)
        self.conv5 = conv(nc, out_nc, 1)

    def forward(self, clean: Tensor, gain: Tensor) -> Tensor:
        """Predict the noise level of every pixel: (N, C, H, W), (N, 1, 1, 1) -> (N, C, H, W), or with means 2 C."""
        features = self.conv1(clean)  # (N, nc, H, W)
        for layer in (self.conv2, self.conv3, self.conv4):
            features = F.leaky_relu(gain_normalise(layer(features), gain), 0.01)
        return square_levels(self.conv5(features), clean.shape[1])
