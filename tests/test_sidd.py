"""SIDD's layout: scene names, where scenes lie, which images are pairs, which crops are."""

import re

import pytest

from data.sidd import Scene, find_crops, find_frames, find_scenes, parse_scene
from tests.refusal import one_line

NAMES = ["0001_001_S6_00100_00060_3200_L", "0002_001_GP_00800_00350_5500_N", "0003_002_S6_03200_01000_4400_H"]


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


# --- names ---


def test_a_scenes_name_is_read_field_by_field():
    name = "0009_001_S6_00800_00350_3200_L"
    expected = Scene(
        name=name,
        instance="0009",
        scene="001",
        camera="S6",
        iso=800,
        shutter=350,
        illuminant=3200,
        brightness="L",
    )
    assert parse_scene(name) == expected


@pytest.mark.parametrize("camera", ["T3", "XX", "42"])
def test_a_users_own_camera_code_is_accepted(camera):
    assert parse_scene(f"0001_001_{camera}_03200_00000_0000_N").camera == camera


@pytest.mark.parametrize(
    "name",
    [
        "holiday",
        "0001_001_S6_00100_00060_3200",
        "0001_001_S6_00100_00060_3200_X",
        "0001_001_s6_00100_00060_3200_L",
        "0001_001_S6P_00100_00060_3200_L",
        "1_001_S6_00100_00060_3200_L",
        "0001_001_S6_00100_00060_3200_L_old",
        "0001_001_S6_00100_00060_3200_L\n",
    ],
)
def test_another_name_is_an_error_that_names_it_and_the_form(name):
    with pytest.raises(ValueError, match=re.escape(f"{name}: not the name of a scene, expected instance_scene_camera")):
        parse_scene(name)


# --- scenes ---


@pytest.mark.parametrize("data", ["", "Data", "SIDD_Medium_Srgb/Data", "SIDD_Small_sRGB_Only/Data"])
def test_scenes_are_found_where_archives_have_them_in_the_order_of_their_names(tmp_path, data):
    for name in reversed(NAMES):
        (tmp_path / data / name).mkdir(parents=True)
    assert find_scenes(tmp_path) == [tmp_path / data / name for name in NAMES]


def test_only_the_scenes_of_the_camera_asked_for_are_found(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir()
    assert [path.name for path in find_scenes(tmp_path, camera="S6")] == [NAMES[0], NAMES[2]]


def test_files_and_folders_that_are_not_scenes_are_ignored(tmp_path):
    touch(tmp_path / NAMES[1], tmp_path / "readme.txt", tmp_path / f".{NAMES[2]}" / "file", tmp_path / "old" / "file")
    (tmp_path / NAMES[0]).mkdir()
    assert [path.name for path in find_scenes(tmp_path)] == NAMES[:1]


def test_scenes_of_the_folder_itself_hide_those_of_archives_in_it(tmp_path):
    for folder in (tmp_path / "Data", tmp_path / "SIDD_Small_sRGB_Only" / "Data"):
        (folder / NAMES[0]).mkdir(parents=True)
    assert find_scenes(tmp_path) == [tmp_path / "Data" / NAMES[0]]


@pytest.mark.parametrize(
    "folders, camera, words",
    [
        ([], None, ["absent: no such folder"]),
        (["photos"], None, ["absent", NAMES[0]]),
        (NAMES, "IP", ["no scenes of camera IP, only of GP, S6"]),
        ([NAMES[0], f"Data/{NAMES[0]}"], None, [NAMES[0], f"Data/{NAMES[0]}", "same scene"]),
        ([f"SIDD_{size}/Data/{NAMES[0]}" for size in "MS"], None, ["SIDD_M/", "SIDD_S/", "same scene"]),
    ],
)
def test_a_folder_without_the_scenes_or_with_one_twice_is_an_error_that_names_it(tmp_path, folders, camera, words):
    for folder in folders:
        (tmp_path / "absent" / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=one_line(*words)):
        find_scenes(tmp_path / "absent", camera)


# --- pairs of an uncropped scene ---


@pytest.mark.parametrize("prefix", ["0001_", ""])
@pytest.mark.parametrize("suffix", [".PNG", ".png", ".Png"])
def test_pairs_are_found_in_any_letter_case_and_with_or_without_the_instance(tmp_path, prefix, suffix):
    names = [f"{prefix}{kind}_SRGB_{frame}{suffix}" for frame in ("010", "011") for kind in ("GT", "NOISY")]
    touch(*(tmp_path / name for name in reversed(names)))
    clean_1, noisy_1, clean_2, noisy_2 = (tmp_path / name for name in names)
    assert find_frames(tmp_path) == ([(clean_1, noisy_1), (clean_2, noisy_2)], [])


def test_the_two_of_a_pair_may_differ_in_the_suffixes_case(tmp_path):
    touch(tmp_path / "GT_SRGB_010.PNG", tmp_path / "NOISY_SRGB_010.png")
    assert find_frames(tmp_path) == ([(tmp_path / "GT_SRGB_010.PNG", tmp_path / "NOISY_SRGB_010.png")], [])


@pytest.mark.parametrize("kind, other", [("GT", "NOISY"), ("NOISY", "GT")])
def test_an_unpaired_image_is_reported_by_name_beside_the_good_pairs(tmp_path, kind, other):
    touch(tmp_path / "0001_GT_SRGB_010.PNG", tmp_path / "0001_NOISY_SRGB_010.PNG")
    touch(tmp_path / f"0001_{kind}_SRGB_011.PNG")
    pairs, problems = find_frames(tmp_path)
    assert [clean.name for clean, _ in pairs] == ["0001_GT_SRGB_010.PNG"]
    assert problems == [f"{tmp_path}/0001_{kind}_SRGB_011.PNG: unpaired, expected 0001_{other}_SRGB_011.PNG beside it"]


@pytest.mark.parametrize(
    "names, count, problem",
    [
        ("GT_SRGB_010.PNG NOISY_SRGB_010.PNG preview.png", 1, "/preview.png: expected"),
        ("0001_GT_RAW_010.MAT", 0, ": no images"),
        ("GT_SRGB_010.PNG NOISY_SRGB_010.PNG ._GT_SRGB_011.PNG", 1, ""),  # hidden files are no images
    ],
)
def test_other_files_are_reported_if_they_may_be_images(tmp_path, names, count, problem):
    touch(*(tmp_path / name for name in names.split()))
    pairs, problems = find_frames(tmp_path)
    assert len(pairs) == count and len(problems) == bool(problem)
    assert all(line.startswith(f"{tmp_path}{problem}") for line in problems)


def test_an_image_that_differs_only_in_case_from_another_is_reported(tmp_path):
    touch(*(tmp_path / name for name in ("GT_SRGB_010.PNG", "GT_SRGB_010.png", "NOISY_SRGB_010.PNG")))
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system ignores letter case")
    pairs, problems = find_frames(tmp_path)
    assert [clean.name for clean, _ in pairs] == ["GT_SRGB_010.PNG"]
    assert problems == [f"{tmp_path}/GT_SRGB_010.png: GT_SRGB_010.PNG is there too, expected one of them"]


# --- crops ---


def make_crops(scene, count=3):
    """Empty files of a cropped scene: -> their (clean, noisy) paths in order."""
    pairs = [
        (
            scene / "clean" / f"0001_GT_SRGB_010_{number:05d}.png",
            scene / "noisy" / f"0001_NOISY_SRGB_010_{number:05d}.png",
        )
        for number in range(1, count + 1)
    ]
    touch(*(path for pair in reversed(pairs) for path in pair))
    return pairs


def test_crops_are_paired_and_sorted_without_those_being_written(tmp_path):
    pairs = make_crops(tmp_path)
    touch(tmp_path / "clean" / ".0001_GT_SRGB_010_00004.77.tmp.png")
    assert find_crops(tmp_path) == pairs


@pytest.mark.parametrize("side, other", [(0, 1), (1, 0)])
def test_an_unpaired_crop_is_an_error_that_names_it_and_its_missing_partner(tmp_path, side, other):
    pair = make_crops(tmp_path)[1]
    pair[other].unlink()
    expected = one_line(f"{pair[side]}: has no partner {pair[other]};", "Crop_SIDD.py")
    with pytest.raises(ValueError, match=expected):
        find_crops(tmp_path)


def test_an_uncropped_scene_is_told_from_an_empty_one_and_both_say_what_to_do(tmp_path):
    (tmp_path / "clean").mkdir()
    with pytest.raises(ValueError, match=one_line(f"{tmp_path}: no crops", "Crop_SIDD.py")):
        find_crops(tmp_path)
    touch(tmp_path / "0001_GT_SRGB_010.PNG")
    with pytest.raises(ValueError, match=one_line(f"{tmp_path}: the scene is not cropped", "Crop_SIDD.py")):
        find_crops(tmp_path)
