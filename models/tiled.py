"""Exact synthesis for images of any size in bounded memory: the networks tile by tile, with what they see around it."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.fast import FastGENet, FastNCNet
from models.network_ncnet import STRIDE
from models.threads import on_cores

GENET_SIDE = 256  # of GENet's tiles on the CPU: it sees only 6 pixels far, and small features are faster (models.fast)
Window = tuple[slice, slice]  # rows, columns


def windows(height: int, width: int, side: int) -> list[Window]:
    """Cut an image into tiles of at most side x side pixels, as even as the U-Net's stride allows; 0: one tile."""

    def cut(length: int) -> list[slice]:
        count = -(-length // side) if side else 1
        step = _round_up(-(-length // count))
        return [slice(start, min(start + step, length)) for start in range(0, length, step)]

    return [(rows, columns) for rows in cut(height) for columns in cut(width)]


def surroundings(inner: Window, size: tuple[int, int], margin: int) -> Window:
    """Widen a tile by a margin, as far as the image of this height and width goes."""
    return tuple(
        slice(max(0, part.start - margin), min(length, part.stop + margin)) for part, length in zip(inner, size)
    )


def inside(inner: tuple[slice, ...], outer: tuple[slice, ...]) -> tuple[slice, ...]:
    """Where a tile lies in the tile with its margin."""
    return tuple(slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(inner, outer))


def require_one_tile(name: str, shape: tuple[int, ...], side: int) -> None:
    """Raise ValueError when an image that a network must see whole is larger than a tile."""
    if side and max(shape[-2:]) > side:
        raise ValueError(
            f"{name} with instance normalisation sees the whole image: {shape[-2]}x{shape[-1]} pixels, expected at "
            f"most {side}x{side}; use a larger tile, or tile=0 for none"
        )


def estimate_gain(genet: FastGENet, noisy: Tensor, side: int, to_network: Callable[[Tensor], Tensor]) -> Tensor:
    """Estimate gains by GENet: (N, 3, H, W) -> (N, 1, 1, 1). `to_network` makes floats in [0, 1] of a part of it."""
    if genet.needs_whole_image:
        require_one_tile("GENet", noisy.shape, side)
    weight = genet.linear[0].weight
    if weight.device.type == "cpu" and not genet.needs_whole_image:
        side = min(side or GENET_SIDE, GENET_SIDE)
    height, width = noisy.shape[-2:]

    def total(inner: Window) -> Tensor:
        outer = surroundings(inner, (height, width), genet.margin)
        features = genet.features(to_network(noisy[(..., *outer)]))[(..., *inside(inner, outer))]
        mean = features.mean(dim=(2, 3), keepdim=True, dtype=torch.float64)  # (N, nc, 1, 1)
        return mean * features[0, 0].numel()

    mean = sum(on_cores(total, windows(height, width, side), weight.device)) / (height * width)
    return genet.linear(mean.to(weight.dtype))


def correlate(
    ncnet: FastNCNet, noise: Tensor, side: int, to_network: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Window, Tensor]]:
    """Give white noise its neighbouring correlation, NCNet(v) + v: (N, 3, H, W) -> tiles of it, with their windows.

    As models.neca.correlate: sizes that are no multiples of the U-Net's stride are padded by reflection and cut back.
    """
    if ncnet.needs_whole_image:
        require_one_tile("NCNet", noise.shape, side)
    height, width = noise.shape[-2:]
    for rows, columns in windows(_round_up(height), _round_up(width), side):
        row_numbers, tile_rows, row_seams = _surroundings(rows, height, ncnet)
        column_numbers, tile_columns, column_seams = _surroundings(columns, width, ncnet)
        around = noise[:, :, row_numbers.to(noise.device)][..., column_numbers.to(noise.device)]
        correlated = ncnet(to_network(around), (row_seams, column_seams))[..., tile_rows, tile_columns]
        window = slice(rows.start, min(rows.stop, height)), slice(columns.start, min(columns.stop, width))
        own = noise[(..., *window)]
        yield window, correlated[..., : own.shape[-2], : own.shape[-1]] + own


def _surroundings(part: slice, length: int, ncnet: FastNCNet) -> tuple[Tensor, slice, list[int]]:
    """What NCNet sees of a side to compute a part of it.

    -> the numbers of the image's pixels, the part among them, and where the image's own borders run through them.
    """
    padded = _round_up(length)
    outer = _widen(part, padded, ncnet.margin)
    if ncnet.wraps and part.stop - part.start < padded:
        outer = slice(part.start - _round_up(ncnet.margin), part.stop + _round_up(ncnet.margin))
    numbers = torch.arange(outer.start, outer.stop)
    seams = [place for place in range(1, len(numbers)) if numbers[place] % padded == 0]
    numbers = numbers % padded
    numbers = torch.where(numbers < length, numbers, 2 * (length - 1) - numbers)  # reflection up to the stride
    return numbers, inside((part,), (outer,))[0], seams


def _round_up(length: int) -> int:
    return -(-length // STRIDE) * STRIDE


def _widen(part: slice, length: int, margin: int) -> slice:
    """Add a margin to a part of a side, aligned to the U-Net's stride and as far as the image goes."""
    start, stop = part.start - margin, part.stop + margin
    return slice(max(0, start // STRIDE * STRIDE), min(length, _round_up(stop)))
