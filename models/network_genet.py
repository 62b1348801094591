"""GENet, the gain estimation network (letter E)."""

from torch import Tensor, nn

from models.blocks import activation, conv


class GENet(nn.Module):
    """Estimate an image's gain: noisy (N, C, H, W) in [0, 1] -> (N, 1, 1, 1).

    Source: paper, gain estimation. `nb` counts the convolutions, the last 1x1 one included. After the others
    comes what the first letter of `act_mode` stands for, and that alone: with BR a BatchNorm without ReLU (published).
    """

    def __init__(self, in_nc: int = 3, out_nc: int = 1, nc: int = 96, nb: int = 5, act_mode: str = "R"):
        super().__init__()
        if out_nc != 1:
            raise ValueError(f"GENet with {out_nc} channels out, expected 1, the gain")
        if nb < 2:
            raise ValueError(f"GENet with {nb} layers, expected at least 2")
        self.config = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc, "nb": nb, "act_mode": act_mode}
        layers = [nn.Sequential(conv(in_nc, nc, 7), activation(act_mode, nc)[0])]
        layers += [nn.Sequential(conv(nc, nc, 3), activation(act_mode, nc)[0]) for _ in range(nb - 2)]
        self.model = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Sequential(nn.Sequential(conv(nc, out_nc, 1)))

    def forward(self, noisy: Tensor) -> Tensor:
        """Estimate the gains of noisy images: (N, C, H, W) -> (N, 1, 1, 1)."""
        return self.linear(self.pool(self.model(noisy)))
