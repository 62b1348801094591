"""Exact inference on images of any size in bounded memory: tile by tile, each with what the network sees around it."""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inference.fast import FastGENet, FastNCNet, FastNPNet, fast_denoiser, on_cores
from models.blocks import exact_convolutions
from models.network_ncnet import UNET_STRIDE

GENET_SIDE = (
    256  # of GENet's tiles on the CPU: it sees only 6 pixels far, and small features are faster (inference.fast)
)
STRIP = (16, 512)  # rows and columns whose features of NPNet stay in a core's cache
WIDE_STRIP = (256, 1 << 20)  # on a GPU
KEPT_BYTES = 1 << 29  # NPNet's features up to this size are kept between passes, those of larger images computed again
DENOISER_TILE = 512  # pixels of a denoiser's tile's side
TURNS = tuple((quarters, flip) for quarters in range(4) for flip in (False, True))  # the symmetries of the square

Window = tuple[slice, slice]  # rows, columns
ToNetwork = Callable[[Tensor], Tensor]  # makes floats in [0, 1] of a part of an image, where the network is


def windows(height: int, width: int, side: int) -> list[Window]:
    """Cut an image into tiles of at most side x side pixels, as even as the U-Net's stride allows; 0: one tile."""

    def cut(length: int) -> list[slice]:
        count = -(-length // side) if side else 1
        step = _round_up(-(-length // count))
        return [slice(start, min(start + step, length)) for start in range(0, length, step)]

    return [(rows, columns) for rows in cut(height) for columns in cut(width)]


def surroundings(inner: Window, size: tuple[int, int], margin: int) -> Window:
    """Widen a tile by a margin, as far as the image of this height and width goes."""
    rows, columns = (
        slice(max(0, part.start - margin), min(length, part.stop + margin)) for part, length in zip(inner, size)
    )
    return rows, columns


def inside(inner: Window, outer: Window) -> Window:
    """Return a tile's place in the tile with its margin."""
    rows, columns = (slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(inner, outer))
    return rows, columns


def widest_float(device: torch.device) -> torch.dtype:
    """Return the number format for sums over images: float64, or float32 on Apple's GPUs, which have no wider one."""
    return torch.float32 if device.type == "mps" else torch.float64


def estimate_gain(genet: FastGENet, noisy: Tensor, side: int, to_network: ToNetwork) -> Tensor:
    """Estimate gains by GENet: (N, C, H, W) -> (N, 1, 1, 1)."""
    weight = next(genet.linear.parameters())
    if genet.margin is None:
        side = 0
    elif weight.device.type == "cpu":
        side = min(side or GENET_SIDE, GENET_SIDE)
    height, width = noisy.shape[-2:]

    def total(inner: Window) -> Tensor:
        outer = surroundings(inner, (height, width), genet.margin or 0)
        features = genet.features(to_network(noisy[(..., *outer)]))[(..., *inside(inner, outer))]
        mean = features.mean(dim=(2, 3), keepdim=True, dtype=widest_float(weight.device))  # (N, nc, 1, 1)
        return mean * features[0, 0].numel()

    sums = on_cores(total, windows(height, width, side), weight.device)
    mean = sum(sums, torch.zeros((), dtype=torch.float64, device="cpu")) / (height * width)
    return genet.linear(mean.to(weight.dtype))


def noise_levels(
    npnet: FastNPNet, clean: Tensor, gain: Tensor, to_network: ToNetwork
) -> Iterator[tuple[Window, Tensor]]:
    """Apply NPNet: clean (N, C, H, W), gain (N, 1, 1, 1) -> strips of its (N, C, H, W), their windows.

    NPNet normalises over the whole image, three times: one pass over it for each mean and standard deviation, one for
    the answer.
    """
    height, width = clean.shape[-2:]
    strips = list(_strips(height, width, *(STRIP if gain.device.type == "cpu" else WIDE_STRIP)))
    kept: dict[int, Tensor] = {}  # features of the newest layer, by strip
    normalisations: list[tuple[Tensor, Tensor]] = []

    def features(number: int) -> Tensor:
        if number in kept:
            return npnet.deepen(kept[number], *normalisations[-1], len(normalisations) - 1)
        result = npnet.first(to_network(_with_border(clean, strips[number])))
        for layer, normalisation in enumerate(normalisations):
            result = npnet.deepen(result, *normalisation, layer)
        return result

    keep = clean[:, 0].numel() * npnet.first.out_channels * gain.element_size() <= KEPT_BYTES

    def moments(number: int) -> Tensor:
        """Return a strip's count, mean and sum of squared differences from it: (3, N, 1, 1, 1)."""
        result = features(number)
        if keep:
            kept[number] = result
        mean = result.mean(dim=(1, 2, 3), keepdim=True)
        squares = (result - mean).square_().mean(dim=(1, 2, 3), keepdim=True).to(widest_float(result.device))
        count = torch.full_like(squares, result[0].numel())
        return torch.stack([count, mean.to(squares), squares * count])

    for _ in range(npnet.GAIN_LAYERS):
        parts = torch.stack(list(on_cores(moments, range(len(strips)), gain.device)))
        counts, means, squares = parts.unbind(1)
        normalisations.append(_normalisation(counts, means, squares, gain))
    levels = on_cores(lambda number: features(number).square(), range(len(strips)), gain.device)
    for number, of_strip in enumerate(levels):
        yield strips[number], of_strip
        kept.pop(number, None)


def _normalisation(counts: Tensor, means: Tensor, squares: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """Join the moments of strips, (S, N, 1, 1, 1) each, to the scale and shift that are NPNet's `gain_normalise`."""
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count
    variance = (squares + counts * (means - mean).square()).sum(0) / (count - 1)
    scale = gain.to(variance) / (variance.sqrt() + 1e-5)
    return scale.to(gain.dtype), (-mean * scale).to(gain.dtype)


def _strips(height: int, width: int, rows: int, columns: int) -> Iterator[Window]:
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield slice(top, min(top + rows, height)), slice(left, min(left + columns, width))


def _with_border(image: Tensor, strip: Window) -> Tensor:
    """Take a strip with the 3 pixels around it that the 7x7 convolution sees; the image goes on by reflection."""
    places = []
    for part, length in zip(strip, image.shape[-2:]):
        numbers = torch.arange(part.start - FastNPNet.MARGIN, part.stop + FastNPNet.MARGIN, device=image.device).abs()
        places.append(torch.where(numbers < length, numbers, 2 * (length - 1) - numbers))
    return image[..., places[0][:, None], places[1]]


def correlated_tiles(
    ncnet: nn.Module, noise: Tensor, side: int, to_network: ToNetwork
) -> Iterator[tuple[Window, Tensor]]:
    """Give white noise its neighbouring correlation, NCNet(v) + v: (N, 3, H, W) -> tiles of it, with their windows.

    As models.neca.correlate: sizes that are no multiples of the U-Net's stride are padded by reflection and cut back.
    NCNets in no fast form take the whole image at once.
    """
    height, width = noise.shape[-2:]
    padded = _round_up(height), _round_up(width)
    for inner in windows(*padded, side if isinstance(ncnet, FastNCNet) else 0):
        outer = surroundings(inner, padded, FastNCNet.MARGIN)
        around = noise[(..., *outer)]  # ends where the image does
        lower, right = (part.stop - part.start - there for part, there in zip(outer, around.shape[-2:]))
        if lower or right:
            around = F.pad(around, (0, right, 0, lower), mode="reflect")
        correlated = ncnet(to_network(around))[(..., *inside(inner, outer))]
        own = noise[(..., *inner)]
        rows, columns = (slice(part.start, min(part.stop, length)) for part, length in zip(inner, (height, width)))
        yield (rows, columns), correlated[..., : own.shape[-2], : own.shape[-1]] + own


def _round_up(length: int) -> int:
    return -(-length // UNET_STRIDE) * UNET_STRIDE


class TiledDenoiser(nn.Module):
    """A denoiser in its inference form, (N, 3, H, W) -> (N, 3, H, W), on images of any size.

    tile: side of a tile in pixels, rounded up to a multiple of 8, 0 for whole images; it changes memory and speed, not
    the result. The network's `margin` says how many pixels a tile needs around it; a network without one, or with None,
    sees the whole image, as instance normalisation and channel attention do, and takes it at once. self_ensemble: the
    mean over the eight flips and rotations of the image (Timofte et al. 2016), eight times the work.
    """

    def __init__(
        self,
        network: nn.Module,
        tile: int = DENOISER_TILE,
        self_ensemble: bool = False,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.network = fast_denoiser(network)
        self.margin: int | None = getattr(self.network, "margin", None)
        self.tile, self.self_ensemble = 0 if self.margin is None else tile, self_ensemble
        self.requires_grad_(False).eval().to(dtype)

    @torch.no_grad()
    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise: (N, 3, H, W) in [0, 1] -> (N, 3, H, W), not clipped, where and in the type that the noisy one is."""
        with exact_convolutions(next(self.network.parameters()).device):
            if not self.self_ensemble:
                return self._denoise(noisy)
            turns = (turned_back(self._denoise(turned(noisy, *turn)), *turn) for turn in TURNS)
            return sum(turns, torch.zeros((), dtype=noisy.dtype, device="cpu")) / len(TURNS)

    def _denoise(self, noisy: Tensor) -> Tensor:
        (height, width), weight = noisy.shape[-2:], next(self.network.parameters())
        memory = torch.channels_last if weight.device.type == "cpu" else torch.contiguous_format

        def denoise(inner: Window) -> Tensor:
            outer = surroundings(inner, (height, width), self.margin or 0)
            part = noisy[(..., *outer)].to(weight.device, weight.dtype).contiguous(memory_format=memory)
            return self.network(part)[(..., *inside(inner, outer))]

        tiles, denoised = windows(height, width, self.tile), torch.empty_like(noisy)
        for inner, tile in zip(tiles, on_cores(denoise, tiles, weight.device)):
            denoised[(..., *inner)] = tile.to(noisy)
        return denoised


def turned(images: Tensor, quarters: int, flip: bool) -> Tensor:
    """Mirror images from left to right, if asked for, and rotate them by quarter turns: (..., H, W) -> a view."""
    return torch.rot90(images.flip(-1) if flip else images, quarters, (-2, -1))


def turned_back(images: Tensor, quarters: int, flip: bool) -> Tensor:
    """Undo `turned`."""
    images = torch.rot90(images, -quarters, (-2, -1))
    return images.flip(-1) if flip else images
