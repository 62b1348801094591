"""Strengths for users' own images: of the noisy image of each, of one of some noisy images, or by other rules."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from data.folders import ImageJob, find_images
from noise.camera import CameraNoise
from noise.interface import Images
from noise.strengths import Drawn, Multiple, OneOf, Strength
from utils.files import sha256_of
from utils.image import PHOTO_SUFFIXES, read_photo

Wrapped = Callable[[Strength], Strength]


class OneOfImages(OneOf):
    """The strength of a noisy image, or one of those of a folder, which `measure` measures."""

    def __init__(self, path: str | Path):
        self.images = _noisy_images(Path(path))
        super().__init__([], sha256_of(self.images))

    def measure(self, noise: CameraNoise, max_megapixels: float, channels: int) -> None:
        """Measure the strengths to draw from. Raises ValueError that names an image that cannot be used."""
        found = []
        for path in tqdm(self.images, desc="strengths", unit="image", leave=False, disable=None):
            noisy = as_network_input(read_photo(path, max_megapixels, channels).pixels)
            found.append((str(path), noise.measure(noisy, None, path)))
        self.named = found


def strengths_of(job: ImageJob, strength: Strength, shape: tuple[int, ...], seed: int) -> list[Drawn]:
    """Choose a strength for each of an image's targets, by the seed, its name and the number of the draw alone.

    shape: (H, W, C) of the image.
    """
    blank = torch.empty(1, shape[2], *shape[:2], device="meta")
    isos = [] if job.iso is None else [job.iso]
    return [
        strength.draw(Images(blank, isos=isos, uniform=[random.Random(f"{seed} strength {job.key(target.draw)}")]))
        for target in job.targets
    ]


def strength_of_partner(job: ImageJob, clean: np.ndarray, noise: CameraNoise, max_megapixels: float) -> Strength:
    """Measure the real noisy image of a clean one, (H, W, C) uint8 or float. Raises ValueError that names it."""
    assert job.partner is not None
    noisy = read_photo(job.partner, max_megapixels, clean.shape[2]).pixels
    if noisy.shape[:2] != clean.shape[:2]:
        sizes = [f"{height}x{width}" for height, width in (noisy.shape[:2], clean.shape[:2])]
        raise ValueError(f"{job.partner}: {sizes[0]} pixels, but {job.source} has {sizes[1]}; expected the same")
    return OneOf([(str(job.partner), noise.measure(as_network_input(noisy), clean, job.partner))])


def multiple(noise: CameraNoise, times: tuple[float, float] | None) -> Wrapped:
    """Return what multiplies strengths by a factor drawn from an interval; None: nothing."""
    return lambda strength: strength if times is None else Multiple(strength, *times, noise.times)


def as_network_input(image: np.ndarray) -> np.ndarray:
    """Convert an image to what the generator accepts: uint8 as it is, uint16 to float32 in [0, 1]."""
    return image if image.dtype == np.uint8 else image.astype(np.float32) / 65535


def _noisy_images(path: Path) -> list[Path]:
    if path.is_dir():
        found = find_images(path)
        if found.problems:
            raise ValueError(found.problems[0])
        return [path / name for name in found.names]
    if not path.is_file():
        raise ValueError(f"{path}: no such file or folder")
    if path.suffix.lower() not in PHOTO_SUFFIXES:
        raise ValueError(f"{path}: expected {' '.join(PHOTO_SUFFIXES)} or a folder")
    return [path]
