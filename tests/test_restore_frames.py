"""Noise of reduced frames gets back what reduction took: against native noise of which everything is known."""

import cv2
import numpy as np
import pytest
import torch

import main_restore_frames
from data.mosaic import MOSAIC_RECORD
from data.pairs import find_pairs
from data.sidd import find_scenes
from metrics import autocorrelation
from models.neca import filter_noise
from noise.fitting import Fit
from synthesis.reduced import attenuation, restore
from utils.files import read_record
from utils.image import write_image

FRAME = (750, 1332)
TAPS = np.outer([0.5, 1, 0.2], [0.3, 1, 0.6]) / np.sqrt((np.outer([0.5, 1, 0.2], [0.3, 1, 0.6]) ** 2).sum())


def native_noise(seed: int) -> np.ndarray:
    """Noise of variance 1 with unlike correlations along rows, columns and diagonals: (H, W, 1)."""
    white = np.random.default_rng(seed).normal(size=FRAME).astype(np.float32)
    return cv2.filter2D(white, -1, TAPS[::-1, ::-1])[..., None]


def kernel() -> np.ndarray:
    found = np.zeros((1, 1, 17, 17))
    found[0, 0, 7:10, 7:10] = TAPS
    return found


def test_attenuation_is_what_bilinear_reduction_leaves_of_the_variance():
    size = (64, 64)
    reduced = np.stack([cv2.resize(native_noise(seed), size[::-1]) for seed in range(200)])
    left = attenuation(size, FRAME, kernel())[0]
    np.testing.assert_allclose(left.mean(), reduced.var(0).mean(), rtol=0.01)
    kinds = np.digitize(left, np.quantile(left, [0.25, 0.5, 0.75]))  # pixels that lost little, and much
    ratios = [reduced.var(0)[kinds == kind].mean() / left[kinds == kind].mean() for kind in range(4)]
    np.testing.assert_allclose(ratios, 1, atol=0.03)
    assert left.min() < 0.7 < 0.9 < left.max(), "the weights differ, so the test can fail"


def test_restored_noise_has_the_native_level_of_each_intensity_and_the_native_correlation():
    size, phase_kernel = (96, 96), torch.zeros(4, 4, 5, 5)
    impulses = torch.eye(4)[:, :, None, None]  # of each place in a cell: what the filter makes of them
    for place in range(4):
        cells = torch.zeros(1, 4, 9, 9)
        cells[0, place, 4, 4] = impulses[place, place]
        pixels = torch.nn.functional.pixel_shuffle(cells, 2)[0, 0].numpy()
        spread = torch.from_numpy(cv2.filter2D(pixels, -1, TAPS[::-1, ::-1].astype(np.float32)))[None, None]
        phase_kernel[:, place] = torch.nn.functional.pixel_unshuffle(spread, 2)[0, :, 2:7, 2:7].flip(1, 2)
    fit = Fit(0.1, torch.zeros(1, 256), torch.zeros(1, 256), torch.from_numpy(kernel()).float(), phase_kernel)
    expected = autocorrelation(filter_noise(torch.randn(1, 1, 300, 300), phase_kernel)[0].permute(1, 2, 0).numpy())[0]
    clean = np.tile(np.linspace(60, 190, size[1]).round().astype(np.uint8)[None, :, None], (size[0], 1, 1))
    level = 4 + 8 * (clean / 255.0)
    noise = level * cv2.resize(native_noise(3), size[::-1])[..., None]
    noisy = np.rint(clean + noise).astype(np.uint8)
    large, restored = restore(clean, noisy, attenuation(size, FRAME, kernel()), fit, 0)
    found = restored.astype(float) - large
    for dark, bright in ((60, 100), (100, 150), (150, 190)):
        inside = (large >= dark) & (large < bright)
        wanted = 4 + 8 * (large[inside] / 255.0).mean()
        assert found[inside].std() == pytest.approx(wanted, rel=0.06)
        assert noise[(clean >= dark) & (clean < bright)].std() < 0.94 * wanted, "reduction took enough to see"
    middle = len(expected) // 2
    np.testing.assert_allclose(autocorrelation(found / level.mean())[0], expected, atol=0.05)
    assert expected[middle, middle + 1] > 0.3


def make_scenes(root, names: list[str], side: int, seed: int) -> None:
    for name in names:
        random = np.random.default_rng(seed)
        clean = random.integers(60, 190, (side // 8, side // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        noise = cv2.GaussianBlur(random.normal(0, 20, clean.shape), (3, 3), 0.6)
        for kind, image in (("GT", clean), ("NOISY", np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8))):
            write_image(root / name / f"{name[:4]}_{kind}_SRGB_010.PNG", image)


SMALL = [f"{number:04d}_001_S6_00100_00060_3200_L" for number in (1, 2, 5)]  # 0002 tests in the published split
NATIVE = [f"{number:04d}_001_S6_00800_00350_3200_L" for number in (9, 81)]


def restore_all(tmp_path, *options: str) -> None:
    make_scenes(tmp_path / "small", SMALL, 64, 0)
    make_scenes(tmp_path / "native", NATIVE, 96, 1)
    folders = {"--reduced_dir": "small", "--native_dir": "native", "--output_dir": "out"}
    main_restore_frames.main(
        [word for flag, name in folders.items() for word in (flag, str(tmp_path / name))] + [*options]
    )


def test_command_makes_a_data_set_with_lists_and_places_in_the_mosaic(tmp_path):
    restore_all(tmp_path, "--test_scenes", "0081")
    scenes = find_scenes(tmp_path / "out", "S6")
    assert [scene.name for scene in scenes] == sorted([*SMALL, *NATIVE])
    lists = [(tmp_path / "out" / "lists" / f"S6_{half}.txt").read_text().split() for half in ("train", "test")]
    assert lists == [[SMALL[0], SMALL[2], NATIVE[0]], [SMALL[1], NATIVE[1]]]
    images = {pair.label: pair for pair in find_pairs(scenes)}
    places = read_record(tmp_path / "out" / MOSAIC_RECORD)
    assert places.keys() == images.keys(), "so the places are not searched for again"
    assert [places[label] for label, pair in images.items() if pair.noisy.stem.endswith("256")] == [[0, 0]] * 3
    assert len(list((tmp_path / "out" / SMALL[0]).iterdir())) == 2


def test_command_refuses_cameras_without_native_crops_that_train(tmp_path):
    with pytest.raises(ValueError, match="--test_scenes: hold out all native crops of camera S6"):
        restore_all(tmp_path, "--test_scenes", "0009", "0081")
