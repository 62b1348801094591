"""White noise by position: every block of an image has its own random numbers, so any rectangle can be drawn alone."""

import hashlib

import numpy as np
import torch
from torch import Tensor

BLOCK = 128  # pixels of a block's side; another number would give other noise from the same seed


def white_noise(seed: int, key: str, height: int, width: int, top: int = 0, left: int = 0) -> Tensor:
    """Draw a rectangle of an image's white noise, N(0, 1): -> (3, height, width) float32 on the CPU.

    Each block of 128x128 pixels follows from (seed, key, block row, block column) alone: a rectangle holds the same
    numbers however the image is cut, and whatever device it then goes to. The key tells images apart that share a seed.
    """
    noise = torch.empty(3, height, width)
    for row in range(top // BLOCK, -(-(top + height) // BLOCK)):
        for column in range(left // BLOCK, -(-(left + width) // BLOCK)):
            rows, block_rows = _overlap(row * BLOCK, top, height)
            columns, block_columns = _overlap(column * BLOCK, left, width)
            noise[:, rows, columns] = _block(seed, key, row, column)[:, block_rows, block_columns]
    return noise


def draw_white_noise(images: Tensor, seed: int, keys: list[str]) -> None:
    """Fill images, (N, 3, H, W) on any device, with the white noise of their keys."""
    height, width = images.shape[-2:]
    for image, key in zip(images, keys):
        for top in range(0, height, BLOCK):
            rows = min(BLOCK, height - top)
            image[:, top : top + rows] = white_noise(seed, key, rows, width, top)


def _block(seed: int, key: str, row: int, column: int) -> Tensor:
    """Draw a block from a counter-based generator (Salmon et al. 2011): the key is the image, the counter the place."""
    words = np.frombuffer(hashlib.sha256(f"{seed} {key}".encode()).digest()[:16], "<u8")
    random = np.random.Generator(np.random.Philox(key=words, counter=[0, 0, row, column]))
    return torch.from_numpy(random.standard_normal((3, BLOCK, BLOCK), dtype=np.float32))


def _overlap(block_start: int, start: int, length: int) -> tuple[slice, slice]:
    """Where a block and a rectangle overlap along one side: -> in the rectangle's pixels, in the block's."""
    first, last = max(block_start, start), min(block_start + BLOCK, start + length)
    return slice(first - start, last - start), slice(first - block_start, last - block_start)
