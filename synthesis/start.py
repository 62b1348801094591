"""A training's start from measurements of its images."""

import numpy as np
import torch
from torch import Tensor, nn

from data.pairs import Reader
from models.fitting import fit_noise
from models.measured import start_from_measurements
from utils.randomness import evenly_spaced

IMAGES = 100  # evenly spaced over the training images
SET_BY = 20  # of them set GENet's and NPNet's weights,
MIDDLE = 256  # by as many pixels a side
FIT_ONLY = (
    "fitted, not trained: can make noise of the measured level and mean by intensity, at gains near the images' own, "
    "and of the measured correlation; cannot make its skew, nor vouch for colours that the images lack"
)


def measured_start(reader: Reader, networks: dict[str, nn.Module], num_workers: int, to_train: bool) -> None:
    """Fit the noise of all training images, whatever their ISO, and let networks begin from it, in place.

    Args:
        reader: the training images.
        networks: E, G1 and G2, for `start_from_measurements`.
        num_workers: threads.
        to_train: training follows.

    Raises:
        ValueError: as `models.fitting.fit_noise` and `start_from_measurements`.
    """
    chosen = evenly_spaced(range(len(reader)), IMAGES)

    def read(index: int) -> list[tuple]:
        return [(reader.name(index), *reader.pair(index), tuple(reader.origins[index]))]

    found = fit_noise({"all": chosen}, read, num_workers)
    pairs = [reader.pair(index) for index in evenly_spaced(chosen, SET_BY)]
    cut = [(_middle(clean), _middle(noisy)) for clean, noisy in pairs]
    start_from_measurements(networks, found["all"], cut, to_train)


def _middle(image_uint8: np.ndarray) -> Tensor:
    """Cut an image to its middle: (H, W, C) -> (1, C, H', W') in [0, 1]."""
    height, width = image_uint8.shape[:2]
    top, left = max(height - MIDDLE, 0) // 2, max(width - MIDDLE, 0) // 2
    middle = np.ascontiguousarray(image_uint8[top : top + MIDDLE, left : left + MIDDLE])
    return torch.from_numpy(middle).permute(2, 0, 1)[None].float() / 255
