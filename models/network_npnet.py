"""NPNet, the noise-level prediction network (letter G1)."""

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


class NPNet(nn.Module):
    """Predict the noise level of every pixel: clean (N, C, H, W) in [0, 1], gain (N, 1, 1, 1) -> (N, C, H, W) >= 0.

    Source: paper, noise level prediction. As in the published code the last layer's output is squared, where the
    paper's figure adds the gain to it. No activation follows the first convolution (published).
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nc: int = 96):
        super().__init__()
        self.config = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc}
        self.conv1 = conv(in_nc, nc, 7, padding_mode="reflect")
        self.conv2 = conv(nc, nc, 1)
        self.conv3 = conv(nc, nc, 1)
        self.conv4 = conv(nc, nc, 1)
        self.conv5 = conv(nc, out_nc, 1)

    def forward(self, clean: Tensor, gain: Tensor) -> Tensor:
        """Predict the noise level of every pixel: (N, C, H, W), (N, 1, 1, 1) -> (N, C, H, W)."""
        features = self.conv1(clean)  # (N, nc, H, W)
        for layer in (self.conv2, self.conv3, self.conv4):
            features = F.leaky_relu(gain_normalise(layer(features), gain), 0.01)
        return self.conv5(features).square()
