"""Inference forms of the three generators: the same functions of the same weights, computed with less work."""

import copy
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.network_genet import GENet
from models.network_ncnet import NCNet
from models.network_npnet import NPNet
from models.receptive_field import decoder_margin, genet_margin, margin_before, ncnet_margin, needs_whole_image
from models.threads import on_cores

# Features below this size come from memory that glibc keeps (its mmap threshold ends at 32 MiB): larger ones cost a
# page fault for every 4 KiB, which took a fifth of the time.
BAND_BYTES = 24 << 20

# Rows of a 3x3 kernel that fall on the same pixel after nearest x2 upsampling, for the even and the odd output rows.
PHASES = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # (phase, row of the 2x2 kernel, of the 3x3)
# What a border looks like before the upsampling: reflection about the last pixel meets that pixel's other half.
BEFORE_UPSAMPLING = {"zeros": "zeros", "reflect": "replicate", "replicate": "replicate", "circular": "circular"}


def pointwise(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """Apply a 1x1 convolution, rows as the batch: (N, C, H, W) -> (N, C', H, W), channels last.

    With one thread, PyTorch hands a 1x1 convolution to oneDNN only from 16 samples on; without it takes twice as long.
    """
    batch, _, height, width = features.shape
    if not features.is_contiguous(memory_format=torch.channels_last):
        return conv(features)
    rows = features.permute(0, 2, 3, 1).reshape(batch * height, 1, width, -1).permute(0, 3, 1, 2)
    return conv(rows).permute(0, 2, 3, 1).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def in_bands(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], margin: int, channels: int | None) -> Tensor:
    """Apply layers band by band of an image's rows, as if at once: the features between them stay small.

    The last input has the output's size, others may be coarser by 2. margin: rows around a band that its output
    depends on; channels: of the features between the layers, None for one band.
    """
    batch, _, height, width = inputs[-1].shape
    share = 2 * BAND_BYTES // max(2, torch.get_num_threads())  # so that many cores need no more than two
    row_bytes = batch * width * (channels or 0) * inputs[-1].element_size()
    rows = share // row_bytes // 2 * 2 if row_bytes else height
    if rows >= height:
        return function(*inputs)
    rows, margin = max(rows, 8), margin + margin % 2
    scales = [height // part.shape[-2] for part in inputs]  # 1 or 2

    def band(top: int) -> Tensor:
        start, stop = max(0, top - margin), min(height, top + rows + margin)
        parts = [part[:, :, start // scale : stop // scale] for part, scale in zip(inputs, scales)]
        return function(*parts)[:, :, top - start : top - start + rows]

    output = None
    tops = range(0, height, rows)
    for top, result in zip(tops, on_cores(band, tops, inputs[0].device)):
        if output is None:
            size = (batch, result.shape[1], height, width)
            output = torch.empty(size, dtype=result.dtype, device=result.device, memory_format=torch.channels_last)
        output[:, :, top : top + rows] = result
    return output


def folded(layers: nn.Module) -> nn.Sequential:
    """Copy layers as one flat Sequential in eval mode, each BatchNorm folded into the convolution before it."""
    flat: list[nn.Module] = []
    for layer in copy.deepcopy(layers).eval().modules():
        if isinstance(layer, nn.BatchNorm2d):
            flat[-1] = fuse_conv_bn_eval(flat[-1], layer)
        elif not any(layer.children()) and not isinstance(layer, nn.Sequential):  # no container, not even an empty one
            flat.append(layer)
    return nn.Sequential(*flat)


class FastGENet(nn.Module):
    """GENet without its pooling, which tiles share."""

    def __init__(self, genet: GENet):
        super().__init__()
        self.margin, self.needs_whole_image = genet_margin(genet), needs_whole_image(genet)
        self.features = folded(genet.model)  # (N, 3, H, W) -> (N, nc, H, W)
        self.linear = folded(genet.linear)  # (N, nc, 1, 1) -> (N, 1, 1, 1)


class FastNPNet(nn.Module):
    """NPNet with its first two convolutions, between which there is nothing, folded into one 7x7."""

    MARGIN = 3

    def __init__(self, npnet: NPNet):
        super().__init__()
        first, second = npnet.conv1, npnet.conv2
        self.first = nn.Conv2d(first.in_channels, second.out_channels, first.kernel_size)
        matrix = second.weight[:, :, 0, 0].double()
        weight = torch.einsum("om,mikl->oikl", matrix, first.weight.double())
        self.first.weight = nn.Parameter(weight.to(first.weight))
        self.first.bias = nn.Parameter((matrix @ first.bias.double() + second.bias).to(first.bias))
        self.layers = nn.ModuleList(copy.deepcopy(layer) for layer in (npnet.conv3, npnet.conv4, npnet.conv5))

    def deepen(self, features: Tensor, scale: Tensor, shift: Tensor, layer: int) -> Tensor:
        """Take one gain layer's output through its normalisation, activation and the next convolution."""
        return pointwise(self.layers[layer], F.leaky_relu_(features.mul(scale).add_(shift), 0.01))


class FastNCNet(nn.Module):
    """NCNet with BatchNorm folded in and, where it can be, the upsampling folded into the decoders."""

    def __init__(self, ncnet: NCNet):
        super().__init__()
        self.margin, self.needs_whole_image = ncnet_margin(ncnet), needs_whole_image(ncnet)
        self.wraps = ncnet.config["padding_mode"] == "circular"
        self.stem = folded(ncnet.encoders[0][:2])
        self.encoders = nn.ModuleList([folded(ncnet.encoders[0][2:]), *map(folded, ncnet.encoders[1:])])
        decoders = [folded(decoder) for decoder in ncnet.decoders]
        join = FoldedJoin if ncnet.config["upsample_mode"] == "upsampling" else Join
        self.joins = nn.ModuleList(join(up, decoder[0]) for up, decoder in zip(ncnet.up_samplers, decoders))
        self.decoders = nn.ModuleList(decoder[1:] for decoder in decoders)
        self.head = folded(ncnet.decoder_head)
        self.margins = [margin_before(ncnet.encoders[0], 0)]
        self.margins += [decoder_margin(*pair) for pair in zip(ncnet.up_samplers, ncnet.decoders)]

    def forward(self, noise: Tensor, seams: tuple[list[int], list[int]] = ((), ())) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H, W), H and W multiples of 8.

        seams: rows and columns where the image's own borders run through a tile that was continued around them; the
        second convolution, which pads with zeros whatever the mode, must not look across.
        """
        whole = self.wraps or self.needs_whole_image or noise.device.type != "cpu"
        channels = self.stem[0].out_channels
        skips = [in_bands(partial(self._first, seams), (noise,), self.margins[0], None if whole else channels)]
        for encoder in self.encoders[1:]:
            skips.append(encoder(skips[-1]))
        features = skips.pop()
        for level, margin in enumerate(self.margins[1:]):
            skip = skips.pop()
            layers = partial(self._decode, level)
            features = in_bands(layers, (features, skip), margin, None if whole else skip.shape[1])
        return features

    def _first(self, seams: tuple[list[int], list[int]], noise: Tensor) -> Tensor:
        """The finest encoder."""
        features = self.stem(noise)
        if not seams[0] and not seams[1]:
            return self.encoders[0](features)
        bands = [band.tensor_split(seams[1], dim=3) for band in features.tensor_split(seams[0], dim=2)]
        return torch.cat([torch.cat([self.encoders[0](part) for part in band], dim=3) for band in bands], dim=2)

    def _decode(self, level: int, low: Tensor, skip: Tensor) -> Tensor:
        """A decoder with the joining before it, and after the finest one the head."""
        features = self.decoders[level](self.joins[level](low, skip))
        if level + 1 < len(self.decoders):
            return features
        return self.head[1:](pointwise(self.head[0], features))


class Join(nn.Module):
    """A decoder's upsampling, concatenation and first convolution, as they are."""

    def __init__(self, up_sampler: nn.Module, conv: nn.Conv2d):
        super().__init__()
        self.up_sampler, self.conv = folded(up_sampler), conv

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([self.up_sampler(low), skip], dim=1))


class FoldedJoin(nn.Module):
    """The same for nearest upsampling, without making the upsampled and the joined features.

    The convolution is the sum of one on the skip connection and one on the upsampled features; the latter is four 2x2
    convolutions before the upsampling, one for each position of the output pixel in its 2x2 block.
    """

    def __init__(self, up_sampler: nn.Module, conv: nn.Conv2d):
        super().__init__()
        out_nc, in_nc = conv.weight.shape[:2]
        low_nc = in_nc - out_nc  # the skip connection has the decoder's width
        self.skip = copy.deepcopy(conv)
        self.skip.weight = nn.Parameter(conv.weight[:, low_nc:].clone())
        phases = PHASES.to(conv.weight.device, torch.float64)
        weight = torch.einsum("pak,qbl,oikl->pqoiab", phases, phases, conv.weight[:, :low_nc].double())
        mode = BEFORE_UPSAMPLING[conv.padding_mode]
        self.phases = nn.Conv2d(low_nc, 4 * out_nc, 2, padding=1, padding_mode=mode, bias=False)
        self.phases.weight = nn.Parameter(weight.reshape(4 * out_nc, low_nc, 2, 2).to(conv.weight))

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        height, width = low.shape[-2:]
        joined = self.skip(skip)  # (N, C, 2 H, 2 W)
        for number, phase in enumerate(self.phases(low).chunk(4, dim=1)):  # (N, C, H + 1, W + 1) each
            down, right = divmod(number, 2)
            joined[..., down::2, right::2] += phase[..., down : down + height, right : right + width]
        return joined
