"""The Darmstadt Noise Dataset as it is downloaded: whole sRGB images, and the boxes of the crops that are scored."""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io

from data.benchmarks.mat_files import is_hdf5, list_variables, mat_errors, read_variable, require_variable
from data.benchmarks.sidd import times

IMAGE_KEY, BOXES_KEY = "InoisySRGB", "boundingboxes"
OVERSHOOT = 0.1  # tells images in [0, 1] from those in [0, 255] and from unclipped ones

Box = tuple[slice, slice]


class DndLayout(NamedTuple):
    """How many images DND has, crops of each, and pixels of a crop's side; the published ones by default."""

    images: int = 50
    crops: int = 20
    size: int = 512


def image_path(folder: str | Path, image: int) -> Path:
    """Name the file of an image, counted from 0; DND's names count from 1."""
    return Path(folder) / "images_srgb" / f"{image + 1:04d}.mat"


def read_image(path: str | Path) -> np.ndarray:
    """Read a noisy image, v7.3 as published or v5: -> (H, W, 3) float32 in [0, 1].

    Values beyond by rounding or by the filters of a raw converter are clipped. Raises ValueError that names the file
    when it is missing or damaged, and for another key, shape, class or range.
    """
    shape = require_variable(path, IMAGE_KEY, ("single", "double", "float32", "float64")).shape
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise ValueError(f"{path}: {IMAGE_KEY} is {times(shape)}, expected height x width x 3")
    image = np.ascontiguousarray(read_variable(path, IMAGE_KEY), np.float32)
    lowest, highest = image.min(), image.max()
    if not (lowest >= -OVERSHOOT and highest <= 1 + OVERSHOOT):  # False for NaN as well
        raise ValueError(f"{path}: {IMAGE_KEY} has values from {lowest:g} to {highest:g}, expected 0 to 1")
    return image.clip(0, 1, out=image)


def read_boxes(folder: str | Path, layout: DndLayout) -> list[list[Box]]:
    """Read where the crops of every image are, from info.mat: -> for each image, for each crop, rows and columns.

    Raises ValueError that names the file when it is missing, damaged, or does not hold the boxes of this layout.
    """
    path = Path(folder) / "info.mat"
    cells = _read_cells(path)
    if len(cells) != layout.images:
        raise ValueError(f"{path}: {BOXES_KEY} are of {len(cells)} images, expected {layout.images}")
    return [
        [_box(path, image, row, layout) for row in _rows(path, image, numbers, layout)]
        for image, numbers in enumerate(cells)
    ]


def _read_cells(path: Path) -> list[np.ndarray]:
    """Read the boxes' arrays, one an image: a cell array in the struct `info`, or by itself."""
    variables = list_variables(path)
    with mat_errors(path):
        cells = _cells_of_hdf5(path) if is_hdf5(path) else _cells_of_v5(path)
    if cells is None:
        raise ValueError(f"{path}: has {', '.join(variables) or 'no variables'}, expected info.{BOXES_KEY}")
    return cells


def _cells_of_hdf5(path: Path) -> list[np.ndarray] | None:
    with h5py.File(path) as file:
        info = file.get("info", file)
        item = info.get(BOXES_KEY) if isinstance(info, h5py.Group) else None
        if not isinstance(item, h5py.Dataset):
            return None
        if h5py.check_ref_dtype(item.dtype) is None:
            return list(item[()].T)
        return [file[reference][()].T for reference in item[()].ravel()]


def _cells_of_v5(path: Path) -> list[np.ndarray] | None:
    names = ["info", BOXES_KEY]
    content: dict[str, Any] = scipy.io.loadmat(path, variable_names=names, appendmat=False)
    info = content.get("info", content)
    if isinstance(info, np.ndarray):
        info = {name: info[name].item() for name in info.dtype.names or ()}  # a struct is a 1x1 array of records
    boxes = info.get(BOXES_KEY)
    if boxes is None:
        return None
    return list(boxes.ravel()) if boxes.dtype == object else list(boxes)


def _rows(path: Path, image: int, numbers: np.ndarray, layout: DndLayout) -> np.ndarray:
    rows = np.asarray(numbers)
    if rows.shape != (layout.crops, 4) or rows.dtype.kind not in "iuf":
        what = f"{times(rows.shape)} of {rows.dtype}"
        raise ValueError(f"{path}: the boxes of image {image + 1} are {what}, expected {layout.crops}x4 numbers")
    return rows


def _box(path: Path, image: int, row: np.ndarray, layout: DndLayout) -> Box:
    """Turn MATLAB's y1 x1 y2 x2, from 1 and inclusive, into Python's rows and columns."""
    numbers = [float(value) for value in row]
    top, left, bottom, right = (int(value) if value.is_integer() else -1 for value in numbers)
    if top < 1 or left < 1 or (bottom - top + 1, right - left + 1) != (layout.size, layout.size):
        spelled = " ".join(f"{value:g}" for value in numbers)
        raise ValueError(
            f"{path}: image {image + 1} has the box {spelled}, expected y1 x1 y2 x2 from 1, {layout.size}x{layout.size}"
        )
    return slice(top - 1, bottom), slice(left - 1, right)


def cut(path: Path, image: np.ndarray, box: Box) -> np.ndarray:
    """Cut a crop out of an image, (H, W, 3) -> (S, S, 3). Raises ValueError that names the file for one beyond it."""
    rows, columns = box
    if rows.stop > image.shape[0] or columns.stop > image.shape[1]:
        where = f"{rows.start + 1} {columns.start + 1} {rows.stop} {columns.stop}"
        raise ValueError(f"{path}: {times(image.shape[:2])}, expected the box {where} of info.mat within it")
    return np.ascontiguousarray(image[rows, columns])
