"""Geometry of training patches."""

import numpy as np


def crop_patch(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    """Cut a square patch: (H, W, C) -> (size, size, C), a view."""
    return image[top : top + size, left : left + size]


def dihedral(image: np.ndarray, mode: int) -> np.ndarray:
    """One of the 8 flips and rotations of a square: (P, P, C), mode 0..7 -> (P, P, C), a view.

    Mode 0 is the identity; bits 0 and 1 are quarter turns, bit 2 a left-right flip before them.
    """
    if mode & 4:
        image = image[:, ::-1]
    return np.rot90(image, mode & 3)
