"""NPNet for images of any size in bounded memory, though it normalises over the whole image, three times."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.fast import FastNPNet
from models.threads import on_cores
from models.tiled import Window

STRIP = (16, 512)  # rows and columns whose features stay in a core's cache
WIDE_STRIP = (256, 1 << 20)  # on a GPU
KEPT_BYTES = 1 << 29  # features up to this size are kept between the passes, those of larger images computed again
GAIN_LAYERS = 3


class Moments:
    """Mean and unbiased standard deviation of each sample, part by part, in float64 (Chan et al. 1983)."""

    def __init__(self):
        self.count, self.mean, self.squares = 0, 0.0, 0.0  # squares: of the differences from the mean

    def add(self, count: int, mean: Tensor, squares: Tensor) -> None:
        """Take in the moments of a part."""
        difference, total = mean - self.mean, self.count + count
        self.squares = self.squares + squares + difference.square() * (self.count * count / total)
        self.mean = self.mean + difference * (count / total)
        self.count = total

    def normalisation(self, gain: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, (N, 1, 1, 1) each, that are `models.gain_normalise`."""
        scale = gain.double() / ((self.squares / (self.count - 1)).sqrt() + 1e-5)
        return scale.to(gain.dtype), (-self.mean * scale).to(gain.dtype)


def part_moments(features: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count, mean and sum of squared differences from it: (N, C, H, W) -> number, two (N, 1, 1, 1) float64."""
    count = features[0].numel()
    mean = features.mean(dim=(1, 2, 3), keepdim=True)
    squares = (features - mean).square_().mean(dim=(1, 2, 3), keepdim=True)
    return count, mean.double(), squares.double() * count


def noise_levels(
    npnet: FastNPNet, clean: Tensor, gain: Tensor, to_network: Callable[[Tensor], Tensor]
) -> Iterator[tuple[Window, Tensor]]:
    """Predict noise levels: clean (N, 3, H, W), gain (N, 1, 1, 1) -> strips of (N, 3, H, W), with their windows.

    `to_network` makes floats in [0, 1] of a part of the image. One pass over the image for each normalisation's mean
    and standard deviation, one for the answer.
    """
    strips = list(_strips(*clean.shape[-2:], *(STRIP if gain.device.type == "cpu" else WIDE_STRIP)))
    kept: dict[int, Tensor] = {}  # features of the newest layer, by strip
    normalisations: list[tuple[Tensor, Tensor]] = []

    def features(number: int) -> Tensor:
        if number in kept:
            return npnet.deepen(kept[number], *normalisations[-1], len(normalisations) - 1)
        result = npnet.first(to_network(_with_border(clean, strips[number])))
        for layer, normalisation in enumerate(normalisations):
            result = npnet.deepen(result, *normalisation, layer)
        return result

    keep = clean.numel() // 3 * npnet.first.out_channels * gain.element_size() <= KEPT_BYTES

    def moments_of(number: int) -> tuple[int, Tensor, Tensor]:
        result = features(number)
        if keep:
            kept[number] = result
        return part_moments(result)

    for _ in range(GAIN_LAYERS):
        moments = Moments()
        for part in on_cores(moments_of, range(len(strips)), gain.device):
            moments.add(*part)
        normalisations.append(moments.normalisation(gain))
    levels = on_cores(lambda number: features(number).square_(), range(len(strips)), gain.device)
    for number, level in enumerate(levels):
        yield strips[number], level
        kept.pop(number, None)


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
