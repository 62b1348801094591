"""GENet, the gain estimation network (letter E)."""

from typing import Any

from torch import Tensor, nn

from models.blocks import activation, conv


class GENet(nn.Module):
    """Estimate an image's gain: noisy (N, 3, H, W) in [0, 1] -> (N, 1, 1, 1).

    Source: paper, gain estimation. `nb` counts the convolutions, the last 1x1 one included. After the others
    comes what the first letter of `act_mode` stands for, and that alone: with BR a BatchNorm without ReLU (published).
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 1, nc: int = 96, nb: int = 5, act_mode: str = "R"):
        super().__init__()
        if nb < 2:
            raise ValueError(f"GENet with {nb} layers, expected at least 2")
        self.config: dict[str, Any] = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc, "nb": nb, "act_mode": act_mode}
        layers = [nn.Sequential(conv(in_nc, nc, 7), activation(act_mode, nc)[0])]
        layers += [nn.Sequential(conv(nc, nc, 3), activation(act_mode, nc)[0]) for _ in range(nb - 2)]
        self.model = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Sequential(nn.Sequential(conv(nc, out_nc, 1)))

    def forward(self, noisy: Tensor, inside: bool = False) -> Tensor:
        """Estimate the gains of noisy images: (N, 3, H, W) -> (N, 1, 1, 1).

        inside: leave out the borders, where features see the zeros outside. There are more of them in a patch than in
        a whole image, whose gain is biased by 11 to 23 % when GENet has learned from patches with them.
        """
        features = self.model(noisy)  # (N, nc, H, W)
        if inside:
            border, (height, width) = self.config["nb"] + 1, features.shape[-2:]  # 3 pixels, and 1 for each layer more
            features = features[..., border : height - border, border : width - border]
        return self.linear(self.pool(features))  # (N, 1, 1, 1)
