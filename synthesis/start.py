"""A training's start from measurements of its images."""

import numpy as np
import torch
from torch import Tensor, nn

from data.pairs import Reader
from models.fitting import fit_noise
from models.measured import start_from_measurements
from models.networks import config_of
from utils.randomness import evenly_spaced

IMAGES = 100  # evenly spaced over the training images


def measured_start(reader: Reader, networks: dict[str, nn.Module], patch_size: int, num_workers: int) -> None:
    """Fit the noise of all training images, whatever their ISO, and let networks begin from it, in place.

    Args:
        reader: the training images, which count as beginning with the mosaic's first pixel.
        networks: E, G1 and G2, for `start_from_measurements`.
        patch_size: side of the patches that training will see.
        num_workers: threads.

    Raises:
        ValueError: as `models.fitting.fit_noise` and `start_from_measurements`.
    """
    chosen = evenly_spaced(range(len(reader)), IMAGES)
    found = fit_noise({"all": chosen}, lambda index: [(reader.name(index), *reader.pair(index), (0, 0))], num_workers)
    pairs = [reader.pair(index) for index in chosen]
    clean, noisy = (torch.stack([_middle(pair[side], patch_size) for pair in pairs]) for side in (0, 1))
    kernel = found["all"].phase_kernel if config_of(networks["G2"])["mosaic"] else found["all"].kernel
    start_from_measurements(networks, kernel, clean, noisy)


def _middle(image_uint8: np.ndarray, size: int) -> Tensor:
    top, left = ((side - size) // 2 for side in image_uint8.shape[:2])
    patch = np.ascontiguousarray(image_uint8[top : top + size, left : left + size])
    return torch.from_numpy(patch).permute(2, 0, 1).float() / 255
