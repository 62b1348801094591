"""White noise by position: every block of an image has its own random numbers, drawn one block after the other."""

import hashlib

import numpy as np
import torch
from torch import Tensor

BLOCK = 128  # pixels of a block's side; another number would give other noise from the same seed


def white_noise(seed: int, key: str, height: int, width: int) -> Tensor:
    """Draw an image's white noise, N(0, 1): -> (3, height, width) float32 on the CPU."""
    noise = torch.empty(1, 3, height, width)
    draw_white_noise(noise, seed, [key])
    return noise[0]


def draw_white_noise(images: Tensor, seed: int, keys: list[str]) -> None:
    """Fill images, (N, 3, H, W) on any device, with the white noise of their keys.

    Each block of 128x128 pixels follows from (seed, key, block row, block column) alone: a larger image begins with the
    same numbers, whatever device they then go to. The key tells images apart that share a seed.
    """
    height, width = images.shape[-2:]
    for image, key in zip(images, keys):
        for top in range(0, height, BLOCK):
            for left in range(0, width, BLOCK):
                place = image[:, top : top + BLOCK, left : left + BLOCK]
                block = _block(seed, key, top // BLOCK, left // BLOCK)
                place.copy_(block[:, : place.shape[1], : place.shape[2]])


def _block(seed: int, key: str, row: int, column: int) -> Tensor:
    """Draw a block from a counter-based generator (Salmon et al. 2011): the key is the image, the counter the place."""
    words = np.frombuffer(hashlib.sha256(f"{seed} {key}".encode()).digest()[:16], "<u8")
    random = np.random.Generator(np.random.Philox(key=words, counter=[0, 0, row, column]))
    return torch.from_numpy(random.standard_normal((3, BLOCK, BLOCK), dtype=np.float32))
