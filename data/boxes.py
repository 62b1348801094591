"""Where frames are cut into overlapping crops, and what the crops are called."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """A rectangle of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """Return this part of an image, (H, W, ...) -> (height, width, ...), a view."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class CropSettings:
    """Sizes that determine the crops, in pixels. Raises ValueError for impossible ones."""

    size: int  # side of a crop
    overlap: int  # pixels that neighbours share
    threshold: int  # an image is cut if both its sides exceed it

    def __post_init__(self) -> None:
        if self.overlap >= self.size:
            raise ValueError(f"overlap {self.overlap}: expected less than the size {self.size}")
        if self.size > self.threshold + 1:
            raise ValueError(
                f"size {self.size}: expected at most {self.threshold + 1} (the threshold + 1), or an image just over "
                f"the threshold would be smaller than its crops"
            )

    def origins(self, length: int) -> list[int]:
        """List where the crops begin along a side: at every stride, and the last one flush with the end."""
        last = length - self.size
        return [*range(0, last, self.size - self.overlap), last]

    def boxes(self, height: int, width: int) -> list[Box]:
        """Cut an image into crops, row by row. A small image stays whole."""
        if height <= self.threshold or width <= self.threshold:
            return [Box(0, 0, height, width)]
        return [Box(y, x, self.size, self.size) for y in self.origins(height) for x in self.origins(width)]


PUBLISHED_CROPS = CropSettings(size=512, overlap=128, threshold=800)


def crop_name(image: Path, number: int) -> str:
    """Name the crop of an image by its number, from 1."""
    return f"{image.stem}_{number:05d}.png"
