"""A training's start from measurements of its images."""

import numpy as np
import torch
from torch import Tensor, nn

from data.pairs import Reader
from models.fitting import Fit, fit_noise
from models.measured import start_from_measurements
from utils.randomness import evenly_spaced

IMAGES = 100  # evenly spaced over the training images


def measured_noise(reader: Reader, num_workers: int) -> Fit:
    """Fit the noise of all training images, whatever their ISO. Raises ValueError as `models.fitting.fit_noise`.

    Images count as beginning with the mosaic's first pixel, as crops of Crop_SIDD.py do.
    """
    chosen = evenly_spaced(range(len(reader)), IMAGES)
    found = fit_noise({"all": chosen}, lambda index: [(reader.name(index), *reader.pair(index), (0, 0))], num_workers)
    return found["all"]


def start_measured(networks: dict[str, nn.Module], kernel: Tensor, reader: Reader, patch_size: int) -> None:
    """Set E, G1 and G2 by `start_from_measurements`, on the middles of training images. Raises ValueError as that."""
    pairs = [reader.pair(index) for index in evenly_spaced(range(len(reader)), IMAGES)]
    clean, noisy = (torch.stack([_middle(pair[side], patch_size) for pair in pairs]) for side in (0, 1))
    start_from_measurements(networks, kernel, clean, noisy)


def _middle(image_uint8: np.ndarray, size: int) -> Tensor:
    top, left = ((side - size) // 2 for side in image_uint8.shape[:2])
    patch = np.ascontiguousarray(image_uint8[top : top + size, left : left + size])
    return torch.from_numpy(patch).permute(2, 0, 1).float() / 255
