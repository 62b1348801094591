"""NAFNet, a denoiser without nonlinear activations."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import conv


class NAFNet(nn.Module):
    """Denoise an image: noisy (N, 3, H, W) in [0, 1] -> (N, 3, H, W), the input plus the output of a U-Net.

    Source: Chen et al. 2022, "Simple Baselines for Image Restoration"; defaults: the paper's 36 blocks for SIDD.
    `nc` channels at full size, twice as many on each level below; `enc_nb` and `dec_nb` blocks on each level down and
    up, `middle_nb` at the bottom. Sizes that the levels do not divide are padded by zeros and cut back. Parameters have
    the names of the authors' files. Raises ValueError for levels that differ and for a level without blocks.
    """

    margin = None  # channel attention averages over the whole image

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nc: int = 32,
        enc_nb: Sequence[int] = (2, 2, 4, 8),
        middle_nb: int = 12,
        dec_nb: Sequence[int] = (2, 2, 2, 2),
    ):
        super().__init__()
        if len(enc_nb) != len(dec_nb):
            raise ValueError(f"enc_nb of {len(enc_nb)} levels and dec_nb of {len(dec_nb)}, expected equally many")
        if min([middle_nb, *enc_nb, *dec_nb]) < 1:
            raise ValueError("a level without blocks, expected at least 1 on each")
        self.config: dict[str, Any] = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc}
        self.config |= {"enc_nb": list(enc_nb), "middle_nb": middle_nb, "dec_nb": list(dec_nb)}
        widths = [nc * 2**level for level in range(len(enc_nb) + 1)]
        self.intro, self.ending = conv(in_nc, nc, 3), conv(nc, out_nc, 3)
        self.encoders = nn.ModuleList(_blocks(width, count) for width, count in zip(widths, enc_nb))
        self.downs = nn.ModuleList(conv(width, 2 * width, 2, stride=2) for width in widths[:-1])
        self.middle_blks = _blocks(widths[-1], middle_nb)
        upwards = widths[:0:-1]  # from the bottom
        self.ups = nn.ModuleList(
            nn.Sequential(conv(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)) for width in upwards
        )
        self.decoders = nn.ModuleList(_blocks(width // 2, count) for width, count in zip(upwards, dec_nb))

    def forward(self, noisy: Tensor) -> Tensor:
        """Remove the noise: (N, 3, H, W) -> (N, 3, H, W)."""
        height, width = noisy.shape[-2:]
        stride = 2 ** len(self.downs)
        features, skips = self.intro(F.pad(noisy, (0, -width % stride, 0, -height % stride))), []
        for encoder, down in zip(self.encoders, self.downs):
            skips.append(encoder(features))
            features = down(skips[-1])
        features = self.middle_blks(features)
        for up, decoder in zip(self.ups, self.decoders):
            features = decoder(up(features) + skips.pop())
        return noisy + self.ending(features)[..., :height, :width]


class Block(nn.Module):
    """Add two residuals, scaled by channel from 0 on: a gated 3x3 convolution with attention, a gated 1x1 one."""

    def __init__(self, nc: int):
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(nc), ChannelNorm(nc)
        self.conv1, self.conv2 = conv(nc, 2 * nc, 1), conv(2 * nc, 2 * nc, 3, groups=2 * nc)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(nc, nc, 1))  # "simplified channel attention"
        self.conv3 = conv(nc, nc, 1)
        self.conv4, self.conv5 = conv(nc, 2 * nc, 1), conv(nc, nc, 1)
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, nc, 1, 1)) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Refine features: (N, nc, H, W) -> (N, nc, H, W)."""
        gated = _gate(self.conv2(self.conv1(self.norm1(features))))
        features = features + self.beta * self.conv3(gated * self.sca(gated))
        return features + self.gamma * self.conv5(_gate(self.conv4(self.norm2(features))))


class ChannelNorm(nn.LayerNorm):
    """Normalise each pixel over its channels: (N, nc, H, W) -> (N, nc, H, W)."""

    def __init__(self, nc: int):
        super().__init__(nc, eps=1e-6)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise, then scale and shift each channel."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _blocks(nc: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(nc) for _ in range(count)))


def _gate(features: Tensor) -> Tensor:
    """Multiply one half of the channels by the other ("simple gate")."""
    one, other = features.chunk(2, dim=1)
    return one * other
