"""What two pictures have in common: place, content, noise."""

import numpy as np
import pytest

from data.boxes import CropSettings
from data.crop import CropJob, crop_pair
from data.demo.content import compose
from data.folders import NamedPair
from data.likeness import find_shift, shows_other_content
from data.pairs import read_files
from data.sidd import EXAMPLE_SCENE as SCENE
from data.sidd import find_frames, find_scenes
from noise import load_noise
from tests.conftest import ROOT, SHARED
from utils.image import read_image, write_image

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


def pair(scene, std, seed=0):
    """A clean and a noisy image of a board: (H, W, 3) uint8 each."""
    clean = np.repeat(scene[MARGIN:-MARGIN, MARGIN:-MARGIN, None], 3, 2).round().astype(np.uint8)
    noise = std * np.random.default_rng(seed).standard_normal(clean.shape)
    return clean, np.clip(clean + noise, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("turn", [lambda image: image[::-1, ::-1], lambda image: image[:, ::-1], None])
@pytest.mark.parametrize("std", [2, 20])
def test_a_noisy_image_of_something_else_or_turned_is_told(std, turn):
    clean, noisy = pair(board(1), std)
    other = pair(board(2), std)[1] if turn is None else np.ascontiguousarray(turn(noisy))
    assert shows_other_content(clean, other)


@pytest.mark.parametrize("std", [0, 5, 40, 120])
@pytest.mark.parametrize(
    "change",
    [
        lambda scene: scene,
        lambda scene: scene / 20,  # in darkness
        lambda scene: scene + 180,  # overexposed, most of it
        lambda scene: np.zeros_like(scene),
        lambda scene: np.full_like(scene, 255),
        lambda scene: np.full_like(scene, 128),  # a flat chart
        lambda scene: np.mgrid[: len(scene), : len(scene)][0] / 2 + 50.0,
    ],
)
def test_a_real_pair_passes_whatever_its_noise(std, change):
    assert not shows_other_content(*pair(np.clip(change(board(3)), 0, 255), std))


@pytest.mark.parametrize("darkness", [3, 6, 8])
def test_a_dark_picture_with_the_noise_of_a_high_iso_passes_and_another_one_of_the_day_does_not(darkness):
    camera = load_noise(ROOT / "pretrain" / "S6")
    for number in range(4):
        clean = pair(board(number) / darkness, 0)[0]
        assert not shows_other_content(clean, camera.synthesize(clean, 3200, seed=number))
        assert shows_other_content(pair(board(number), 0)[0], camera.synthesize(pair(board(9), 0)[0], 3200))


@pytest.mark.skipif(not (SHARED / "real").is_dir(), reason="needs ../shared")
def test_every_real_pair_passes():
    for root in ("RENOIR_T3_Srgb_Parts", "SIDD_Small_256", "SIDD_Srgb_Parts"):
        for folder in find_scenes(SHARED / "real" / root)[::6]:
            for clean, noisy in find_frames(folder)[0][:1]:
                assert not shows_other_content(read_image(clean), read_image(noisy)), noisy


@pytest.mark.parametrize("reading", ["training", "cropping", "quick test"])
def test_a_pair_of_different_content_is_refused_by_name_where_it_is_read(tmp_path, reading):
    clean, noisy = (tmp_path / f"{SCENE}" / f"0001_{kind}_SRGB_010.PNG" for kind in ("GT", "NOISY"))
    images = pair(board(1), 10)
    write_image(clean, images[0])
    write_image(noisy, np.ascontiguousarray(images[1][::-1, ::-1]))
    message = "0001_NOISY_SRGB_010.PNG: shows something else than its clean image 0001_GT_SRGB_010.PNG"
    if reading == "cropping":
        job = CropJob(clean, noisy, tmp_path / "crops")
        assert message in crop_pair(job, CropSettings(64, 8, 128)).failure
        return
    with pytest.raises(ValueError, match=message):
        read_files(clean, noisy) if reading == "training" else NamedPair("a", clean, noisy).read(3)
