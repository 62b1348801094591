"""The metric of the mosaic's phase, and the places where images begin in the mosaic."""

import json
import shutil

import numpy as np
import pytest

import Crop_SIDD
import metrics
from data.mosaic import find_origins, with_origins
from data.pairs import find_pairs
from tests.conftest import SHARED
from tests.test_fitting import interpolated
from utils.image import write_image

SIDE = 128
NAMES = [f"{n:04d}_{n:03d}_ZZ_00800_00100_5500_N" for n in range(1, 5)]


def rounded(noise: np.ndarray) -> np.ndarray:
    return np.rint(noise).astype(np.int16)


def field(seed: int, first: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Noise whose measured pixels lie at position (0, 0) of the mosaic alone, from one of its positions on."""
    noise = np.random.default_rng(seed).normal(0, 5, (SIDE + 1, SIDE + 1, 3))
    noise[::2, ::2] *= 2
    return rounded(noise[first[0] : first[0] + SIDE, first[1] : first[1] + SIDE])


def test_profile_of_interpolated_noise_is_that_worked_out_by_hand():
    """Measured pixels have 64 and interpolated ones 32, and so 4/3 and 2/3 of their mean."""
    profile = metrics.phase_profile(interpolated(400, 400, np.random.default_rng(0)))
    wanted = np.zeros((3, 2, 2))  # right neighbours share 32 at all positions, lower ones nothing
    wanted[0] = [[1 / 3, -1 / 3], [-1 / 3, 1 / 3]]
    np.testing.assert_allclose(profile, np.broadcast_to(wanted, profile.shape), rtol=0, atol=0.04)


def test_phase_is_0_for_the_noise_itself_and_small_for_another_draw():
    assert metrics.phase(field(0), field(0)) == 0
    assert metrics.phase(field(0), field(1)) < 0.05


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1)])
def test_phase_finds_a_shift_by_a_pixel_only_where_the_origin_is_known(shift):
    """Variances 4 and 1 of mean 1.75: two of four change by 3 / 1.75, of variance alone."""
    moved = field(1, shift)
    assert metrics.phase(field(0), moved) == pytest.approx(3 / 1.75 / 6**0.5, abs=0.05)
    assert metrics.phase(field(0), moved, is_aligned=False) < 0.05


def test_noise_without_any_variation_has_no_phase():
    assert not metrics.phase_profile(np.zeros((8, 8, 3), np.int16)).any()


def test_images_too_small_for_a_lag_are_an_error():
    with pytest.raises(ValueError, match="sides from 3 pixels"):
        metrics.phase_profile(np.zeros((2, 8, 3)))


def make_scenes(root, origins: list[tuple[int, int]]) -> list:
    """Write scenes of one small frame whose first pixels lie at these positions of the mosaic."""
    for number, (name, origin) in enumerate(zip(NAMES, origins)):
        clean = np.full((SIDE, SIDE, 3), 128, np.uint8)
        write_image(root / name / "0001_GT_SRGB_010.PNG", clean)
        write_image(root / name / "0001_NOISY_SRGB_010.PNG", (clean + field(number, origin)).astype(np.uint8))
    return [root / name for name in NAMES[: len(origins)]]


def test_windows_of_a_frame_begin_where_they_lie_in_its_mosaic(tmp_path):
    """The last row of windows begins at 805 - 512 = 293, the last column at 812 - 512 = 300 or 811 - 512 = 299."""
    for name, width in zip(NAMES, (811, 812)):
        for kind in ("GT", "NOISY"):
            write_image(tmp_path / name / f"0001_{kind}_SRGB_010.PNG", np.zeros((805, width, 3), np.uint8))
    odd, even = (find_pairs([tmp_path / name]) for name in NAMES[:2])
    assert [pair.origin for pair in odd] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [pair.origin for pair in even] == [(0, 0), (0, 0), (1, 0), (1, 0)]


ORIGINS = [(1, 0), (0, 1), (1, 0), (1, 1)]
FOUND = [(0, 0), (1, 1), (0, 0), (0, 1)]  # by row and column from the commonest, (1, 0)


def test_origins_of_uncut_images_are_found_from_the_commonest_on(tmp_path):
    folders = make_scenes(tmp_path, ORIGINS)
    pairs = with_origins(find_pairs(folders), find_origins(folders, 0))
    assert [pair.origin for pair in pairs] == FOUND
    assert not any(pair.is_cut for pair in pairs)


def test_cropper_stores_the_origins_of_images_that_it_keeps_whole(tmp_path, capsys):
    make_scenes(tmp_path / "parts", ORIGINS)
    Crop_SIDD.main(["--source", str(tmp_path / "parts"), "--target", str(tmp_path / "crops"), "--num_workers", "0"])
    assert "4 images are kept whole" in capsys.readouterr().out
    stored = json.loads((tmp_path / "crops" / "mosaic.json").read_text())
    assert [tuple(origin) for origin in stored.values()] == FOUND
    stored[next(iter(stored))] = [1, 1]
    (tmp_path / "crops" / "mosaic.json").write_text(json.dumps(stored))
    assert next(iter(find_origins([tmp_path / "crops" / name for name in NAMES], 0).values())) == (1, 1)  # is read


def test_crops_of_a_frame_begin_at_the_mosaic_s_first_pixel_and_are_not_measured(tmp_path):
    shutil.rmtree(tmp_path / NAMES[0], ignore_errors=True)
    for kind in ("GT", "NOISY"):
        write_image(tmp_path / NAMES[0] / f"0001_{kind}_SRGB_010.PNG", np.zeros((802, 896, 3), np.uint8))
    pairs = find_pairs([tmp_path / NAMES[0]])
    assert {(pair.is_cut, pair.origin) for pair in pairs} == {(True, (0, 0))}
    assert find_origins([tmp_path / NAMES[0]], 0) == {}


def test_damaged_record_of_origins_is_named(tmp_path):
    folders = make_scenes(tmp_path, ORIGINS[:1])
    (tmp_path / "mosaic.json").write_text('{"a": 3}')
    with pytest.raises(ValueError, match=r"mosaic\.json: damaged; delete it"):
        find_origins(folders, 0)


def test_origins_of_public_crops_are_those_of_their_places_in_the_frames():
    """By its manifest 0009 and 0021 are blocks at even places, 0081 begins at (1793, 1046), 0036 at (1109, 476)."""
    root = SHARED / "real" / "SIDD_Srgb_Parts"
    folders = [path for number in ("0009", "0081", "0021", "0036") for path in root.glob(f"{number}_*")]
    if len(folders) < 4:
        pytest.skip("no real camera pairs: ../shared/real is absent")
    found = find_origins(folders, 0)
    odd = {label[:4] for label, origin in found.items() if origin == (1, 0)}
    assert odd == {"0081", "0036"}
    assert sum(origin == (0, 0) for origin in found.values()) == 48
