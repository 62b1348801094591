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


LEAST_GAIN = 1e-3  # about a quarter of a grey level, what rounding makes alone
# Maps of an image's noise, (N, C, H, W) each: level, or level and mean, or level, mean, skew and tail (models.neca).
NoiseMaps = tuple[Tensor, ...]
MAPS = (1, 2, 4)  # their possible numbers


def noise_maps(features: Tensor, channels: int, gain: Tensor) -> Tensor:
    """Turn NPNet's last features, of C channels for each map, into maps: (N, maps C, H, W) -> the same.

    Levels are squared; skew and logarithm of the tail are kept within (-1, 1). Where the gain is that of each channel,
    (N, C, 1, 1), a channel's level and mean are amplified as its gain is above the image's.
    """
    level, *others = features.split(channels, dim=1)
    maps = [level.square(), *others[:1], *(of_shape.tanh() for of_shape in others[1:])]
    if gain.shape[1] > 1:
        known = gain.clamp_min(LEAST_GAIN)
        share = known / known.mean(1, keepdim=True)
        maps[:2] = [share * of_level for of_level in maps[:2]]
    return torch.cat(maps, 1)


class NPNet(nn.Module):
    """Predict the noise level of every pixel: clean (N, C, H, W) in [0, 1], gain (N, 1, 1, 1) -> (N, C, H, W) >= 0.

    Variants of ours: with twice as many channels out as in, means follow the levels: noise of dark and of bright places
    has one (-9 grey levels at ISO 10000). With four times as many, skews and tails follow them: a phone's tone curve
    makes noise of middle levels skew (-1) and heavy-tailed. Several `cameras` share all but a bias of the first layer.

    Source: paper, noise level prediction. As in the published code the last layer's output is squared, where the
    paper's figure adds the gain to it. No activation follows the first convolution (published). Of a gain for each
    channel, (N, C, 1, 1), the mean is the image's.
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 3, nc: int = 96, cameras: int = 1):
        super().__init__()
        if out_nc not in [maps * in_nc for maps in MAPS]:
            words = f"{in_nc}, {2 * in_nc} with means or {4 * in_nc} with skews and tails, too"
            raise ValueError(f"NPNet with {out_nc} channels out, expected {words}")
        self.config = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc}
        if cameras > 1:
            self.config["cameras"] = cameras
            self.camera_bias = nn.Parameter(torch.zeros(cameras, nc))
        self.conv1 = conv(in_nc, nc, 7, padding_mode="reflect")
        self.conv2 = conv(nc, nc, 1)
        self.conv3 = conv(nc, nc, 1)
        self.conv4 = conv(nc, nc, 1)
        self.conv5 = conv(nc, out_nc, 1)

    def forward(self, clean: Tensor, gain: Tensor, camera: Tensor | None = None) -> Tensor:
        """Predict the noise level of every pixel: (N, C, H, W), (N, 1, 1, 1) -> (N, C, H, W), or all maps, 2 or 4 C.

        camera: (N,), the images' cameras; a network of several needs them, and raises ValueError without.
        """
        if (camera is None) != ("cameras" not in self.config):
            given = "none" if camera is None else "numbers"
            raise ValueError(f"NPNet: {given} for the images' cameras, expected numbers if it has several, else none")
        features, overall = self.conv1(clean), gain.mean(1, keepdim=True)  # (N, nc, H, W), (N, 1, 1, 1)
        if camera is not None:
            features = features + self.camera_bias[camera][..., None, None]
        for layer in (self.conv2, self.conv3, self.conv4):
            features = F.leaky_relu(gain_normalise(layer(features), overall), 0.01)
        return noise_maps(self.conv5(features), clean.shape[1], gain)

    def of_camera(self, camera: int) -> "NPNet":
        """Return what one of several cameras uses, as a network of that camera alone."""
        weights = self.state_dict()
        weights["conv1.bias"] = weights["conv1.bias"] + weights.pop("camera_bias")[camera]
        with torch.device("meta"):
            alone = NPNet(**self.config | {"cameras": 1})
        alone.load_state_dict(weights, assign=True)
        return alone
