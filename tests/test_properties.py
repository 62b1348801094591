"""What holds for any input, tried with many: `python -m tests.trust properties` runs these tests with thousands."""

import base64
import csv
import os
import string
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import metrics
from data.benchmarks.dnd import read_dnd_crop, write_dnd_bundle, write_dnd_crop
from data.benchmarks.sidd import DENOISED_KEY, write_kaggle_csv, write_sidd_mat
from data.bursts import COLUMNS, read_manifest, write_manifest
from data.cache import open_pairs
from data.crop import CropSettings
from data.pairs import find_pairs
from data.sidd import parse_scene
from data.splits import generate_split, read_list
from noise.gains import GainBank, read_bank, write_bank
from options.synthesize import synthesize_options
from synthesis.output import COLUMNS as SYNTHESIS_COLUMNS
from synthesis.output import SynthesisFolder
from tests.test_cache import LOG, SCENES, write_pair
from tests.test_tiled import test_tiled_synthesis_equals_the_plain_networks as tiled_equals_plain
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.image import read_image, read_photo, write_image

EXAMPLES = os.environ.get("NECA_EXAMPLES")  # of each property; unset: a few, always the same
settings.register_profile(
    "trust",
    max_examples=int(EXAMPLES or 15),
    derandomize=EXAMPLES is None,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("trust")

# A carriage return in a name is its own fault; at a NUL, which no name can hold, pandas 2 ends a value.
LETTERS = st.characters(exclude_characters="\r\0" if pd.__version__ < "3" else "\r", exclude_categories=["Cs"])
FILE_NAMES = st.text(st.characters(exclude_characters="/\r\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
SCENE_NAMES = st.builds(
    "{:04d}_{:03d}_{}_{:05d}_{:05d}_{:04d}_{}".format,
    *(st.integers(0, 9999), st.integers(0, 999), st.sampled_from(["GP", "S6", "9Z"]), st.sampled_from([100, 800])),
    *(st.integers(0, 99999), st.integers(0, 9999), st.sampled_from("LNH")),
)
BLOCKS = arrays.arrays(np.uint8, st.tuples(*map(st.integers, [1] * 4, [3, 2, 9, 9]), st.just(3)))
CROPS = arrays.arrays(np.float32, st.just((4, 5, 3)), elements=st.floats(0, 1, width=32))
NOISES = arrays.arrays(
    np.int16, st.tuples(st.integers(24, 40), st.integers(24, 40), st.just(3)), elements=st.integers(-60, 60)
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def folder():
    """A new folder for each use of a test's function `new()`."""
    with tempfile.TemporaryDirectory() as root:
        yield lambda: Path(tempfile.mkdtemp(dir=root))


@given(st.integers(0, 2**32))
def test_tiles_equal_the_whole(number):
    with pytest.MonkeyPatch.context() as patch:
        tiled_equals_plain(number, patch)


# --- the data path ---


CHANGES = st.tuples(st.integers(0, 5), st.sampled_from([24, 24, 30]), st.integers(2, 256), st.booleans())


@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_cache_gives_what_the_files_hold_whatever_has_changed(folder, changes):
    """Changed files may keep their times, but not their sizes in bytes as well: then nobody could tell."""
    root = folder()
    files = [write_pair(root / "data" / SCENES[n // 3], n % 3, (24, 40)) for n in range(6)]
    for change in (None, *changes):
        if change:
            number, height, levels, keeps_time = change
            before = [path.stat() for path in files[number]]
            for path, state in zip(files[number], before):
                write_image(path, np.random.default_rng(levels).integers(0, levels, (height, 40, 3)).astype(np.uint8))
                if keeps_time and path.stat().st_size != state.st_size:
                    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        pairs = find_pairs(sorted((root / "data").iterdir()))
        reader = open_pairs(pairs, root / "cache", 0, LOG)
        for index, pair in enumerate(pairs):
            for cached, path in zip(reader.pair(index), (pair.clean, pair.noisy)):
                assert np.array_equal(cached, read_image(path))


@given(*map(st.integers, [1, 0, 1, 1, 1], [64, 63, 200, 300, 300]))
def test_crops_cover_the_frame(size, overlap, threshold, height, width):
    assume(overlap < size <= threshold + 1)
    seen = np.zeros((height, width), int)
    for box in CropSettings(size, overlap, threshold).boxes(height, width):
        part = box.of(seen)
        assert part.shape == box[2:], "within the frame"
        part += 1
    assert seen.min() >= 1


@given(st.sets(SCENE_NAMES, max_size=30), st.integers(0, 2**32 - 1))
def test_splits_are_disjoint_and_complete(names, seed):
    try:
        train, test = generate_split(names, seed)
    except ValueError:
        levels = [sum(parse_scene(name).iso == iso for name in names) for iso in (100, 800)]
        assert max(levels) < 3, "no test scene can be had"
    else:
        assert not set(train) & set(test) and {*train, *test} == names
        assert generate_split(sorted(names, reverse=True), seed) == (train, test)


# --- what is written is read ---


@given(BLOCKS)
def test_kaggle_csv_holds_the_blocks(folder, blocks):
    path = folder() / "a.csv"
    write_kaggle_csv(path, blocks)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    decoded = [np.frombuffer(base64.b64decode(row["BLOCK"]), np.uint8).reshape(blocks.shape[2:]) for row in rows]
    assert [row["ID"] for row in rows] == [str(number) for number in range(len(decoded))]
    assert np.array_equal(decoded, blocks.reshape(-1, *blocks.shape[2:]))


@given(BLOCKS)
def test_sidd_mat_holds_the_blocks(folder, blocks):
    path = folder() / "a.mat"
    write_sidd_mat(path, blocks)
    cells = scipy.io.loadmat(path)[DENOISED_KEY]
    assert cells.shape == blocks.shape[:2]
    assert all(np.array_equal(cells[index], blocks[index]) for index in np.ndindex(cells.shape))


@given(st.lists(CROPS, min_size=1, max_size=3))
def test_dnd_crops_and_bundles_hold_the_values(folder, crops):
    root = folder()
    write_dnd_crop(root / "a.mat", crops[0])
    assert np.array_equal(read_dnd_crop(root / "a.mat", crops[0].shape), crops[0])
    write_dnd_bundle(root / "b.mat", crops)
    assert all(map(np.array_equal, scipy.io.loadmat(root / "b.mat")["Idenoised"].ravel(), crops))


@given(
    st.dictionaries(st.text(), PLAIN),
    arrays.arrays(np.float32, arrays.array_shapes()),
    st.sampled_from(["pth", "safetensors", "weights"]),  # the last one: of no meaning, and after the others
)
def test_checkpoints_hold_tensors_and_plain_values(folder, values, array, suffix):
    path, weights = folder() / f"a.{suffix}", {"layer.weight": torch.from_numpy(array)}
    values.pop("model_state_dict", None)
    save_checkpoint(path, values | {"model_state_dict": weights})
    found = load_checkpoint(path)
    tensor = found.pop("model_state_dict")["layer.weight"]
    assert found == values
    assert tensor.numpy().tobytes() == array.tobytes() and tensor.shape == array.shape


@given(st.lists(st.fixed_dictionaries({name: st.text(LETTERS) for name in COLUMNS}), max_size=4))
def test_manifest_of_pairs_holds_any_text(folder, rows):
    root = folder()
    write_manifest(root, rows)
    assert read_manifest(root) == sorted(rows, key=lambda row: row["scene"])


@given(st.sets(FILE_NAMES, min_size=1, max_size=4), st.text(LETTERS))
def test_manifest_of_a_synthesis_holds_any_name(folder, names, camera):
    root = folder()
    names = [name for name in names if name not in (".", "..", ".lock") and len(name.encode()) < 200]
    with SynthesisFolder(root, {}, []) as made:
        names = [name for name in names if not (root / name).exists()]
        rows = [dict.fromkeys(SYNTHESIS_COLUMNS, camera) | {"output": name} for name in names]
        for row in rows:
            (root / row["output"]).write_bytes(b"pixels")
            made.add(row)
    with SynthesisFolder(root, {}, []) as read:
        assert read.rows == {row["output"]: row | {"output_bytes": "6"} for row in rows}


@given(
    st.dictionaries(
        st.integers(0, 10**6), st.lists(st.tuples(st.text(), st.floats(0, 1)), min_size=1), min_size=1, max_size=3
    ),
    st.text(),
)
def test_gain_banks_hold_any_gain_and_name(folder, gains, camera):
    path = folder() / "gains.json"
    write_bank(path, GainBank(camera, "", gains))
    assert read_bank(path) == GainBank(camera, "", gains)


@given(BLOCKS, st.sampled_from(["png", "tif", "bmp", "PNG"]), st.booleans())
def test_images_hold_their_values(folder, blocks, suffix, deep):
    path, image = folder() / f"a.{suffix}", blocks[0, 0]
    image = image.astype(np.uint16) * 257 + 3 if deep and suffix != "bmp" else image
    write_image(path, image)
    assert np.array_equal(read_photo(path).pixels, image)


# --- what is read ends in a value or a ValueError ---


@given(st.text() | st.text(string.ascii_uppercase + string.digits + "_", min_size=28, max_size=32) | SCENE_NAMES)
def test_scene_names_are_parsed_or_refused(name):
    try:
        scene = parse_scene(name)
    except ValueError as error:
        assert name in str(error)
    else:
        assert scene.name == name and len(scene.camera) == 2


@given(st.binary() | st.text().map(str.encode) | st.lists(SCENE_NAMES).map(lambda names: "\n".join(names).encode()))
def test_lists_and_gain_banks_are_read_or_refused_by_name(folder, content):
    path = folder() / "file"
    path.write_bytes(content)
    for read in (read_list, read_bank):
        try:
            assert read(path)
        except ValueError as error:
            assert str(path) in str(error)


@given(st.lists(st.text(max_size=30) | st.sampled_from(["--iso 800", "--seed", "@{}", "@{}x", "# a", "'", "--tile=9"])))
def test_option_files_are_read_or_refused_in_one_line(folder, lines):
    path = folder() / "options.txt"
    text = "\n".join(lines).replace("{}", str(path)).replace("-h", "").replace("--help", "")
    path.write_text(text, encoding="utf-8")
    try:
        synthesize_options(["--input_dir", "a", "--output_dir", "b", f"@{path}"])
    except SystemExit as stop:
        assert stop.code == 2


# --- metrics ---

DISTANCES = ("kld", "kld_exact", "kld_naflow", "kld_flow", "akld", "acf", "psd", "xcorr", "bias")  # 0 for equal noise


@given(NOISES, st.sampled_from(DISTANCES))
def test_distances_are_zero_on_equality(noise, name):
    assume(noise.std(axis=(0, 1)).min() > 0)
    assert getattr(metrics, name)(noise, noise) == pytest.approx(0, abs=1e-12)


@given(NOISES, st.integers(0, 2**32 - 1), st.sampled_from((*DISTANCES, "std")), st.sampled_from([0, 1]))
def test_distances_are_symmetric_under_flips(noise, seed, name, axis):
    assume(noise.std(axis=(0, 1)).min() > 0)
    other = np.random.default_rng(seed).normal(1, 12, noise.shape).round().astype(np.int16)
    measure = getattr(metrics, name)
    flipped = [np.ascontiguousarray(np.flip(each, axis)) for each in (noise, other)]
    assert measure(*flipped) == pytest.approx(measure(noise, other), rel=1e-6, abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(1.2, 2), min_size=2, max_size=4))
def test_growing_perturbations_are_further_away(seed, factors):
    random = np.random.default_rng(seed)
    image = random.integers(110, 140, (40, 40, 3)).astype(np.uint8)
    noise = random.normal(0, 4, (40, 40, 3))
    scales = np.cumprod([1, *factors])
    noises = [np.round(noise * scale).astype(np.int16) for scale in scales]
    images = [np.clip(image + each, 0, 255).astype(np.uint8) for each in noises]
    quality = [metrics.psnr(each, image) for each in images], [metrics.ssim(each, image) for each in images]
    distance = (
        [metrics.std(noises[0], each) for each in noises],
        [metrics.kld_exact(noises[0], each) for each in noises],
    )
    for values in (*[[-value for value in each] for each in quality], *distance):
        assert values == sorted(values)
