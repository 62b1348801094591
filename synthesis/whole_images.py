"""What the tests during a training share: a walk over whole images, and means of what was measured."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from data.batches import batches_of

Measure = Callable[[int, dict[str, Any]], dict[str, float]]  # number and batch of one image -> values


def mean_over_images(loader: DataLoader, measure: Measure) -> dict[str, float]:
    """Measure whole test images, with a progress bar -> means of the values.

    Values that are unknown (nlf of small images, psnr of equal ones) are left out of the means.
    """
    bar = {"desc": "test", "unit": "image", "position": 2, "leave": False, "disable": None}
    with batches_of(loader) as batches:
        rows = [measure(number, batch) for number, batch in enumerate(tqdm(batches, total=len(loader), **bar))]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    known = {name: value[np.isfinite(value)] for name, value in values.items()}
    return {name: float(value.mean()) for name, value in known.items() if value.size}


def to_hwc(image: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) on any device -> (H, W, 3)."""
    return image[0].permute(1, 2, 0).cpu().numpy()
