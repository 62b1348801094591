"""MATLAB files for tests: v5 by SciPy, v7.3 by h5py as MATLAB itself lays it out."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io

CLASSES = {"float32": "single", "float64": "double"}


def write_v5(path: Path, content: dict[str, Any]) -> None:
    """Write arrays, object arrays (cells) and dicts (structs) as v5."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, content, appendmat=False)


def write_v73(path: Path, content: dict[str, Any]) -> None:
    """Write arrays, object arrays (cells) and dicts (structs) as v7.3: axes reversed, cells as references."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        _write(file, file.create_group("#refs#"), content)
    with open(path, "rb+") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(508, b" ") + b"\0\2IM")


def _write(group: h5py.Group, cells: h5py.Group, content: dict[str, Any]) -> None:
    for name, value in content.items():
        if isinstance(value, dict):
            _write(group.create_group(name), cells, value)
            group[name].attrs["MATLAB_class"] = np.bytes_("struct")
        elif value.dtype == object:
            references = np.empty(value.shape, h5py.ref_dtype)
            for index, item in np.ndenumerate(value):
                references[index] = _dataset(cells, f"c{len(cells)}", item).ref
            item = group.create_dataset(name, data=references.T)
            item.attrs["MATLAB_class"] = np.bytes_("cell")
        else:
            _dataset(group, name, value)


def _dataset(group: h5py.Group, name: str, array: np.ndarray) -> h5py.Dataset:
    dataset = group.create_dataset(name, data=array.T)
    dataset.attrs["MATLAB_class"] = np.bytes_(CLASSES.get(array.dtype.name, array.dtype.name))
    return dataset
