"""MATLAB files of version 5, checked before SciPy reads them.

SciPy looks types of elements up in a table without a check: a type that there is not ends the process, or worse
(https://github.com/scipy/scipy/pull/25349).
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import scipy.io

NUMBERS, MATRIX, PACKED = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18}, 14, 15  # types of elements
WITH_MATRICES = {1, 2, 3, 16, 17}  # classes of matrices: cells, structs, objects, functions, opaque ones
PIECE = 2**20  # bytes that are read at a time

Read = Callable[[int], bytes]


def load_v5(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Load variables of a MATLAB file, v4 or v5. Raise ValueError, or what SciPy and zlib do, for a damaged one."""
    if scipy.io.matlab.matfile_version(path, appendmat=False)[0] == 1:  # which is v5
        with open(path, "rb") as file:
            order = "<" if file.read(128).endswith(b"IM") else ">"
            while tag := file.read(8):
                kind, size = struct.unpack(f"{order}2I", tag)
                end = file.tell() + size
                read: Read = _Unpacked(file, size).read if kind == PACKED else file.read
                if kind == PACKED:
                    kind, size = struct.unpack(f"{order}2I", read(8))
                if kind != MATRIX:
                    raise ValueError(f"type {kind}, expected a matrix")
                _check_matrix(read, order, size)
                file.seek(end)
    return scipy.io.loadmat(path, variable_names=names, appendmat=False)


def _check_matrix(read: Read, order: str, size: int) -> None:
    """Walk through the elements of a matrix. Raise ValueError for one of a type that does not belong there."""
    if not size:
        return  # an empty cell
    *tag, flags, _ = struct.unpack(f"{order}4I", read(16))
    if tag != [6, 8]:
        raise ValueError("a matrix without flags")
    has_matrices, size = flags & 0xFF in WITH_MATRICES, size - 16
    while size > 0:
        kind, length = struct.unpack(f"{order}2I", read(8))
        if kind >> 16:  # up to four bytes, which the tag has room for
            kind, length = kind & 0xFFFF, 0
        if kind == MATRIX and has_matrices:
            _check_matrix(read, order, length)
        elif kind not in NUMBERS:
            raise ValueError(f"type {kind}, expected numbers")
        else:
            length += -length % 8
            left = length
            while left and (piece := read(min(left, PIECE))):
                left -= len(piece)
        size -= 8 + length


class _Unpacked:
    """A compressed part of a file, unpacked as it is read."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._left, self._unpacker = file, size, zlib.decompressobj()

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        found = b""
        while len(found) < size:
            packed = self._unpacker.unconsumed_tail
            if not packed:
                packed = self._file.read(min(self._left, PIECE))
                self._left -= len(packed)
            part = self._unpacker.decompress(packed, size - len(found))
            if not packed and not part:
                break
            found += part
        return found
