"""A training's start from measurements of its images."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from data.pairs import Reader
from noise.fitting import fit_noise
from noise.measured import start_from_measurements
from utils.randomness import evenly_spaced

IMAGES = 100  # evenly spaced over the training images
SET_BY = 20  # of them set GENet's and NPNet's weights,
MIDDLE = 256  # by as many pixels a side
FIT_ONLY = (
    "fitted, not trained: can make noise of the measured level and mean by intensity, at gains near the images' own, "
    "and of the measured correlation; cannot make its skew, nor vouch for colours that the images lack"
)


def measured_start(
    reader: Reader, cameras: Sequence[str], networks: dict[str, nn.Module], num_workers: int, to_train: bool
) -> None:
    """Fit the noise of each camera's training images, whatever their ISO, and let networks begin from it, in place.

    Args:
        reader: the training images.
        cameras: the codes, in the networks' order.
        networks: E, G1 and G2, for `start_from_measurements`.
        num_workers: threads.
        to_train: training follows.

    Raises:
        ValueError: as `noise.fitting.fit_noise` and `start_from_measurements`.
    """
    of_camera: dict[str, list[int]] = {camera: [] for camera in cameras}
    for index in range(len(reader)):
        of_camera[reader.camera(index)].append(index)
    chosen = {camera: evenly_spaced(indices, IMAGES) for camera, indices in of_camera.items()}

    def read(index: int) -> list[tuple]:
        return [(reader.name(index), *reader.pair(index), tuple(reader.origins[index]))]

    def middles(camera: str) -> list[tuple[Tensor, Tensor]]:
        pairs = [reader.pair(index) for index in evenly_spaced(chosen[camera], SET_BY)]
        return [(_middle(clean), _middle(noisy)) for clean, noisy in pairs]

    found = fit_noise(chosen, read, num_workers)
    start_from_measurements(networks, [(found[camera], middles(camera)) for camera in cameras], to_train)


def _middle(image_uint8: np.ndarray) -> Tensor:
    """Cut an image to its middle: (H, W, C) -> (1, C, H', W') in [0, 1]."""
    height, width = image_uint8.shape[:2]
    top, left = max(height - MIDDLE, 0) // 2, max(width - MIDDLE, 0) // 2
    middle = np.ascontiguousarray(image_uint8[top : top + MIDDLE, left : left + MIDDLE])
    return torch.from_numpy(middle).permute(2, 0, 1)[None].float() / 255
