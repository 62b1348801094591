"""What the benchmarks' servers take, read back as they would before it gets its name."""

import base64
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from tqdm import tqdm

from data.benchmarks.mat_files import mat_errors
from utils.files import atomic_path

CSV_HEADER = ["ID", "BLOCK"]
BLOCKS_KEY = "DenoisedBlocksSrgb"
CROP_KEY = "Idenoised_crop"
BUNDLE_KEY = "Idenoised"
EVAL_VERSION = "1.0"  # of DND's server

Images = Sequence[np.ndarray]  # (blocks, H, W, 3) uint8 each, memory maps for instance


def write_kaggle_csv(path: str | Path, images: Images) -> None:
    """Write SIDD's submission for Kaggle: a line a block, its number and the base64 of its bytes in C order.

    Raises ValueError, and leaves nothing, when it does not read back as it was written.
    """
    numbered = [(image, block) for image in range(len(images)) for block in range(len(images[image]))]
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="ascii", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(CSV_HEADER)
            for number, (image, block) in enumerate(tqdm(numbered, **_bar("writing"))):
                pixels = np.ascontiguousarray(images[image][block]).tobytes()
                writer.writerow([number, base64.b64encode(pixels).decode("ascii")])
        _check_kaggle_csv(temporary, images, numbered)


def _check_kaggle_csv(path: Path, images: Images, numbered: list[tuple[int, int]]) -> None:
    before = csv.field_size_limit(2**31 - 1)  # a block's text is longer than what Python expects of a field
    try:
        with open(path, encoding="ascii", newline="") as file:
            rows = csv.reader(file)
            _require(next(rows, None) == CSV_HEADER, path, "its header")
            for number, (image, block) in enumerate(tqdm(numbered, **_bar("checking"))):
                row = next(rows, [])
                _require(len(row) == 2 and row[0] == str(number), path, f"ID {number}")
                pixels = np.frombuffer(base64.b64decode(row[1], validate=True), np.uint8)
                expected = images[image][block]
                same = pixels.size == expected.size and np.array_equal(pixels.reshape(expected.shape), expected)
                _require(same, path, f"the block of ID {number}")
            _require(next(rows, None) is None, path, "its end")
    except (csv.Error, ValueError) as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: does not read back ({error})") from None
    finally:
        csv.field_size_limit(before)


def write_sidd_mat(path: str | Path, images: Images) -> None:
    """Write SIDD's submission for the older server: a cell array of blocks, images x blocks, uint8 each.

    Raises ValueError, and leaves nothing, when it does not read back as it was written.
    """
    cells = _cells((len(images), len(images[0])), [block for image in images for block in image])
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, {BLOCKS_KEY: cells}, appendmat=False)
        with mat_errors(temporary):
            found = scipy.io.loadmat(temporary, appendmat=False).get(BLOCKS_KEY)
        _require_cells(found, cells, temporary, BLOCKS_KEY)


def write_dnd_crop(path: str | Path, crop: np.ndarray) -> None:
    """Write a denoised crop of DND, (S, S, 3) float32 in [0, 1].

    Raises ValueError, and leaves nothing, when it does not read back as it was written.
    """
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, {CROP_KEY: crop}, appendmat=False)
        _require(np.array_equal(read_dnd_crop(temporary, crop.shape), crop), temporary, CROP_KEY)


def read_dnd_crop(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a denoised crop. Raises ValueError that names the file unless it is float32 of this shape in [0, 1]."""
    path = Path(path)
    with mat_errors(path):
        crop = scipy.io.loadmat(path, appendmat=False).get(CROP_KEY)
    _require(crop is not None and crop.shape == shape and crop.dtype == np.float32, path, f"a {CROP_KEY}")
    _require(bool(crop.min() >= 0 and crop.max() <= 1), path, f"the range of {CROP_KEY}")
    return crop


def write_dnd_bundle(path: str | Path, crops: list[np.ndarray]) -> None:
    """Write an image's crops, (S, S, 3) float32 each, as DND's server takes them.

    Raises ValueError, and leaves nothing, when it does not read back as it was written.
    """
    cells = _cells((len(crops),), crops)
    content: dict[str, Any] = {BUNDLE_KEY: cells, "israw": False, "eval_version": EVAL_VERSION}
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, content, appendmat=False)
        with mat_errors(temporary):
            found = scipy.io.loadmat(temporary, appendmat=False)
        _require_cells(found.get(BUNDLE_KEY), cells.reshape(1, -1), temporary, BUNDLE_KEY)  # of one axis: a MATLAB row
        same = found.get("eval_version") == [EVAL_VERSION] and found.get("israw") == [[0]]
        _require(same, temporary, "eval_version or israw")


def _cells(shape: tuple[int, ...], items: list[np.ndarray]) -> np.ndarray:
    """Make what SciPy writes as a cell array."""
    cells = np.empty(len(items), object)
    cells[:] = [None] * len(items)
    for number, item in enumerate(items):
        cells[number] = item
    return cells.reshape(shape)


def _require_cells(found: Any, cells: np.ndarray, path: Path, key: str) -> None:
    _require(isinstance(found, np.ndarray) and found.dtype == object and found.shape == cells.shape, path, key)
    for index in np.ndindex(cells.shape):
        item, expected = found[index], cells[index]
        same = item.shape == expected.shape and item.dtype == expected.dtype and np.array_equal(item, expected)
        _require(same, path, f"{key} {' '.join(str(number + 1) for number in index)}")


def _require(same: bool, path: Path, what: str) -> None:
    if not same:
        raise ValueError(f"{path}: {what} does not read back as it was written; is the disk sound?")


def _bar(what: str) -> dict[str, Any]:
    return {"desc": what, "unit": "block", "leave": False, "disable": None}
