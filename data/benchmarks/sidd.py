"""The benchmark files of SIDD: blocks in MATLAB files, and what the two servers take."""

import base64
import errno
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
from tqdm import tqdm

from data.benchmarks.mat_v5 import load_v5
from utils.command import printable
from utils.files import atomic_path, web_page

BENCHMARK_KEY = "BenchmarkNoisyBlocksSrgb"
VALIDATION_KEYS = "ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb"
BENCHMARK_SHAPE = (40, 32, 256, 256, 3)  # of the published files: images, blocks of each, height, width, RGB
DENOISED_KEY = "DenoisedBlocksSrgb"
MOST_VALUES = 10**9  # of a variable: four times as many as the published files have; a few bytes can promise any number
CSV_HEADER = "ID,BLOCK"

Shape = tuple[int, ...]
Images = Sequence[np.ndarray]  # (blocks, H, W, 3) uint8 each, memory maps for instance


@contextmanager
def matlab_errors(path: Path) -> Iterator[None]:
    """Turn what the readers raise into ValueErrors that name the file."""
    try:
        open(path, "rb").close()
        yield
    except MemoryError:
        raise ValueError(f"{path}: too large for the memory") from None
    except OSError as error:
        if error.strerror:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
        raise ValueError(f"{path}: not a readable MATLAB file (truncated or damaged)") from None
    except Exception:  # SciPy raises what it likes (TypeError, zlib.error...) on damaged files
        what = web_page(path) or f"{path.stat().st_size} bytes; truncated, damaged or another format"
        raise ValueError(f"{path}: not a readable MATLAB file ({what})") from None


def read_matlab(
    path: str | Path, key: str, kinds: Collection[str], others: Collection[str] | None = None
) -> np.ndarray:
    """Read a numeric variable of a MATLAB file, v5 or v7.3 (which is HDF5 with the axes reversed).

    `kinds` names the NumPy types that are accepted. The axes and the bytes keep MATLAB's order, so that nothing is in
    memory twice. With `others` the only variable of a file may have another name, but none of these.

    Raises:
        ValueError: the file is missing or damaged, or the variable is absent or of another type.
    """
    path = Path(path)
    with matlab_errors(path):
        if h5py.is_hdf5(path):
            with h5py.File(path) as file:
                names = [name for name in file if not name.startswith("#")]  # the others are MATLAB's own
                key = _renamed(key, names, others)
                found: Any = item_of(file, key)
                kind = "struct" if isinstance(found, h5py.Group) else getattr(getattr(found, "dtype", None), "name", "")
                found = found[()].T if kind in kinds else found
        else:
            shapes = {name: shape for name, shape, _ in scipy.io.whosmat(path, appendmat=False)}
            names = list(shapes)
            key = _renamed(key, names, others)
            if math.prod(shapes.get(key, ())) > MOST_VALUES:
                raise MemoryError
            found = load_v5(path, [key]).get(key)
            kind = "" if found is None else "struct" if found.dtype.names else found.dtype.name
    if found is None:
        raise ValueError(
            f"{path}: has {printable(', '.join(names))[:200] or 'no variables'}, expected a variable {key}"
        )
    if kind not in kinds:
        raise ValueError(f"{path}: {printable(key)} is of type {kind}, expected {' or '.join(kinds)}")
    return found


def _renamed(key: str, names: list[str], others: Collection[str] | None) -> str:
    """Take the only variable of a file for the wanted one, unless it is known to be another."""
    is_it = others is not None and len(names) == 1 and names[0] not in others
    return names[0] if is_it else key


def item_of(group: h5py.Group, key: str) -> h5py.Group | h5py.Dataset | None:
    """Return what a group of an HDF5 file has under a name, None for nothing.

    Raise OSError where it lies in another file, which is not the user's choice, and MemoryError for too many values.
    """
    link = group.get(key, getlink=True)
    item = None if isinstance(link, h5py.ExternalLink) else group.get(key)
    if isinstance(link, h5py.ExternalLink) or (isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)):
        raise OSError(errno.EPERM, f"its {key} lies in another file")
    if isinstance(item, h5py.Dataset) and (item.size or 0) > MOST_VALUES:
        raise MemoryError
    return item


def read_blocks(
    path: str | Path, key: str | None = None, shape: Shape | None = None, others: Collection[str] = ()
) -> np.ndarray:
    """Read a file of blocks: -> (images, blocks, H, W, 3) uint8, in the file's order of bytes.

    By default the variable `key` is named as the file, as in the published ones; in a file that was renamed it is the
    only variable, but none of `others`. `shape` is the one to demand. Published blocks in one row are put into images.

    Raises:
        ValueError: the file is missing, damaged or no MATLAB file, or the key, type or shape is another one.
    """
    path = Path(path)
    blocks = read_matlab(path, key or path.stem, ["uint8"], others if key is None else None)
    key = key or path.stem
    if blocks.shape == (math.prod(BENCHMARK_SHAPE[:2]), *BENCHMARK_SHAPE[2:]):
        blocks = blocks.reshape(BENCHMARK_SHAPE)
    if blocks.ndim != 5 or blocks.shape[4] != 3 or blocks.size == 0:
        missing = "; in MATLAB reshape(x, [1 size(x)]) adds the axis of images" if blocks.ndim == 4 else ""
        expected = f"expected images x blocks x height x width x 3{missing}"
        raise ValueError(f"{path}: {key} is {spell_shape(blocks.shape)}, {expected}")
    if shape is not None and blocks.shape != shape:
        raise ValueError(f"{path}: {key} is {spell_shape(blocks.shape)}, expected {spell_shape(shape)} as published")
    return blocks


def read_benchmark(path: str | Path) -> np.ndarray:
    """Read the published noisy blocks of the benchmark: -> (40, 32, 256, 256, 3) uint8. Raise ValueError for others."""
    return read_blocks(path, BENCHMARK_KEY, BENCHMARK_SHAPE)


def read_validation(noisy_path: str | Path, clean_path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the noisy and the clean validation blocks: -> two arrays (images, blocks, H, W, 3) uint8.

    Raises:
        ValueError: as `read_blocks`, or the two files do not belong together.
    """
    noisy = read_blocks(noisy_path, others=(BENCHMARK_KEY, VALIDATION_KEYS[1]))
    clean = read_blocks(clean_path, others=(BENCHMARK_KEY, VALIDATION_KEYS[0]))
    if noisy.shape != clean.shape:
        raise ValueError(
            f"{clean_path}: {spell_shape(clean.shape)}, but {noisy_path} is {spell_shape(noisy.shape)}; expected the "
            "clean blocks of the same noisy ones"
        )
    if np.array_equal(noisy, clean):
        raise ValueError(f"{clean_path}: the same blocks as in {noisy_path}, expected the clean ones of the noisy ones")
    return noisy, clean


def write_kaggle_csv(path: str | Path, images: Images) -> None:
    """Write SIDD's submission for Kaggle: one line per block, its number and the base64 of its bytes in C order.

    Raise ValueError, and leave nothing, if it does not read back as it was written.
    """
    blocks = [block for image in images for block in image]
    with atomic_path(path) as temporary:
        with open(temporary, "w", encoding="ascii", newline="") as file:
            file.write(f"{CSV_HEADER}\n")
            for number, block in enumerate(_progress(blocks, "writing")):
                file.write(f"{number},{base64.b64encode(block.tobytes()).decode()}\n")
        with open(temporary, encoding="ascii", newline="") as file:
            require_same(next(file, "") == f"{CSV_HEADER}\n", temporary, "its header")
            for number, block in enumerate(_progress(blocks, "checking")):
                found, _, text = next(file, "").rstrip("\n").partition(",")
                require_same(found == str(number) and _holds(text, block), temporary, f"the block of ID {number}")
            require_same(next(file, None) is None, temporary, "its end")


def _holds(text: str, block: np.ndarray) -> bool:
    try:
        return base64.b64decode(text, validate=True) == block.tobytes()
    except ValueError:  # no base64
        return False


def write_sidd_mat(path: str | Path, images: Images) -> None:
    """Write SIDD's submission for the older server: a cell array of blocks, images x blocks, uint8 each.

    Raise ValueError, and leave nothing, if it does not read back as it was written.
    """
    cells = make_cells([block for image in images for block in image]).reshape(len(images), -1)
    with atomic_path(path) as temporary:
        scipy.io.savemat(temporary, {DENOISED_KEY: cells}, appendmat=False)
        with matlab_errors(temporary):
            found = scipy.io.loadmat(temporary, appendmat=False).get(DENOISED_KEY)
        require_same_cells(found, cells, temporary, DENOISED_KEY)


def make_cells(items: Sequence[np.ndarray]) -> np.ndarray:
    """Put arrays into an array of objects, which SciPy writes as a cell array."""
    cells = np.empty(len(items), object)
    for number, item in enumerate(items):
        cells[number] = item
    return cells


def require_same_cells(found: Any, cells: np.ndarray, path: Path, key: str) -> None:
    """Raise ValueError unless a cell array has been read back as it was written."""
    require_same(isinstance(found, np.ndarray) and found.shape == cells.shape, path, key)
    for index in np.ndindex(cells.shape):
        same = found[index].dtype == cells[index].dtype and np.array_equal(found[index], cells[index])
        require_same(same, path, f"{key} {' '.join(str(number + 1) for number in index)}")


def require_same(same: bool, path: Path, what: str) -> None:
    """Raise ValueError unless something has been read back as it was written."""
    if not same:
        raise ValueError(f"{path}: {what} does not read back as it was written; is the disk sound?")


def spell_shape(shape: Shape) -> str:
    """Spell a shape: (40, 32) becomes 40x32."""
    return "x".join(map(str, shape)) or "a single value"


def _progress(blocks: list[np.ndarray], what: str) -> tqdm:
    return tqdm(blocks, desc=what, unit="block", leave=False, disable=None)
