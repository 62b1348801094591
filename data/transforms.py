"""Geometry of training patches."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def dihedral(image: np.ndarray, mode: int) -> np.ndarray:
    """One of the 8 flips and rotations of a square: (P, P, C), mode 0..7 -> (P, P, C), a view.

    Mode 0 is the identity; bits 0 and 1 are quarter turns, bit 2 a left-right flip before them.
    """
    if mode & 4:
        image = image[:, ::-1]
    return np.rot90(image, mode & 3)


def dihedral_batch(images: Tensor, modes: Tensor) -> Tensor:
    """`dihedral` of each image by its own mode, on the images' device: (N, P, P, C), (N,) -> (N, P, P, C)."""
    count, size, _, channels = images.shape
    places = _dihedral_places(size, images.device)[modes.to(images.device, non_blocking=True)]  # (N, P * P)
    places = places + torch.arange(count, device=images.device)[:, None] * (size * size)
    return images.reshape(-1, channels).index_select(0, places.ravel()).view_as(images)


@lru_cache(maxsize=4)
def _dihedral_places(size: int, device: torch.device) -> Tensor:
    """Which pixel of a square comes to each place: (8, P * P)."""
    pixels = np.arange(size * size).reshape(size, size, 1)
    return torch.from_numpy(np.stack([dihedral(pixels, mode).ravel() for mode in range(8)])).to(device)
