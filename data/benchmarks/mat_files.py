"""MATLAB files, v5 and v7.3 (which is HDF5 with the axes reversed), read alike."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import scipy.io


class Variable(NamedTuple):
    """What a file says of a variable: its shape in MATLAB's order of axes, and MATLAB's class such as `uint8`."""

    shape: tuple[int, ...]
    kind: str


@contextmanager
def mat_errors(path: Path) -> Iterator[None]:
    """Turn what the readers raise into ValueErrors that name the file; first of all that there is none."""
    if not path.is_file():
        raise ValueError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        yield
    except MemoryError:
        raise ValueError(f"{path}: too large for the memory") from None
    except PermissionError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception:  # SciPy and HDF5 raise what they like (TypeError, zlib.error, RuntimeError...) on damaged files
        what = f"{path.stat().st_size} bytes; truncated, damaged or another format"
        raise ValueError(f"{path}: not a readable MATLAB file ({what})") from None


def is_hdf5(path: Path) -> bool:
    """Whether a file is of MATLAB's v7.3."""
    with open(path, "rb"):  # h5py calls what it may not read no HDF5
        return h5py.is_hdf5(path)


def list_variables(path: str | Path) -> dict[str, Variable]:
    """Look at the variables of a file without reading them. Raises ValueError that names a file that is none."""
    path = Path(path)
    with mat_errors(path):
        if not is_hdf5(path):
            return {name: Variable(tuple(shape), kind) for name, shape, kind in scipy.io.whosmat(path, appendmat=False)}
        with h5py.File(path) as file:
            return {name: _variable(file[name]) for name in file if not name.startswith("#")}  # MATLAB's own


def _variable(item: h5py.Dataset | h5py.Group) -> Variable:
    if isinstance(item, h5py.Group):
        return Variable((), "struct")
    kind = item.attrs.get("MATLAB_class", item.dtype.name)
    return Variable(item.shape[::-1], kind.decode() if isinstance(kind, bytes) else str(kind))


def require_variable(path: str | Path, key: str, kinds: tuple[str, ...]) -> Variable:
    """Look for a numeric variable of one of MATLAB's classes `kinds`. Raises ValueError that says what is there."""
    variables = list_variables(path)
    if key not in variables:
        raise ValueError(f"{path}: has {', '.join(variables) or 'no variables'}, expected a variable {key}")
    found = variables[key]
    if found.kind not in kinds:
        raise ValueError(f"{path}: {key} is of class {found.kind}, expected {' or '.join(kinds)}")
    return found


def read_variable(path: str | Path, key: str) -> np.ndarray:
    """Read a numeric variable that is known to be there, in MATLAB's order of axes.

    The bytes stay in MATLAB's order too (`order="F"`), so that nothing is in memory twice. Raises ValueError that
    names a damaged file.
    """
    path = Path(path)
    with mat_errors(path):
        if not is_hdf5(path):
            return scipy.io.loadmat(path, variable_names=[key], appendmat=False)[key]
        with h5py.File(path) as file:
            return file[key][()].T
