"""Cache files of scenes, made in threads from the images and from what has not changed of older files."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from data.batches import Pair, read_pair
from data.cache_file import Entry, PairMap, PairWriter, bands, read_index, stamp_of
from utils.image import check_png
from utils.workers import in_threads

RGB_OF_RGB = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # (from, to) channels: clean 0 to 2, noisy 3 to 5
RGB_OF_BGR = [2, 0, 1, 1, 0, 2, 5, 3, 4, 4, 3, 5]


class _Job(NamedTuple):
    """A pair of images of a scene (`data.cache.CachedScene`) to be written."""

    scene: NamedTuple
    number: int
    writer: PairWriter
    old: Entry | None  # the pair in the scene's present file
    old_map: PairMap | None


def decode_scenes(scenes: list, num_workers: int) -> None:
    """Write the cache files of scenes; each gets its name when its last image is done.

    Raises ValueError for an image that cannot be decoded, OSError when the files cannot be written.
    """
    count = sum(len(scene.names) for scene in scenes)
    bar = tqdm(total=count, desc="cache", unit="pair", disable=None)
    with contextlib.ExitStack() as stack, bar:
        jobs = _jobs(scenes, stack)
        threads = min(num_workers, os.cpu_count() or 1)
        entries: list[Entry] = []
        for job, entry in stack.enter_context(contextlib.closing(in_threads(_store, jobs, threads))):
            entries.append(entry)
            bar.update()
            if len(entries) == len(job.scene.names):
                job.writer.finish(entries)
                entries = []


def _jobs(scenes: list, stack: contextlib.ExitStack) -> Iterator[_Job]:
    for scene in scenes:
        writer = PairWriter(scene.file, scene.sizes)
        stack.callback(writer.discard)
        header, entries = read_index(scene.file)
        old, old_map = {entry.names: entry for entry in entries}, PairMap(scene.file, header) if header else None
        for number, names in enumerate(scene.names):
            yield _Job(scene, number, writer, old.get(names), old_map)


def _store(job: _Job) -> tuple[_Job, Entry]:
    """Write one pair, from the scene's old file if it has not changed since."""
    scene, number = job.scene, job.number
    names, size, stamp = scene.names[number], scene.sizes[number], scene.stamps[number]
    kept = _kept(job, size, stamp)
    if kept is not None:
        crcs = job.writer.put(number, bands(kept))
    else:
        pair = tuple(scene.folder / name for name in names)
        decoded = decode_pair(pair)
        if decoded.clean.shape[:2] != size or stamp_of(pair) != stamp:
            raise ValueError(f"{pair[1]}: changed while it was read; run the same command again")
        crcs = job.writer.put(number, decoded.merged())
    return job, Entry(names, stamp, *size, job.writer.offsets[number], crcs)


def _kept(job: _Job, size: tuple[int, int], stamp: tuple[int, ...]) -> np.ndarray | None:
    """The pair's pixels from the old file; None if they have changed, or are damaged there."""
    if job.old is None or (job.old.stamp, (job.old.height, job.old.width)) != (stamp, size):
        return None
    try:
        return job.old_map.pair(*job.old[2:]).rows(0, job.old.height)
    except ValueError:
        return None


class DecodedPair(NamedTuple):
    """A clean and a noisy image, (H, W, 3) uint8 each, in RGB order or as OpenCV decodes them."""

    clean: np.ndarray
    noisy: np.ndarray
    is_bgr: bool

    def merged(self) -> Iterator[np.ndarray]:
        """Both in one, band by band: (B, W, 6) RGB, RGB. A band stays in the processor's cache."""
        order = RGB_OF_BGR if self.is_bgr else RGB_OF_RGB
        for sources in zip(bands(self.clean), bands(self.noisy)):
            merged = np.empty((*sources[0].shape[:2], 6), np.uint8)
            cv2.mixChannels(list(sources), [merged], order)
            yield merged


def decode_pair(pair: Pair) -> DecodedPair:
    """Read a pair as `read_pair` does, but leave ordinary files, 8-bit RGB of equal sizes, in OpenCV's order."""
    clean, noisy = map(_read_bgr, pair)
    if clean is None or noisy is None or clean.shape != noisy.shape:
        return DecodedPair(*read_pair(pair), is_bgr=False)  # raises the errors, too
    return DecodedPair(clean, noisy, is_bgr=True)


def _read_bgr(path: Path) -> np.ndarray | None:
    """Read an 8-bit RGB file as OpenCV has it, (H, W, 3) in BGR order; None for any other, and a damaged one."""
    try:
        content = path.read_bytes()
        check_png(content)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except Exception:  # OpenCV raises what it likes
        return None
    return image if image is not None and image.dtype == np.uint8 and image.shape[2:] == (3,) else None
