"""Which pairs there are in scenes, what is cut of them, and what an evaluation reads."""

import shutil

import numpy as np
import pytest

from data.boxes import PUBLISHED_CROPS
from data.crop import CropJob, crop_pair
from data.pairs import by_file, find_pairs, read_samples
from data.sidd import find_crops, find_scenes
from options.data import crop_parser
from tests.noisy_set import make_set
from utils.image import read_image, write_image
from utils.randomness import evenly_spaced


def samples_of(folders, most=0, with_other=False):
    pairs = evenly_spaced(find_pairs(folders), most)
    return [sample for group in by_file(pairs) for sample in read_samples(group, with_other)]


SCENE = "0001_001_ZZ_00800_00100_5500_N"


def write_frames(folder, shape, frames=("010", "011"), clean=None):
    random = np.random.default_rng(0)
    clean = random.integers(0, 256, (*shape, 3), dtype=np.uint8) if clean is None else clean
    for frame in frames:
        write_image(folder / f"0001_GT_SRGB_{frame}.PNG", clean)
        write_image(folder / f"0001_NOISY_SRGB_{frame}.PNG", random.integers(0, 256, clean.shape, dtype=np.uint8))


def test_evaluation_cuts_as_the_cropper_does_by_default():
    args = crop_parser().parse_args([])
    assert (args.size, args.overlap, args.threshold) == (
        PUBLISHED_CROPS.size,
        PUBLISHED_CROPS.overlap,
        PUBLISHED_CROPS.threshold,
    )


def test_uncropped_frames_give_the_same_samples_as_their_crops(tmp_path):
    parts, crops = tmp_path / "parts" / SCENE, tmp_path / "crops" / SCENE
    write_frames(parts, (810, 1000))
    for frame in ("010", "011"):
        paths = [parts / f"0001_{kind}_SRGB_{frame}.PNG" for kind in ("GT", "NOISY")]
        crop_pair(CropJob(*paths, crops), PUBLISHED_CROPS)
    cut, read = (samples_of([folder], with_other=True) for folder in (parts, crops))
    assert [sample.pair.name for sample in cut] == [sample.pair.name for sample in read]
    assert len(cut) == 2 * len(PUBLISHED_CROPS.boxes(810, 1000)) == len(find_crops(crops))
    for one, other in zip(cut, read):
        for name in ("clean", "noisy", "other_noise"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_pair_that_is_a_web_page_is_called_one(tmp_path):
    write_frames(tmp_path / SCENE, (40, 50))
    (tmp_path / SCENE / "0001_GT_SRGB_010.PNG").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"0001_GT_SRGB_010.PNG: not a readable image \(a web page"):
        find_pairs([tmp_path / SCENE])


def test_frames_of_sidd_small_without_the_instance_in_their_names_train_as_those_of_sidd_medium(tmp_path):
    medium, small = (tmp_path / place / SCENE for place in ("Data", "below/SIDD_Small_sRGB_Only/Data"))
    write_frames(medium, (40, 50))
    small.mkdir(parents=True)
    for path in medium.iterdir():
        shutil.copy(path, small / path.name.removeprefix("0001_"))
    cut, read = (samples_of(find_scenes(root), with_other=True) for root in (tmp_path, tmp_path / "below"))
    assert len(cut) == len(read) == 2
    for one, other in zip(cut, read):
        for name in ("clean", "noisy", "other_noise"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_other_frame_is_the_same_place_of_the_same_scene(tmp_path):
    data, _ = make_set(tmp_path, scenes=1)
    samples = samples_of([*data.iterdir()], with_other=True)
    images = {path.stem: read_image(path).astype(int) for path in data.rglob("*.png")}
    clean = images["0001_GT_SRGB_010_00001"]
    assert np.array_equal(samples[0].other_noise, images["0001_NOISY_SRGB_011_00001"] - clean)
    assert np.array_equal(samples[1].other_noise, images["0001_NOISY_SRGB_010_00001"] - clean)


def test_frames_that_show_something_else_are_no_other_frames(tmp_path):
    random = np.random.default_rng(1)
    for frame in ("010", "011"):
        content = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        write_frames(tmp_path / SCENE, (64, 64), (frame,), content)
    samples = samples_of([tmp_path / SCENE], with_other=True)
    assert [sample.other_noise for sample in samples] == [None, None]


def test_limited_number_is_spread_evenly_over_all_pieces(tmp_path):
    write_frames(tmp_path / SCENE, (900, 900), ("010",))
    everything = [sample.pair.name for sample in samples_of([tmp_path / SCENE])]
    chosen = [sample.pair.name for sample in samples_of([tmp_path / SCENE], 3)]
    positions = np.linspace(0, len(everything) - 1, 3).round().astype(int)
    assert chosen == [everything[position] for position in positions]


def change_header(path):
    content = bytearray(path.read_bytes())
    content[17] = 64  # millions of pixels wide, were it true
    path.write_bytes(content)


@pytest.mark.parametrize(
    "shape, harm, message",
    [
        ((64, 64), lambda clean, noisy: clean.unlink(), "unpaired"),
        ((64, 64), lambda clean, noisy: noisy.write_bytes(noisy.read_bytes()[:-20]), "not a readable image"),
        ((64, 64), lambda clean, noisy: change_header(noisy), "not a readable image"),
        ((64, 50), lambda clean, noisy: write_image(noisy, read_image(noisy)[:50]), "50x50 pixels, but.* 64x50"),
        ((8, 64), lambda clean, noisy: None, ".* expected at least 16 a side"),
        ((64, 15), lambda clean, noisy: None, ".* expected at least 16 a side"),
    ],
    ids=["without its partner", "truncated", "damaged header", "unequal", "low", "narrow"],
)
def test_bad_image_is_named_before_anything_is_decoded(tmp_path, shape, harm, message):
    write_frames(tmp_path / SCENE, shape, ["011"])
    harm(*(tmp_path / SCENE / f"0001_{kind}_SRGB_011.PNG" for kind in ("GT", "NOISY")))
    with pytest.raises(ValueError, match=rf"0001_NOISY_SRGB_011\.PNG: {message}"):
        find_pairs([tmp_path / SCENE])
