"""The cache file of a scene: decoded image pairs, page by page, then an index of where each lies and what it was.

A pair is stored as (H, W, 6) uint8, the clean pixel's RGB before the noisy one's: a patch is then one run of bytes a
row, and copying it touches half the memory pages that two images would. Every band of rows has a checksum of its own,
so that a patch of a whole frame can be had without reading the frame.
"""

import contextlib
import json
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAGIC = b"NeCApair"
VERSION = 2  # of this layout and of what is stored; files of another one are made anew
HEADER = struct.Struct("<8sIIQQ")  # magic, version, CRC-32 of the index, where the index begins, length of the file
CHANNELS = 6
BAND = 64  # rows
PAGE = 4096  # bytes; pairs begin at whole ones

Stamp = tuple[int, int, int, int]  # size and time of modification (ns) of the clean and of the noisy file


class Entry(NamedTuple):
    """A pair within the file."""

    names: tuple[str, str]  # clean and noisy file, relative to the scene
    stamp: Stamp
    height: int
    width: int
    offset: int  # bytes
    crcs: list[int]  # CRC-32 of each band of rows


def stamp_of(paths: tuple[Path, Path]) -> Stamp:
    """What tells whether files have changed."""
    stats = [path.stat() for path in paths]
    return tuple(value for stat in stats for value in (stat.st_size, stat.st_mtime_ns))


def pixel_bytes(height: int, width: int) -> int:
    """Bytes that a pair takes, filled up to whole pages."""
    return -(-height * width * CHANNELS // PAGE) * PAGE


def read_index(path: Path) -> tuple[bytes, list[Entry]]:
    """Read the header and the entries of a cache file; (b"", []) when it is absent, truncated, damaged or too old."""
    try:
        with open(path, "rb") as file:
            header = file.read(HEADER.size)
            magic, version, crc, begin, length = HEADER.unpack(header)
            if (magic, version, length) != (MAGIC, VERSION, os.fstat(file.fileno()).st_size):
                return b"", []
            file.seek(begin)
            index = file.read()
        if zlib.crc32(index) != crc:
            return b"", []
        return header, [Entry(tuple(names), tuple(stamp), *rest) for names, stamp, *rest in json.loads(index)]
    except (OSError, struct.error, ValueError):
        return b"", []


class PairMap:
    """A cache file in memory, read-only and shared with all processes that have it open."""

    def __init__(self, path: Path, header: bytes):
        """Raises ValueError when the file is not the one whose index began with `header`."""
        self.path = path
        try:
            self._bytes = np.memmap(path, np.uint8, "r")
        except (OSError, ValueError):  # gone or empty
            self._bytes = np.zeros(0, np.uint8)
        if self._bytes[: HEADER.size].tobytes() != header or HEADER.unpack(header)[-1] != len(self._bytes):
            raise ValueError(f"{path}: was changed by another process; run the same command again")

    def pair(self, height: int, width: int, offset: int, crcs: Sequence[int]) -> "StoredPair":
        """Find a pair by what its `Entry` says."""
        pixels = np.asarray(self._bytes[offset : offset + height * width * CHANNELS])
        return StoredPair(self.path, pixels.reshape(height, width, CHANNELS), crcs)


class StoredPair:
    """A pair's pixels in a cache file."""

    __slots__ = ("_crcs", "_path", "_pixels", "_unchecked")  # a process has one for every pair

    def __init__(self, path: Path, pixels: np.ndarray, crcs: Sequence[int]):
        self._path, self._pixels, self._crcs = path, pixels, crcs
        self._unchecked = bytearray(b"\1" * len(crcs))

    def rows(self, begin: int, end: int) -> np.ndarray:
        """Rows from `begin` to before `end`, (H, W, 6), checked when they are first read.

        Raises ValueError when they are not what was written.
        """
        first, last = begin // BAND, -(-end // BAND)
        if 1 in self._unchecked[first:last]:
            for number, band in enumerate(bands(self._pixels[first * BAND : last * BAND]), start=first):
                if self._unchecked[number] and zlib.crc32(band) != self._crcs[number]:
                    raise ValueError(f"{self._path}: damaged (checksum); delete it and run the same command again")
                self._unchecked[number] = 0
        return self._pixels[begin:end]


def bands(image: np.ndarray) -> Iterator[np.ndarray]:
    """Divide an image into bands of rows; the last may be lower."""
    return (image[top : top + BAND] for top in range(0, len(image), BAND))


class PairWriter:
    """Writes a cache file under a temporary name; it gets its own when it is complete."""

    def __init__(self, path: Path, sizes: list[tuple[int, int]]):
        self.path = path
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        ends = np.cumsum([PAGE] + [pixel_bytes(*size) for size in sizes])
        self.offsets, self._end = ends[:-1].tolist(), int(ends[-1])
        self._file = open(self.temporary, "wb", buffering=0)  # noqa: SIM115 - until `finish` or `discard`
        self._lock = threading.Lock()

    def put(self, number: int, pixels: Iterable[np.ndarray]) -> list[int]:
        """Write the pixels of a pair, (H, W, 6) in `bands` from its top, from any thread -> their CRC-32s."""
        offset, crcs = self.offsets[number], []
        for band in pixels:
            self._write(band, offset)
            offset += band.nbytes
            crcs.append(zlib.crc32(band))
        return crcs

    def finish(self, entries: list[Entry]) -> None:
        """Write the index and give the file its name.

        It is not flushed to the disk: after a power cut the checksums tell what is missing, and it can be made anew.
        """
        index = json.dumps(entries).encode()
        self._write(index, self._end)
        self._write(HEADER.pack(MAGIC, VERSION, zlib.crc32(index), self._end, self._end + len(index)), 0)
        self._file.close()
        os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Remove what was written, unless it is finished."""
        with contextlib.suppress(OSError):  # of a full disk, which has been reported
            self._file.close()
        self.temporary.unlink(missing_ok=True)

    def _write(self, content: bytes | np.ndarray, offset: int) -> None:
        with self._lock:
            self._file.seek(offset)
            left = memoryview(content).cast("B")
            while left:  # a full disk or the system's limit of 2 GiB may cut a write short
                left = left[self._file.write(left) :]
