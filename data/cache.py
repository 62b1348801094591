"""The crop cache: every image of a data set is decoded once, and read from memory-mapped files ever after.

`<cache_dir>/<name of the data set>-<hash of its path>/<scene>.pairs`, a file a scene: cameras, splits and runs share
them, a stopped build continues, and a changed image costs only its own scene.
"""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.batches import PairReader
from data.cache_build import decode_scenes
from data.cache_file import Entry, Stamp, pixel_bytes, read_index, stamp_of
from data.pairs import ImageList
from data.readers import CacheReader, FileReader

WAYS_OUT = "choose another --cache_dir or use --no_cache"


class CachedScene(NamedTuple):
    """What the cache file of a scene should hold."""

    folder: Path
    file: Path
    names: list[tuple[str, str]]  # clean and noisy file, relative to the folder
    sizes: list[tuple[int, int]]
    stamps: list[Stamp]

    def index(self) -> tuple[bytes, list[Entry]] | None:
        """Header and entries of the file; None unless it holds just these images as they are now."""
        header, entries = read_index(self.file)
        found = [(entry.names, (entry.height, entry.width), entry.stamp) for entry in entries]
        return (header, entries) if header and found == list(zip(self.names, self.sizes, self.stamps)) else None


def open_images(
    lists: list[ImageList],
    data_folder: str | Path,
    cache_dir: str | Path | None,
    num_workers: int,
    log: logging.Logger,
) -> list[PairReader]:
    """Open the images of a data set: from its cache, after decoding what that lacks in `num_workers` threads.

    Writes nothing where it lacks nothing. `cache_dir` None reads the files themselves. Raises ValueError, naming what
    to change, for an image that cannot be decoded, a disk without room, a folder that cannot be written, and for
    whole frames without a cache.
    """
    if cache_dir is None:
        if any(images.windowed for images in lists):
            raise ValueError(
                "--no_cache: --train_img_dir holds whole frames, which would be decoded anew for every patch; "
                "leave it out, or cut them with Crop_SIDD.py"
            )
        return [FileReader(images) for images in lists]
    place = Path(data_folder).resolve()
    folder = Path(cache_dir) / f"{place.name}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"
    planned = [list(_scenes(images, folder)) for images in lists]
    scenes = [scene for half in planned for scene in half]
    if any(scene.index() is None for scene in scenes):
        try:
            _build(scenes, folder, num_workers, log)
        except OSError as error:
            place = error.filename or folder
            raise ValueError(f"{place}: the cache cannot be written ({error.strerror}); {WAYS_OUT}") from None
    readers = []
    for images, half in zip(lists, planned):
        indices = [scene.index() for scene in half]
        if None in indices:
            changed = half[indices.index(None)]
            raise ValueError(f"{changed.file}: changed by another process; run the same command again")
        readers.append(CacheReader(images, [scene.file for scene in half], indices))
    return readers


def _scenes(images: ImageList, folder: Path) -> Iterator[CachedScene]:
    for number, scene in enumerate(images.folders):
        rows = np.flatnonzero(images.scene == number)
        pairs = [tuple(Path(os.fsdecode(name)) for name in images.files[row]) for row in rows]
        names = [tuple(str(path.relative_to(scene)) for path in pair) for pair in pairs]
        sizes = [tuple(size) for size in images.file_sizes[rows].tolist()]
        yield CachedScene(scene, folder / f"{scene.name}.pairs", names, sizes, [stamp_of(pair) for pair in pairs])


def _build(scenes: list[CachedScene], folder: Path, num_workers: int, log: logging.Logger) -> None:
    """Write the files of the scenes that are new or have changed."""
    if not folder.exists():
        _check_room(scenes, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder, log):
        for leftover in folder.glob(".*.tmp"):  # of a killed process
            leftover.unlink(missing_ok=True)
        missing = [scene for scene in scenes if scene.index() is None]  # another process may have been here
        if not missing:
            return
        for scene in missing:
            if not read_index(scene.file)[0]:  # damaged or of another version: it only takes room
                scene.file.unlink(missing_ok=True)
        needed = _check_room(missing, folder)
        log.info(
            "cache: %d of %d scenes are new or have changed; decoding them to %s, %.2f GB",
            *(len(missing), len(scenes), folder, needed / 1e9),
        )
        decode_scenes(missing, num_workers)


def _check_room(scenes: list[CachedScene], folder: Path) -> int:
    """Raise ValueError unless the disk has room for the files of these scenes -> their bytes."""
    needed = sum(pixel_bytes(*size) for scene in scenes for size in scene.sizes)
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ValueError(
            f"{folder}: the cache takes {needed / 1e9:.2f} GB, but the disk has {free / 1e9:.2f} GB left; "
            f"make room, {WAYS_OUT}"
        )
    return needed


@contextlib.contextmanager
def _locked(folder: Path, log: logging.Logger) -> Iterator[None]:
    """Wait until no other process builds in this folder, and keep others out; the system lifts it with the process."""
    try:
        import fcntl
    except ImportError:  # Windows: two builds may do the same work, each under its own temporary name
        yield
        return
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            log.info("cache: another process builds %s; waiting for it", folder)
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield
