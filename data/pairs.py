"""The image pairs of a run as arrays: crops, or the same crops as windows of uncropped frames. Nothing is decoded."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.crop import crop_paths
from data.image_sets import PUBLISHED_CROPS
from data.sidd import Pair, find_crops, find_pairs
from utils.image import png_size


@dataclass(frozen=True)
class ImageList:
    """Image pairs by number, in arrays: ten thousand weigh a few megabytes, which worker processes share.

    Paths are bytes (`os.fsencode`). A pair is called as its crops are, also where there are no crops on the disk.
    """

    folders: list[Path]  # of the scenes
    files: np.ndarray  # (m, 2) clean and noisy file, crops or frames, in the order of the scenes
    scene: np.ndarray  # (m,) index into `folders`
    file_sizes: np.ndarray  # (m, 2) height, width
    names: np.ndarray  # (n, 2) clean and noisy crop
    source: np.ndarray  # (n,) index into `files`
    boxes: np.ndarray  # (n, 4) top, left, height, width within the files

    def __len__(self) -> int:
        return len(self.names)

    @property
    def windowed(self) -> bool:
        """Whether several pairs share a file, so that each would have to be decoded many times."""
        return len(self.names) > len(self.files)

    def fingerprint(self) -> str:
        """Describe the pairs by count and names (scene and file), so that a resumed run can tell that they changed."""
        names = "\n".join("/".join(Path(os.fsdecode(name)).parts[-3:]) for name in self.names.ravel())
        return f"{len(self)} crops, {hashlib.sha256(names.encode(errors='surrogateescape')).hexdigest()[:12]}"


def are_cropped(folders: Iterable[Path]) -> bool:
    """Tell whether a data set is Crop_SIDD.py's output: a single scene with clean/ or noisy/ shows it."""
    return any((folder / side).is_dir() for folder in folders for side in ("clean", "noisy"))


def list_images(
    folders: list[Path], cropped: bool, smallest: int, option: str, origin: str = "--train_img_dir"
) -> ImageList:
    """List the pairs of scene folders, in the order of the scenes and of the crops' names.

    Looks at both ends of all files, so that a run that would stop at its 3000th step over one bad file stops before
    its first; damage in the middle of a file is found when it is read. Raises ValueError for an image without its
    partner, a truncated one, a pair of unequal sizes, or a side below `smallest` pixels, which `option` asks for;
    `origin` is the option that chose the folders.
    """
    files: list[Pair] = []
    scene, sizes, rows = [], [], []
    for number, folder in enumerate(tqdm(folders, desc="check", unit="scene", leave=False, disable=None)):
        windows = []
        for pair in find_crops(folder, origin) if cropped else _find_frames(folder, origin):
            size = _checked_size(pair)
            names = _names(folder, pair, size, cropped)
            boxes = [(0, 0, *size)] if cropped else [_corners(box) for box in PUBLISHED_CROPS.boxes(*size)]
            if min(boxes[0][2:]) < smallest:
                raise ValueError(
                    f"{pair[1]}: {_text(boxes[0][2:])} pixels, expected at least {smallest} a side ({option})"
                )
            windows += [(name[1].name, name, len(files), box) for name, box in zip(names, boxes)]
            files.append(pair)
            scene.append(number)
            sizes.append(size)
        rows += sorted(windows)  # by the crop's name, as `find_crops` sorts
    return ImageList(
        folders,
        _paths(files),
        np.array(scene),
        np.array(sizes),
        _paths([name for _, name, _, _ in rows]),
        np.array([source for _, _, source, _ in rows]),
        np.array([box for _, _, _, box in rows]),
    )


def _find_frames(folder: Path, origin: str) -> list[Pair]:
    pairs, problems = find_pairs(folder)
    if problems:
        raise ValueError(f"{problems[0]}; restore it or change {origin}")
    return pairs


def _names(folder: Path, pair: Pair, size: tuple[int, int], cropped: bool) -> list[Pair]:
    """What the crops of a pair are called by Crop_SIDD.py."""
    if cropped:
        return [pair]
    count = len(PUBLISHED_CROPS.boxes(*size))
    return list(zip(*(crop_paths(path, folder / side, count) for path, side in zip(pair, ("clean", "noisy")))))


def _checked_size(pair: Pair) -> tuple[int, int]:
    sizes = [png_size(path) for path in pair]
    for path, size in zip(pair, sizes):
        if size is None:
            raise ValueError(f"{path}: not a readable image (truncated, damaged or no PNG)")
    if sizes[0] != sizes[1]:
        raise ValueError(f"{pair[1]}: {_text(sizes[1])} pixels, but its clean image has {_text(sizes[0])}")
    return sizes[0]


def _corners(box: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = box
    return rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start


def _paths(pairs: list[Pair]) -> np.ndarray:
    return np.array([[os.fsencode(path) for path in pair] for pair in pairs])


def _text(size: tuple[int, ...]) -> str:
    return f"{size[0]}x{size[1]}"
