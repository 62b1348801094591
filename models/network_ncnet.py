"""NCNet, the neighbouring correlation network (letter G2)."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from models.blocks import MAX_CHANNELS, activation, conv

DOWN_MODES = ("strideconv", "maxpool", "avgpool")
UP_MODES = ("upsampling", "upsampling_conv", "convtranspose", "pixelshuffle")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
UNET_LEVELS = 4
UNET_STRIDE = 2 ** (UNET_LEVELS - 1)  # heights and widths must be multiples of this


class Exp(nn.Module):
    """Element-wise exponential."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the exponential of every element."""
        return x.exp()


FINAL_ACTIVATIONS = {"Tanh": nn.Tanh, "Sigmoid": nn.Sigmoid, "exp": Exp, "linear": nn.Identity}


class NCNet(nn.Module):
    """Give uncorrelated noise its neighbouring correlation: (N, 3, H, W) -> (N, 3, H, W), H and W multiples of 8.

    A U-Net of four levels; the residual `+ noise` is outside (paper, neighbouring correlation). Quirks of the
    published code: the first convolution has ReLU whatever `act_mode`; the second, and one before a pixel shuffle, pads
    with zeros whatever `padding_mode`.
    """

    def __init__(
        self,
        in_nc: int = 3,
        out_nc: int = 3,
        nc: int = 64,
        act_mode: str = "R",
        downsample_mode: str = "strideconv",
        upsample_mode: str = "upsampling",
        padding_mode: str = "zeros",
        final_act: str = "Tanh",
    ):
        super().__init__()
        for value, choices in (
            (downsample_mode, DOWN_MODES),
            (upsample_mode, UP_MODES),
            (padding_mode, PADDING_MODES),
            (final_act, FINAL_ACTIVATIONS),
        ):
            if value not in choices:
                raise ValueError(f"NCNet: {value!r}, expected one of {', '.join(choices)}")
        self.config: dict[str, Any] = {"in_nc": in_nc, "out_nc": out_nc, "nc": nc, "act_mode": act_mode}
        self.config |= {"downsample_mode": downsample_mode, "upsample_mode": upsample_mode}
        self.config |= {"padding_mode": padding_mode, "final_act": final_act}
        widths = [min(nc * 2**level, max(nc, MAX_CHANNELS)) for level in range(UNET_LEVELS)]  # 64, 128, 256, 512

        first = [conv(in_nc, nc, 7, padding_mode=padding_mode), nn.ReLU(inplace=True)]
        self.encoders = nn.ModuleList([nn.Sequential(*first, conv(nc, nc, 3), *activation(act_mode, nc))])
        self.up_samplers = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for narrow, wide in pairwise(widths):
            self.encoders.append(_down(narrow, wide, act_mode, downsample_mode, padding_mode))
        for wide, narrow in pairwise(widths[::-1]):
            self.up_samplers.append(_up(wide, narrow, act_mode, upsample_mode, padding_mode))
            joined = narrow + (wide if upsample_mode == "upsampling" else narrow)
            self.decoders.append(nn.Sequential(*_two_convs(joined, narrow, act_mode, padding_mode)))
        self.decoder_head = nn.Sequential(conv(nc, out_nc, 1), FINAL_ACTIVATIONS[final_act]())

    def forward(self, noise: Tensor) -> Tensor:
        """Predict what the neighbours add to the noise: (N, 3, H, W) -> (N, 3, H, W); H and W are multiples of 8."""
        if noise.shape[-2] % UNET_STRIDE or noise.shape[-1] % UNET_STRIDE:
            raise ValueError(f"NCNet: {tuple(noise.shape[-2:])} pixels, expected multiples of {UNET_STRIDE}")
        skips = []
        features = noise
        for encoder in self.encoders:
            features = encoder(features)  # (N, nc * 2^level, H / 2^level, W / 2^level)
            skips.append(features)
        skips.pop()
        for up_sampler, decoder in zip(self.up_samplers, self.decoders):
            features = decoder(torch.cat([up_sampler(features), skips.pop()], dim=1))
        return self.decoder_head(features)  # (N, 3, H, W)


def _two_convs(in_nc: int, out_nc: int, act_mode: str, padding_mode: str, stride: int = 1) -> list[nn.Module]:
    first = conv(in_nc, out_nc, 3, stride, padding_mode=padding_mode)
    second = conv(out_nc, out_nc, 3, padding_mode=padding_mode)
    return [first, *activation(act_mode, out_nc), second, *activation(act_mode, out_nc)]


def _down(in_nc: int, out_nc: int, act_mode: str, mode: str, padding_mode: str) -> nn.Sequential:
    """Halve the size: by the first convolution's stride, or by pooling before it."""
    pools: dict[str, list[nn.Module]] = {"strideconv": [], "maxpool": [nn.MaxPool2d(2)], "avgpool": [nn.AvgPool2d(2)]}
    stride = 2 if mode == "strideconv" else 1
    return nn.Sequential(*pools[mode], *_two_convs(in_nc, out_nc, act_mode, padding_mode, stride))


def _up(in_nc: int, out_nc: int, act_mode: str, mode: str, padding_mode: str) -> nn.Sequential:
    """Double the size; all but plain `upsampling` halve the channels too."""
    if mode == "convtranspose":
        return nn.Sequential(nn.ConvTranspose2d(in_nc, out_nc, 2, stride=2))
    if mode == "pixelshuffle":
        return nn.Sequential(conv(in_nc, 4 * out_nc, 3), nn.PixelShuffle(2))
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")]
    if mode == "upsampling_conv":
        layers += [conv(in_nc, out_nc, 3, padding_mode=padding_mode), *activation(act_mode, out_nc)]
    return nn.Sequential(*layers)
