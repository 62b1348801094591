"""The benchmarks' files: MATLAB v5 and v7.3 in, submissions out, each made or read here as the servers do."""

import base64
import struct
import zlib

import h5py
import numpy as np
import pytest
import scipy.io

from data.benchmarks.dnd import (
    DndLayout,
    cut,
    image_path,
    read_boxes,
    read_dnd_crop,
    read_image,
    write_dnd_bundle,
    write_dnd_crop,
)
from data.benchmarks.sidd import (
    BENCHMARK_SHAPE,
    read_benchmark,
    read_blocks,
    read_validation,
    write_kaggle_csv,
    write_sidd_mat,
)
from tests.mat import write_v5, write_v73
from tests.refusal import one_line

SHAPE = (2, 3, 8, 6, 3)
LAYOUT = DndLayout(images=2, crops=3, size=4)
BOXES = np.array([[[1, 1, 4, 4], [3, 2, 6, 5], [5, 9, 8, 12]], [[2, 1, 5, 4], [1, 3, 4, 6], [5, 5, 8, 8]]])


def random_blocks(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_blocks_come_as_matlab_indexes_them(tmp_path, write):
    blocks = random_blocks()
    write(tmp_path / "Blocks.mat", {"Blocks": blocks, "another": np.zeros((2, 2))})
    read = read_blocks(tmp_path / "Blocks.mat")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, blocks)


def test_compressed_blocks_of_the_user_block_of_matlab_are_read(tmp_path):
    blocks = random_blocks()
    with h5py.File(tmp_path / "Blocks.mat", "w", userblock_size=512) as file:
        file.create_dataset("Blocks", data=blocks.T, compression="gzip").attrs["MATLAB_class"] = np.bytes_("uint8")
    with open(tmp_path / "Blocks.mat", "rb+") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512, b" "))
    np.testing.assert_array_equal(read_blocks(tmp_path / "Blocks.mat"), blocks)
    scipy.io.savemat(tmp_path / "Blocks.mat", {"Blocks": blocks}, do_compression=True)
    np.testing.assert_array_equal(read_blocks(tmp_path / "Blocks.mat"), blocks)


@pytest.mark.parametrize("write", [write_v5, write_v73])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"Other": random_blocks(), "Third": np.zeros((2, 2))}, "has Other, Third, expected a variable Blocks"),
        (
            {"Blocks": random_blocks()[0]},
            "Blocks is 3x8x6x3, expected images x blocks x height x width x 3; in MATLAB reshape(x, [1 size(x)]) adds",
        ),
        ({"Blocks": random_blocks(shape=(2, 3, 8, 6, 4))}, "Blocks is 2x3x8x6x4, expected"),
        ({"Blocks": random_blocks(shape=(2, 0, 8, 6, 3))}, "Blocks is 2x0x8x6x3, expected"),
        ({"Blocks": random_blocks().astype(float)}, "Blocks is of type float64, expected uint8"),
        ({"Blocks": np.full(SHAPE, np.nan, np.float32)}, "Blocks is of type float32, expected uint8"),
        ({"Blocks": {"deeper": np.zeros((2, 2))}}, "Blocks is of type struct, expected uint8"),
    ],
)
def test_wrong_blocks_are_refused_by_name(tmp_path, write, content, expected):
    path = tmp_path / "Blocks.mat"
    write(path, content)
    with pytest.raises(ValueError, match=one_line(f"{path}: {expected}")):
        read_blocks(path)


@pytest.mark.parametrize("write", [write_v5, write_v73])
@pytest.mark.parametrize("name", ["ValidationNoisyBlocksSrgb (1).mat", "a.mat"])
def test_blocks_of_a_renamed_file_are_its_only_variable(tmp_path, write, name):
    noisy, clean = random_blocks(), random_blocks(1)
    write(tmp_path / "b.mat", {"ValidationNoisyBlocksSrgb": noisy})
    (tmp_path / "b.mat").rename(tmp_path / name)
    write(tmp_path / "b.mat", {"ValidationGtBlocksSrgb": clean})
    for read, expected in zip(read_validation(tmp_path / name, tmp_path / "b.mat"), (noisy, clean)):
        np.testing.assert_array_equal(read, expected)
    with pytest.raises(ValueError, match=one_line("b.mat: has ValidationGtBlocksSrgb, expected a variable b")):
        read_validation(tmp_path / "b.mat", tmp_path / name)


def test_file_of_blocks_that_is_a_web_page_is_called_one(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"\n<!DOCTYPE html>\n<html>")
    with pytest.raises(ValueError, match=one_line("a.mat: not a readable MATLAB file (a web page")):
        read_blocks(tmp_path / "a.mat")


def test_published_blocks_in_one_row_are_put_into_images(tmp_path, monkeypatch):
    blocks = random_blocks()
    monkeypatch.setattr("data.benchmarks.sidd.BENCHMARK_SHAPE", SHAPE)
    write_v5(tmp_path / "a.mat", {"BenchmarkNoisyBlocksSrgb": blocks.reshape(6, 8, 6, 3)})
    np.testing.assert_array_equal(read_benchmark(tmp_path / "a.mat"), blocks)


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 14, 15, 19, 20, 10_000])  # types that MATLAB's numbers do not have
@pytest.mark.parametrize("is_packed", [False, True])
def test_numbers_of_an_unknown_type_are_refused_before_scipy_ends_the_process(tmp_path, kind, is_packed):
    path, blocks = tmp_path / "Blocks.mat", random_blocks()
    write_v5(path, {"Blocks": blocks})
    content, tag = path.read_bytes(), struct.pack("<2I", 2, blocks.nbytes)
    head, variable = content[:128], content[128:].replace(tag, struct.pack("<2I", kind, blocks.nbytes))
    assert content.count(tag) == 1
    if is_packed:
        packed = zlib.compress(variable)
        variable = struct.pack("<2I", 15, len(packed)) + packed
    path.write_bytes(head + variable)
    with pytest.raises(ValueError, match=one_line(f"{path}: not a readable MATLAB file")):
        read_blocks(path)


def test_blocks_of_another_shape_than_demanded_are_refused(tmp_path):
    write_v5(tmp_path / "Blocks.mat", {"Blocks": random_blocks()})
    with pytest.raises(ValueError, match=one_line("Blocks is 2x3x8x6x3, expected 40x32x256x256x3 as published")):
        read_blocks(tmp_path / "Blocks.mat", shape=BENCHMARK_SHAPE)


@pytest.mark.parametrize("write", [write_v5, write_v73])
@pytest.mark.parametrize("kept", [0, 100, 600, 0.5, 0.95])
def test_truncated_file_is_refused_by_name(tmp_path, write, kept):
    path = tmp_path / "Blocks.mat"
    write(path, {"Blocks": random_blocks(shape=(2, 3, 16, 16, 3))})
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match=one_line(str(path))):
        read_blocks(path)


def test_file_of_another_format_missing_file_and_folder_are_told_apart(tmp_path):
    (tmp_path / "Blocks.mat").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    for name, expected in (
        ("Blocks.mat", "not a readable MATLAB file (508 bytes"),
        ("none.mat", "cannot be read (No such file or directory)"),
        ("", "cannot be read (Is a directory)"),
    ):
        with pytest.raises(ValueError, match=one_line(f"{tmp_path / name}: {expected}")):
            read_blocks(tmp_path / name)


def test_validation_blocks_are_read_together_and_must_match(tmp_path):
    noisy, clean = tmp_path / "ValidationNoisyBlocksSrgb.mat", tmp_path / "ValidationGtBlocksSrgb.mat"
    write_v5(noisy, {noisy.stem: random_blocks(1)})
    write_v73(clean, {clean.stem: random_blocks(2)})
    pair = read_validation(noisy, clean)
    np.testing.assert_array_equal(pair[0], random_blocks(1))
    np.testing.assert_array_equal(pair[1], random_blocks(2))
    write_v73(clean, {clean.stem: random_blocks(2, (2, 2, 8, 6, 3))})
    with pytest.raises(ValueError, match=one_line("2x2x8x6x3, but ", " is 2x3x8x6x3")):
        read_validation(noisy, clean)
    with pytest.raises(ValueError, match="the same blocks"):
        read_validation(noisy, noisy)


def test_published_size_of_a_block_passes_the_checks(tmp_path):
    write_kaggle_csv(tmp_path / "SubmitSrgb.csv", random_blocks(shape=(1, 1, *BENCHMARK_SHAPE[2:])))
    header, line, end = (tmp_path / "SubmitSrgb.csv").read_text().split("\n")
    assert (header, end) == ("ID,BLOCK", "")
    assert len(line) == len("0,") + 256 * 256 * 3 * 4 // 3


@pytest.mark.parametrize(
    ("write", "name", "content"),
    [
        (write_kaggle_csv, "a.csv", random_blocks()),
        (write_sidd_mat, "a.mat", random_blocks()),
        (write_dnd_crop, "a.mat", np.zeros((4, 4, 3), np.float32)),
        (write_dnd_bundle, "a.mat", [np.zeros((4, 4, 3), np.float32)] * 2),
    ],
)
def test_product_that_does_not_read_back_is_not_left(tmp_path, monkeypatch, write, name, content):
    encode, save = base64.b64encode, scipy.io.savemat  # a disk that turns a bit
    monkeypatch.setattr(base64, "b64encode", lambda data: encode(bytes([data[0] ^ 1]) + data[1:]))
    monkeypatch.setattr(scipy.io, "savemat", lambda path, content, **more: save(path, _spoiled(content), **more))
    with pytest.raises(ValueError, match=one_line("read back")):
        write(tmp_path / name, content)
    assert not list(tmp_path.iterdir())


def _spoiled(content: dict) -> dict:
    name, cells = next(iter(content.items()))
    spoiled = cells.copy()
    spoiled.flat[-1] = 1 - spoiled.flat[-1]
    return content | {name: spoiled}


def test_crop_of_another_shape_type_or_range_is_refused(tmp_path):
    path = tmp_path / "0001_01.mat"
    write_dnd_crop(path, np.zeros((4, 4, 3), np.float32))
    read_dnd_crop(path, (4, 4, 3))
    for crop in (np.zeros((4, 5, 3), np.float32), np.zeros((4, 4, 3)), np.full((4, 4, 3), np.nan, np.float32)):
        write_v5(path, {"Idenoised_crop": crop})
        with pytest.raises(ValueError, match=r"0001_01\.mat"):
            read_dnd_crop(path, (4, 4, 3))


@pytest.mark.parametrize("write", [write_v5, write_v73])
def test_dnd_image_has_the_axes_of_matlab(tmp_path, write):
    image = np.random.default_rng(0).random((5, 7, 3), np.float32)
    write(image_path(tmp_path, 0), {"InoisySRGB": image})
    assert image_path(tmp_path, 0) == tmp_path / "images_srgb" / "0001.mat"
    read = read_image(image_path(tmp_path, 0))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, image)


def test_dnd_values_beyond_by_rounding_are_clipped(tmp_path):
    write_v73(tmp_path / "0001.mat", {"InoisySRGB": np.linspace(-1e-3, 1 + 1e-3, 60).reshape(4, 5, 3)})
    read = read_image(tmp_path / "0001.mat")
    assert (read.min(), read.max()) == (0, 1)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"Inoisy": np.zeros((5, 7, 3), np.float32)}, "has Inoisy, expected a variable InoisySRGB"),
        ({"InoisySRGB": np.zeros((5, 7), np.float32)}, "InoisySRGB is 5x7, expected height x width x 3"),
        ({"InoisySRGB": np.zeros((5, 7, 3), np.uint8)}, "InoisySRGB is of type uint8, expected float32 or float64"),
        ({"InoisySRGB": np.full((5, 7, 3), 255.0)}, "InoisySRGB has values from 255 to 255, expected 0 to 1"),
        ({"InoisySRGB": np.full((5, 7, 3), np.nan)}, "InoisySRGB has values from nan to nan, expected 0 to 1"),
    ],
)
def test_wrong_dnd_image_is_refused_by_name(tmp_path, content, expected):
    write_v73(tmp_path / "0001.mat", content)
    with pytest.raises(ValueError, match=one_line(f"0001.mat: {expected}")):
        read_image(tmp_path / "0001.mat")


def cells_of(boxes) -> np.ndarray:
    cells = np.empty((len(boxes), 1), object)
    for image, numbers in enumerate(boxes):
        cells[image, 0] = np.asarray(numbers, float)
    return cells


@pytest.mark.parametrize("write", [write_v5, write_v73])
@pytest.mark.parametrize(
    "content",
    [
        {"info": {"camera": np.ones((1, 2)), "boundingboxes": cells_of(BOXES)}},
        {"info": {"boundingboxes": cells_of(BOXES).T}},
        {"boundingboxes": cells_of(BOXES)},
        {"boundingboxes": BOXES.astype(float)},
    ],
    ids=["cells in info", "row of cells", "cells alone", "numbers"],
)
def test_boxes_are_read_from_every_form_of_info(tmp_path, write, content):
    write(tmp_path / "info.mat", content)
    boxes = read_boxes(tmp_path, LAYOUT)
    image = np.arange(8 * 12 * 3).reshape(8, 12, 3)
    for found, expected in zip(boxes, BOXES):
        for box, (y1, x1, y2, x2) in zip(found, expected):
            rows = [[image[y - 1, x - 1] for x in range(x1, x2 + 1)] for y in range(y1, y2 + 1)]  # MATLAB's y1:y2
            np.testing.assert_array_equal(cut(tmp_path / "0001.mat", image, box), rows)


@pytest.mark.parametrize("write", [write_v5, write_v73])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"info": {"camera": np.ones((1, 2))}}, "has no info.boundingboxes"),
        ({"other": np.ones((1, 2))}, "has no info.boundingboxes"),
        ({"boundingboxes": cells_of(BOXES[:1])}, "boundingboxes are of 1 images, expected 2"),
        ({"boundingboxes": cells_of(BOXES[:, :2])}, "the boxes of image 1 are 2x4 of float64, expected 3x4 numbers"),
        ({"boundingboxes": cells_of(BOXES - 1)}, "image 1 has the box 0 0 3 3, expected y1 x1 y2 x2 from 1, 4x4"),
        ({"boundingboxes": cells_of(BOXES * [1, 1, 2, 1])}, "image 1 has the box 1 1 8 4, expected"),
        ({"boundingboxes": cells_of(BOXES + 0.5)}, "image 1 has the box 1.5 1.5 4.5 4.5, expected"),
        ({"boundingboxes": cells_of(BOXES * np.nan)}, "image 1 has the box nan nan nan nan, expected"),
    ],
)
def test_wrong_boxes_are_refused_by_name(tmp_path, write, content, expected):
    write(tmp_path / "info.mat", content)
    with pytest.raises(ValueError, match=one_line(f"info.mat: {expected}")):
        read_boxes(tmp_path, LAYOUT)


def test_box_beyond_the_image_is_refused(tmp_path):
    image = np.zeros((8, 12, 3), np.float32)
    assert cut(tmp_path / "0001.mat", image, (slice(4, 8), slice(8, 12))).shape == (4, 4, 3)
    for box in ((slice(5, 9), slice(0, 4)), (slice(0, 4), slice(9, 13))):
        with pytest.raises(ValueError, match=r"0001\.mat: 8x12, expected the box .* of info\.mat within it"):
            cut(tmp_path / "0001.mat", image, box)
