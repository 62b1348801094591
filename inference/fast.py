"""Inference forms of the generators and of DnCNN: the same functions of the same weights, computed with less work."""

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.network_dncnn import DnCNN
from models.network_genet import GENet
from models.network_ncnet import NCNet
from models.network_npnet import NPNet
from utils.workers import in_threads

# Features below this size come from memory that glibc keeps (its mmap threshold ends at 32 MiB): larger ones cost a
# page fault for every 4 KiB, which took a fifth of the time.
BAND_BYTES = 24 << 20

# Rows of a 3x3 kernel that fall on the same pixel after nearest x2 upsampling, for the even and the odd output rows.
PHASES = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # (phase, row of the 2x2 kernel, of the 3x3)


def on_cores(function: Callable[[Any], Tensor], items: Iterable[Any], device: torch.device) -> Iterator[Tensor]:
    """Apply a function to each item without gradients, on a CPU one item per core: yield the results in order.

    Cores with an item each need not wait for each other, as PyTorch's own threads do after every layer, which costs
    most where other programs use the cores.
    """
    items, count = list(items), torch.get_num_threads()
    if device.type != "cpu" or min(count, len(items)) <= 1:
        yield from map(function, items)
        return

    def on_one_core(item: Any) -> Tensor:
        torch.set_num_threads(1)
        with torch.no_grad():
            return function(item)

    try:
        yield from in_threads(on_one_core, items, count)
    finally:
        torch.set_num_threads(count)  # of threads to come, which take over the number that was set last


def in_bands(function: Callable[..., Tensor], inputs: tuple[Tensor, ...], margin: int, channels: int) -> Tensor:
    """Apply layers band by band of an image's rows, as if at once: the features between them stay small.

    The last input has the output's size, others may be coarser by 2. margin: rows around a band that its output
    depends on, an even number; channels: of the features between the layers.
    """
    batch, _, height, width = inputs[-1].shape
    share = 2 * BAND_BYTES // max(2, torch.get_num_threads())  # so that many cores need no more than two
    rows = max(8, share // (batch * width * channels * inputs[-1].element_size()) // 2 * 2)
    if rows >= height or inputs[-1].device.type != "cpu":
        return function(*inputs)
    scales = [height // part.shape[-2] for part in inputs]  # 1 or 2

    def band(top: int) -> Tensor:
        start, stop = max(0, top - margin), min(height, top + rows + margin)
        parts = [part[:, :, start // scale : stop // scale] for part, scale in zip(inputs, scales)]
        return function(*parts)[:, :, top - start : top - start + rows]

    output: Tensor | None = None
    tops = range(0, height, rows)
    for top, result in zip(tops, on_cores(band, tops, inputs[0].device)):
        if output is None:
            size = (batch, result.shape[1], height, width)
            output = torch.empty(size, dtype=result.dtype, device=result.device, memory_format=torch.channels_last)
        output[:, :, top : top + rows] = result
    assert output is not None
    return output


def pointwise(conv: nn.Module, features: Tensor) -> Tensor:
    """Apply a 1x1 convolution, rows as the batch: (N, C, H, W) -> (N, C', H, W), channels last.

    With one thread, PyTorch hands a 1x1 convolution to oneDNN only from 16 samples on; without it takes twice as long.
    """
    batch, _, height, width = features.shape
    if not features.is_contiguous(memory_format=torch.channels_last):
        return conv(features)
    rows = features.permute(0, 2, 3, 1).reshape(batch * height, 1, width, -1).permute(0, 3, 1, 2)
    return conv(rows).permute(0, 2, 3, 1).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def folded(layers: nn.Module) -> nn.Sequential:
    """Copy layers as one flat Sequential in eval mode, each BatchNorm folded into the convolution before it."""
    flat: list[nn.Module] = []
    for layer in copy.deepcopy(layers).eval().modules():
        if isinstance(layer, nn.BatchNorm2d):
            before = flat[-1]
            assert isinstance(before, nn.Conv2d)
            flat[-1] = fuse_conv_bn_eval(before, layer)
        elif not any(layer.children()) and not isinstance(layer, nn.Sequential):  # no container, not even an empty one
            flat.append(layer)
    return nn.Sequential(*flat)


def reach(layers: nn.Module) -> int | None:
    """Return how many pixels far 3x3 and 7x7 convolutions look, None for instance norm: the whole image."""
    if any(isinstance(layer, nn.InstanceNorm2d) for layer in layers.modules()):
        return None
    return sum(int(layer.padding[0]) for layer in layers.modules() if isinstance(layer, nn.Conv2d))


class FastGENet(nn.Module):
    """GENet without its pooling, which tiles share."""

    def __init__(self, genet: GENet):
        super().__init__()
        self.margin = reach(genet.model)
        self.features = folded(genet.model)  # (N, 3, H, W) -> (N, nc, H, W)
        self.linear = folded(genet.linear)  # (N, nc, 1, 1) -> (N, 1, 1, 1)


class FastNPNet(nn.Module):
    """NPNet with its first two convolutions, between which there is nothing, folded into one 7x7."""

    MARGIN = 3
    GAIN_LAYERS = 3

    def __init__(self, npnet: NPNet):
        super().__init__()
        first, second = npnet.conv1, npnet.conv2
        self.first = nn.Conv2d(first.in_channels, second.out_channels, first.kernel_size[0])
        assert first.bias is not None and second.bias is not None
        matrix = second.weight[:, :, 0, 0].double()
        weight = torch.einsum("om,mikl->oikl", matrix, first.weight.double())
        self.first.weight = nn.Parameter(weight.to(first.weight))
        self.first.bias = nn.Parameter((matrix @ first.bias.double() + second.bias).to(first.bias))
        self.layers = nn.ModuleList(copy.deepcopy(layer) for layer in (npnet.conv3, npnet.conv4, npnet.conv5))

    def deepen(self, features: Tensor, scale: Tensor, shift: Tensor, layer: int) -> Tensor:
        """Take one gain layer's output through its normalisation, activation and the next convolution."""
        return pointwise(self.layers[layer], F.leaky_relu_(features.mul(scale).add_(shift), 0.01))


class FastNCNet(nn.Module):
    """The default NCNet with BatchNorm and the upsampling folded into its convolutions."""

    MARGIN = 48  # pixels around a part of its output that it depends on: 41, in whole steps of the U-Net's stride
    ENCODER_MARGIN, DECODER_MARGIN = 4, 2  # rows, of the finest encoder and of a decoder with its upsampling

    def __init__(self, ncnet: NCNet):
        super().__init__()
        self.channels = ncnet.config["nc"]
        self.encoders = nn.ModuleList(map(folded, ncnet.encoders))
        decoders = [folded(decoder) for decoder in ncnet.decoders]
        self.joins = nn.ModuleList(FoldedJoin(decoder[0]) for decoder in decoders)
        self.decoders = nn.ModuleList(decoder[1:] for decoder in decoders)
        self.head = folded(ncnet.decoder_head)

    def forward(self, noise: Tensor) -> Tensor:
        """Compute NCNet: (N, 3, H, W) -> (N, 3, H, W), H and W multiples of 8."""
        skips = [in_bands(self.encoders[0], (noise,), self.ENCODER_MARGIN, self.channels)]
        for encoder in self.encoders[1:]:
            skips.append(encoder(skips[-1]))
        features = skips.pop()
        for level in range(len(self.decoders)):
            skip = skips.pop()
            features = in_bands(partial(self._decode, level), (features, skip), self.DECODER_MARGIN, skip.shape[1])
        return features

    def _decode(self, level: int, low: Tensor, skip: Tensor) -> Tensor:
        """Join and decode, at the finest level to the end."""
        features = self.decoders[level](self.joins[level](low, skip))
        if level + 1 < len(self.decoders):
            return features
        return self.head[1:](pointwise(self.head[0], features))


class FoldedJoin(nn.Module):
    """A decoder's nearest upsampling, concatenation and first convolution, without making what is between them.

    The convolution is the sum of one on the skip connection and one on the upsampled features; the latter is four 2x2
    convolutions before the upsampling, one for each position of the output pixel in its 2x2 block.
    """

    def __init__(self, conv: nn.Module):
        super().__init__()
        assert isinstance(conv, nn.Conv2d)
        out_nc, in_nc = conv.weight.shape[:2]
        low_nc = in_nc - out_nc  # the skip connection has the decoder's width
        self.skip = copy.deepcopy(conv)
        self.skip.weight = nn.Parameter(conv.weight[:, low_nc:].clone())
        phases = PHASES.to(conv.weight.device, torch.float64)
        weight = torch.einsum("pak,qbl,oikl->pqoiab", phases, phases, conv.weight[:, :low_nc].double())
        self.phases = nn.Conv2d(low_nc, 4 * out_nc, 2, padding=1, bias=False)
        self.phases.weight = nn.Parameter(weight.reshape(4 * out_nc, low_nc, 2, 2).to(conv.weight))

    def forward(self, low: Tensor, skip: Tensor) -> Tensor:
        """Join: (N, C', H, W), (N, C, 2 H, 2 W) -> (N, C, 2 H, 2 W)."""
        height, width = low.shape[-2:]
        joined = self.skip(skip)
        for number, phase in enumerate(self.phases(low).chunk(4, dim=1)):  # (N, C, H + 1, W + 1) each
            down, right = divmod(number, 2)
            joined[..., down::2, right::2] += phase[..., down : down + height, right : right + width]
        return joined


def fast_ncnet(ncnet: NCNet) -> nn.Module:
    """Make NCNet's inference form: FastNCNet of the published layers, a copy of the network of any other variant."""
    modes = [ncnet.config[name] for name in ("downsample_mode", "upsample_mode", "padding_mode")]
    is_published = modes == ["strideconv", "upsampling", "zeros"] and reach(ncnet) is not None
    return FastNCNet(ncnet) if is_published else copy.deepcopy(ncnet).eval()


class FastDnCNN(nn.Module):
    """DnCNN with BatchNorm folded into its convolutions."""

    def __init__(self, dncnn: DnCNN):
        super().__init__()
        self.margin, self.model = reach(dncnn.model), folded(dncnn.model)

    def forward(self, noisy: Tensor) -> Tensor:
        """Compute DnCNN: (N, 3, H, W) -> (N, 3, H, W)."""
        return noisy - self.model(noisy)


def fast_denoiser(network: nn.Module) -> nn.Module:
    """Make a denoiser's inference form: FastDnCNN, a copy of the network of any other architecture."""
    return FastDnCNN(network) if type(network) is DnCNN else copy.deepcopy(network).eval()
