"""What two pictures have in common: place, content, noise."""

import numpy as np
import pytest

from data.demo.content import compose
from data.likeness import find_shift

SIDE, MARGIN = 256, 8


def board(number=0, side=SIDE):
    """A picture of the demo camera's board with a margin: (H, W) grey levels."""
    return 255 * compose(side + 2 * MARGIN, side + 2 * MARGIN, "test", np.random.default_rng(number)).mean(2)


def seen(scene, std, seed, rows=0, columns=0):
    """A noisy picture of a scene whose content lies so much lower and further right."""
    height, width = (side - 2 * MARGIN for side in scene.shape)
    cut = scene[MARGIN - rows : MARGIN - rows + height, MARGIN - columns : MARGIN - columns + width]
    noise = std * np.random.default_rng(seed).standard_normal(cut.shape)
    return np.clip(cut + noise, 0, 255).round().astype(np.float32)


@pytest.mark.parametrize("side, std", [(64, 10), (128, 40), (256, 20)])
def test_no_amount_of_noise_moves_a_picture(side, std):
    scenes = [board(number, side) for number in range(3)]
    scenes += [np.full_like(scenes[0], 128), np.mgrid[: side + 16, : side + 16][0] / 2 + 60.0]  # walls
    for number, scene in enumerate(scenes):
        found = find_shift(seen(scene, std, [number, 0]), seen(scene, std, [number, 1]))
        assert np.abs(found).max() < 0.25, number


@pytest.mark.parametrize("rows, columns", [(1, 0), (0, -2), (5, 3), (-8, 8)])
def test_a_movement_is_found_in_strong_noise(rows, columns):
    scene = board(1)
    found = find_shift(seen(scene, 20, 0), seen(scene, 20, 1, rows, columns))
    np.testing.assert_allclose(found, (rows, columns), atol=0.2)
