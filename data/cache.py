"""The crop cache: every file of a data set is decoded once, and read from memory-mapped arrays ever after.

`<cache_dir>/<name of the data set>-<hash of its path>/<scene>.<key>.npy`, one array per scene: cameras, splits and runs
share them, a stopped build continues, and a changed image costs only its own scene. An array is (P, 2 C) uint8, the
pixels of all pairs of files one after the other, row by row, the clean pixel's C channels before the noisy one's: a
patch is then one run of bytes per row, and copying it touches half the memory pages that two images would. The key is a
hash of the files' names, dimensions and states, so that a name says what is in the array. Grey images
have folders of their own.
"""

import errno
import hashlib
import logging
import math
import os
import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from data.pairs import ImagePair, Reader, by_file, read_files
from utils.files import atomic_path, file_state, lock_folder, make_folder, may_keep_open, remove_leftovers
from utils.workers import in_threads

NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
BAND = 64  # rows that are interleaved at a time: they stay in the processor's cache


class CacheReader(Reader):
    """Read pairs from the cache; every process maps the arrays that it needs itself, as many as it may keep open."""

    def __init__(self, pairs: Sequence[ImagePair], scenes: list["CachedScene"]):
        super().__init__(pairs)
        first: dict[Path, tuple[int, int]] = {}  # by noisy file: number of its scene, and of its first pixel there
        for number, scene in enumerate(scenes):
            first |= {file.noisy: (number, start) for file, start in zip(scene.files, scene.starts)}
        self._places = np.array([(*first[pair.noisy], pair.size[1]) for pair in pairs])  # scene, first pixel, width
        self._paths, self._shapes = [scene.path for scene in scenes], [scene.shape for scene in scenes]
        self._arrays: dict[int, np.ndarray] = {}
        self._most = may_keep_open(len(scenes))

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_arrays": {}}

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return views into the cache."""
        window = self._window(self._places[index].tolist(), *self.boxes[index].tolist())
        return window[..., : self.channels], window[..., self.channels :]

    def fill(self, patches: np.ndarray, indices: np.ndarray, corners: np.ndarray) -> None:
        """Copy patches."""
        corners = (self.boxes[indices, :2] + corners).tolist()
        for patch, place, corner in zip(patches, self._places[indices].tolist(), corners):
            patch[...] = self._window(place, *corner, *patch.shape[:2])

    def _window(self, place: list[int], top: int, left: int, height: int, width: int) -> np.ndarray:
        scene, start, row = place
        array = self._arrays.get(scene)
        if array is None:
            array = _map(self._paths[scene], self._shapes[scene])
            if array is None:
                raise ValueError(f"{self._paths[scene]}: was changed by another process; run the same command again")
            if len(self._arrays) >= self._most:
                oldest, *_ = self._arrays
                self._arrays.pop(oldest, None)  # another thread may have done so
            self._arrays[scene] = array
        begin = start + top * row
        return array[begin : begin + height * row].reshape(height, row, -1)[:, left : left + width]


class CachedScene(NamedTuple):
    """The array of a scene: one pair of each of its files, their first pixels, pixels in all and values of each."""

    path: Path
    files: list[ImagePair]
    starts: list[int]
    shape: tuple[int, int]

    def is_whole(self) -> bool:
        """Return whether the array is there, in its full length."""
        return _map(self.path, self.shape) is not None


def open_pairs(pairs: Sequence[ImagePair], cache_dir: str | Path, num_workers: int, log: logging.Logger) -> CacheReader:
    """Open pairs, all those of their scenes, after decoding what the cache lacks in `num_workers` threads.

    Writes nothing where it lacks nothing. Raises ValueError for an image that cannot be decoded, a disk without room
    and a folder that cannot be written.
    """
    by_scene = groupby(pairs, lambda pair: pair.folder)
    scenes = [_planned(folder, list(group), Path(cache_dir)) for folder, group in by_scene]
    missing = [scene for scene in scenes if not scene.is_whole()]
    try:
        for folder, of in groupby(missing, lambda scene: scene.path.parent):
            _build(folder, list(of), num_workers, log)
    except OSError as error:
        raise ValueError(f"{error.filename or cache_dir}: the cache cannot be written ({error.strerror})") from None
    return CacheReader(pairs, scenes)


def _planned(folder: Path, pairs: list[ImagePair], cache_dir: Path) -> CachedScene:
    files, lines = [group[0] for group in by_file(pairs)], []
    for file in files:
        states = [(path.name, file_state(path)) for path in (file.clean, file.noisy)]
        lines.append(f"{states} {file.size}")
    data_set = folder.parent.resolve()
    channels = pairs[0].channels
    name = f"{data_set.name}-{hashlib.sha256(os.fsencode(data_set)).hexdigest()[:8]}"
    place = cache_dir / (f"{name}-grey" if channels == 1 else name)
    key = hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:12]
    *starts, pixels = np.cumsum([0] + [file.size[0] * file.size[1] for file in files]).tolist()
    return CachedScene(place / f"{folder.name}.{key}.npy", files, starts, (pixels, 2 * channels))


def _map(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Map an array into memory, read-only and shared between processes; None when it is not there in full length.

    Raise ValueError if it is there, but the system does not map it: out of files or memory, an error of the disk.
    """
    try:
        array = np.load(path, mmap_mode="r")
    except (*NOT_THERE, ValueError, EOFError):  # absent, somebody else's, empty, truncated, foreign
        return None
    except OSError as error:
        way_out = "; raise the limit of open files (ulimit -n)" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
        raise ValueError(f"{path}: cannot be mapped into memory ({error.strerror}){way_out}") from None
    return np.asarray(array) if (array.shape, array.dtype) == (shape, np.uint8) else None


def _build(folder: Path, scenes: list[CachedScene], num_workers: int, log: logging.Logger) -> None:
    """Decode scenes of one data set into its folder, which no other process builds in at that time."""
    if not folder.exists():
        _check_room(folder, scenes)
    make_folder(folder)
    waits = "cache: another process builds %s; waiting for it (if none is left, on no machine: delete its .lock)"
    lock = lock_folder(folder, wait=lambda: log.info(waits, folder))
    try:
        remove_leftovers(folder)
        missing = [scene for scene in scenes if not scene.is_whole()]  # another process may have been here
        for scene in missing:
            for stale in folder.glob(f"{scene.path.name.split('.')[0]}.*"):  # of files as they were before
                stale.unlink(missing_ok=True)
        if missing:
            size = _check_room(folder, missing)
            log.info(
                "cache: %d of %d scenes are new or have changed; decoding them to %s, %.2f GB",
                *(len(missing), len(scenes), folder, size / 1e9),
            )
            done = in_threads(_decode, missing, min(num_workers, os.cpu_count() or 1))
            list(tqdm(done, total=len(missing), desc="cache", unit="scene", disable=None))
    finally:
        lock.release()


def _check_room(folder: Path, scenes: list[CachedScene]) -> int:
    """Return the bytes that the arrays take. Raises ValueError unless the disk has room for them."""
    needed = sum(math.prod(scene.shape) for scene in scenes)
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ValueError(
            f"{folder}: the cache takes {needed / 1e9:.2f} GB, but the disk has {free / 1e9:.2f} GB left; make room"
        )
    return needed


def _decode(scene: CachedScene) -> None:
    """Write the array of a scene. It gets its name when it is complete and on the disk."""
    header = {"descr": "|u1", "fortran_order": False, "shape": scene.shape}
    order = np.arange(scene.shape[1]).repeat(2).tolist()  # from, to, from, to ...
    with atomic_path(scene.path) as temporary, open(temporary, "wb") as array:
        np.lib.format.write_array_header_1_0(array, header)
        for file in scene.files:
            images = read_files(file.clean, file.noisy, file.channels)
            if images[0].shape[:2] != file.size:
                raise ValueError(f"{file.noisy}: changed while it was read; run the same command again")
            for top in range(0, file.size[0], BAND):
                bands = [image[top : top + BAND] for image in images]
                both = np.empty((*bands[0].shape[:2], scene.shape[1]), np.uint8)
                cv2.mixChannels(bands, [both], order)
                array.write(both.data)
