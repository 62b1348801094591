"""DnCNN, the denoiser (letter G3)."""

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
        return noisy - self.model(noisy)
