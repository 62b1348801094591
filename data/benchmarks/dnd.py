"""The Darmstadt Noise Dataset: whole sRGB images, the boxes of the crops that are scored, what its server takes."""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io

from data.benchmarks.mat_v5 import load_v5
from data.benchmarks.sidd import (
    item_of,
    make_cells,
    matlab_errors,
    read_matlab,
    require_same,
    require_same_cells,
    spell_shape,
)
from utils.files import atomic_path

IMAGE_KEY, BOXES_KEY, CROP_KEY, BUNDLE_KEY = "InoisySRGB", "boundingboxes", "Idenoised_crop", "Idenoised"
EVAL_VERSION = "1.0"  # of DND's server
OVERSHOOT = 0.1  # tells images in [0, 1] from those in [0, 255] and from unclipped ones

Box = tuple[slice, slice]


class DndLayout(NamedTuple):
    """The number of images, of crops of each, and the pixels of a crop's side."""

    images: int
    crops: int
    size: int


PUBLISHED_LAYOUT = DndLayout(images=50, crops=20, size=512)


class Dnd(NamedTuple):
    """The data set on the disk: the file with the boxes, and for each image its file and the boxes of its crops."""

    info: Path
    images: list[Path]
    boxes: list[list[Box]]


def find_dnd(folder: str | Path, layout: DndLayout = PUBLISHED_LAYOUT) -> Dnd:
    """Find DND's images and read their boxes. Raise ValueError that names a file which is missing, damaged or wrong."""
    boxes = read_boxes(folder, layout)
    images = [image_path(folder, number) for number in range(layout.images)]
    for path in images:
        if not path.is_file():
            raise ValueError(f"{path}: no such file, expected {layout.images} images; is {folder} DND's folder?")
    return Dnd(Path(folder) / "info.mat", images, boxes)


def image_path(folder: str | Path, image: int) -> Path:
    """Return the path of an image, counted from 0; DND's names count from 1."""
    return Path(folder) / "images_srgb" / f"{image + 1:04d}.mat"


def read_image(path: str | Path) -> np.ndarray:
    """Read a noisy image, v7.3 as published or v5: -> (H, W, 3) float32 in [0, 1].

    Values beyond by rounding or by the filters of a raw converter are clipped.

    Raises:
        ValueError: the file is missing or damaged, or its key, shape, type or range is another one.
    """
    image = read_matlab(path, IMAGE_KEY, ["float32", "float64"])
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"{path}: {IMAGE_KEY} is {spell_shape(image.shape)}, expected height x width x 3")
    image = np.ascontiguousarray(image, np.float32)
    lowest, highest = image.min(), image.max()
    if not (lowest >= -OVERSHOOT and highest <= 1 + OVERSHOOT):  # False for NaN as well
        raise ValueError(f"{path}: {IMAGE_KEY} has values from {lowest:g} to {highest:g}, expected 0 to 1")
    return image.clip(0, 1, out=image)


def read_boxes(folder: str | Path, layout: DndLayout) -> list[list[Box]]:
    """Read from info.mat where the crops of every image are: for each image, for each crop, rows and columns.

    Raises:
        ValueError: the file is missing or damaged, or does not hold the boxes of this layout.
    """
    path = Path(folder) / "info.mat"
    with matlab_errors(path):
        cells = _cells_of_hdf5(path) if h5py.is_hdf5(path) else _cells_of_v5(path)
    if cells is None:
        raise ValueError(f"{path}: has no info.{BOXES_KEY}")
    if len(cells) != layout.images:
        raise ValueError(f"{path}: {BOXES_KEY} are of {len(cells)} images, expected {layout.images}")
    boxes = []
    for image, numbers in enumerate(map(np.asarray, cells)):
        if numbers.shape != (layout.crops, 4) or numbers.dtype.kind not in "iuf":
            what = f"{spell_shape(numbers.shape)} of {numbers.dtype}"
            raise ValueError(f"{path}: the boxes of image {image + 1} are {what}, expected {layout.crops}x4 numbers")
        boxes.append([_box(path, image, row, layout.size) for row in numbers])
    return boxes


def _cells_of_hdf5(path: Path) -> list[np.ndarray] | None:
    """Read one array per image: a cell array in the struct `info`, or by itself."""
    with h5py.File(path) as file:
        info = item_of(file, "info") or file
        item = item_of(info, BOXES_KEY) if isinstance(info, h5py.Group) else None
        if not isinstance(item, h5py.Dataset):
            return None
        if h5py.check_ref_dtype(item.dtype) is None:
            return list(item[()].T)
        return [file[reference][()].T for reference in item[()].ravel()]


def _cells_of_v5(path: Path) -> list[np.ndarray] | None:
    content = load_v5(path, ["info", BOXES_KEY])
    info = content.get("info", content)
    if isinstance(info, np.ndarray):
        info = {name: info[name].item() for name in info.dtype.names or ()}  # a struct is a 1x1 array of records
    boxes = info.get(BOXES_KEY)
    if boxes is None:
        return None
    return list(boxes.ravel()) if boxes.dtype == object else list(boxes)


def _box(path: Path, image: int, row: np.ndarray, size: int) -> Box:
    """Turn MATLAB's y1 x1 y2 x2, from 1 and inclusive, into Python's rows and columns."""
    numbers = [float(value) for value in row]
    top, left, bottom, right = (int(value) if value.is_integer() else -1 for value in numbers)
    if top < 1 or left < 1 or (bottom - top + 1, right - left + 1) != (size, size):
        spelled = " ".join(f"{value:g}" for value in numbers)
        raise ValueError(f"{path}: image {image + 1} has the box {spelled}, expected y1 x1 y2 x2 from 1, {size}x{size}")
    return slice(top - 1, bottom), slice(left - 1, right)


def cut(path: Path, image: np.ndarray, box: Box) -> np.ndarray:
    """Cut a crop out of an image: (H, W, 3) -> (S, S, 3). Raise ValueError that names the file for one beyond it."""
    rows, columns = box
    if rows.stop > image.shape[0] or columns.stop > image.shape[1]:
        where = f"{rows.start + 1} {columns.start + 1} {rows.stop} {columns.stop}"
        raise ValueError(f"{path}: {spell_shape(image.shape[:2])}, expected the box {where} of info.mat within it")
    return np.ascontiguousarray(image[rows, columns])


def write_dnd_crop(path: str | Path, crop: np.ndarray) -> None:
    """Write a denoised crop, (S, S, 3) float32 in [0, 1].

    Raise ValueError, and leave nothing, if it does not read back as it was written.
    """
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, {CROP_KEY: crop}, appendmat=False)
        require_same(np.array_equal(read_dnd_crop(temporary, crop.shape), crop), temporary, CROP_KEY)


def read_dnd_crop(path: str | Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read a denoised crop. Raise ValueError that names the file unless it is float32 of this shape in [0, 1]."""
    path = Path(path)
    crop = read_matlab(path, CROP_KEY, ["float32"])
    require_same(crop.shape == shape, path, f"the shape of {CROP_KEY}")
    require_same(bool(crop.min() >= 0 and crop.max() <= 1), path, f"the range of {CROP_KEY}")
    return crop


def write_dnd_bundle(path: str | Path, crops: list[np.ndarray]) -> None:
    """Write an image's crops, (S, S, 3) float32 each, as DND's server takes them.

    Raise ValueError, and leave nothing, if it does not read back as it was written.
    """
    cells = make_cells(crops)
    content: dict[str, Any] = {BUNDLE_KEY: cells, "israw": False, "eval_version": EVAL_VERSION}
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, content, appendmat=False)
        with matlab_errors(temporary):
            found = scipy.io.loadmat(temporary, appendmat=False)
        require_same_cells(found.get(BUNDLE_KEY), cells.reshape(1, -1), temporary, BUNDLE_KEY)  # one axis: a MATLAB row
        same = found.get("eval_version") == [EVAL_VERSION] and found.get("israw") == [[0]]
        require_same(same, temporary, "eval_version or israw")
