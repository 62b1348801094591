"""Old names for `data.pairs`, until all of evaluation/ and synthesis/ uses that."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from data import pairs as image_pairs
from data.crop import PUBLISHED_CROPS as PUBLISHED_CROPS
from data.sidd import Scene
from utils.randomness import evenly_spaced


class Frame(NamedTuple):
    """The pairs of a pair of files."""

    pairs: tuple[image_pairs.ImagePair, ...]

    @property
    def scene(self) -> Scene:
        """Return the scene."""
        return self.pairs[0].scene

    @property
    def pair(self) -> tuple[Path, Path]:
        """Return the files."""
        return self.pairs[0].clean, self.pairs[0].noisy

    @property
    def other(self) -> tuple[Path, Path] | None:
        """Return the files of another frame."""
        return self.pairs[0].other

    @property
    def count(self) -> int:
        """Return the number of samples."""
        return len(self.pairs)


class Sample(NamedTuple):
    """One image to evaluate on."""

    name: str
    scene: Scene
    noisy_file: Path
    box: tuple[slice, slice]
    clean: np.ndarray  # (H, W, 3) uint8
    noisy: np.ndarray  # (H, W, 3) uint8
    other_noise: np.ndarray | None


def find_frames(folders: list[Path], most: int = 0) -> list[Frame]:
    """List the pairs of scene folders by file."""
    return [Frame(tuple(of)) for of in image_pairs.by_file(evenly_spaced(image_pairs.find_pairs(list(folders)), most))]


def read_samples(frame: Frame, with_other: bool) -> list[Sample]:
    """Read the pairs of a frame."""
    samples = []
    for pair, clean, noisy, other_noise in image_pairs.read_samples(list(frame.pairs), with_other):
        top, left, height, width = pair.box
        box = np.s_[top : top + height, left : left + width]
        name = Path(pair.name).stem
        samples.append(Sample(name, pair.scene, pair.noisy, box, clean, noisy, other_noise))
    return samples
