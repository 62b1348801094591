"""GENet, the gain estimation network (letter E)."""

from typing import Any

from torch import Tensor, nn

from models.blocks import activation, conv

POOL_MODES = ("all", "inside")


class GENet(nn.Module):
    """Estimate an image's gain: noisy (N, C, H, W) in [0, 1] -> (N, 1, 1, 1).

    Source: paper, gain estimation. `nb` counts the convolutions, the last 1x1 one included. After the others
    comes what the first letter of `act_mode` stands for, and that alone: with BR a BatchNorm without ReLU (published).

    The published network averages over `all` features. At the borders these see the zeros outside, so that what was
    learned from patches, with much border, is biased on whole images, with little. The `pool_mode` "inside", a variant
    of ours, leaves the borders out. With C channels out, another variant, the gain is that of each channel, equal
    where the noise has the camera's usual colour: white balance amplifies a channel's noise with its signal.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 1,
        nc: int = 96,
        nb: int = 5,
        act_mode: str = "R",
        pool_mode: str = "all",
    ):
        super().__init__()
        if pool_mode not in POOL_MODES:
            raise ValueError(f"GENet: {pool_mode!r}, expected one of {', '.join(POOL_MODES)}")
        if out_nc not in (1, in_nc):
            raise ValueError(f"GENet with {out_nc} channels out, expected 1 or {in_nc}")
        if nb < 2:
            raise ValueError(f"GENet with {nb} layers, expected at least 2")
        self.config: dict[str, Any] = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc, "nb": nb, "act_mode": act_mode}
        self.config |= {"pool_mode": pool_mode}
        layers = [nn.Sequential(conv(in_nc, nc, 7), activation(act_mode, nc)[0])]
        layers += [nn.Sequential(conv(nc, nc, 3), activation(act_mode, nc)[0]) for _ in range(nb - 2)]
        self.model = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Sequential(nn.Sequential(conv(nc, out_nc, 1)))

    def border(self, height: int, width: int) -> int:
        """Return how many pixels at each side of an image are left out; a small one keeps its middle."""
        if self.config["pool_mode"] == "all":
            return 0
        return min(self.config["nb"] + 1, (min(height, width) - 1) // 2)  # 7x7 sees 3 pixels far, each 3x3 one more

    def forward(self, noisy: Tensor) -> Tensor:
        """Estimate the gains of noisy images: (N, C, H, W) -> (N, 1, 1, 1) or (N, C, 1, 1)."""
        features, (height, width) = self.model(noisy), noisy.shape[-2:]  # (N, nc, H, W)
        border = self.border(height, width)
        return self.linear(self.pool(features[..., border : height - border, border : width - border]))
