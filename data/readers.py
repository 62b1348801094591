"""Where the pixels of an image list come from: the files themselves, or the cache."""

import os
from pathlib import Path

import numpy as np

from data.batches import PairReader, read_pair
from data.cache_file import Entry, PairMap, StoredPair
from data.pairs import ImageList


class FileReader(PairReader):
    """Decodes the files at every access."""

    def __init__(self, images: ImageList):
        super().__init__(images.names, images.boxes)
        self._files, self._source = images.files, images.source

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Raises ValueError that names a file which cannot be decoded or is no longer what the list says."""
        top, left, height, width = self.boxes[index].tolist()
        clean, noisy = read_pair(tuple(Path(path) for path in map(os.fsdecode, self._files[self._source[index]])))
        return tuple(image[top : top + height, left : left + width] for image in (clean, noisy))

    def fill(self, patches: np.ndarray, indices: np.ndarray, corners: np.ndarray) -> None:
        for patch, index, (top, left) in zip(patches, indices.tolist(), corners.tolist()):
            rows, columns = (slice(start, start + len(patch)) for start in (top, left))
            clean, noisy = self.pair(index)
            patch[..., :3], patch[..., 3:] = clean[rows, columns], noisy[rows, columns]


class CacheReader(PairReader):
    """Reads memory-mapped cache files, `(header, entries)` of each scene. Every process maps what it needs itself."""

    def __init__(self, images: ImageList, files: list[Path], indices: list[tuple[bytes, list[Entry]]]):
        super().__init__(images.names, images.boxes)
        self._source, self._scene, self._files = images.source, images.scene, files
        self._headers = [header for header, _ in indices]
        found = [entry for _, entries in indices for entry in entries]
        self._places = np.array([(entry.height, entry.width, entry.offset) for entry in found])  # (m, 3)
        self._crcs = np.array([crc for entry in found for crc in entry.crcs], np.uint32)  # of all pairs together
        self._first_crc = np.cumsum([0, *(len(entry.crcs) for entry in found)])
        self._forget()

    def _forget(self) -> None:
        self._maps: dict[int, PairMap] = {}
        self._pairs: list[StoredPair | None] = [None] * len(self._places)

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": None, "_pairs": None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget()

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Views into the cache. Raises ValueError that names a cache file whose pixels are not what was written."""
        top, left, height, width = self.boxes[index].tolist()
        window = self._pair(int(self._source[index])).rows(top, top + height)[:, left : left + width]
        return window[..., :3], window[..., 3:]

    def fill(self, patches: np.ndarray, indices: np.ndarray, corners: np.ndarray) -> None:
        size = patches.shape[1]
        sources, corners = self._source[indices].tolist(), (self.boxes[indices, :2] + corners).tolist()
        for patch, source, (top, left) in zip(patches, sources, corners):
            patch[...] = self._pair(source).rows(top, top + size)[:, left : left + size]

    def _pair(self, source: int) -> StoredPair:
        """A pair of files; mapped when a process first asks for it."""
        pair = self._pairs[source]
        if pair is None:
            scene = int(self._scene[source])
            if scene not in self._maps:
                self._maps[scene] = PairMap(self._files[scene], self._headers[scene])
            height, width, offset = self._places[source].tolist()
            crcs = self._crcs[self._first_crc[source] : self._first_crc[source + 1]]
            pair = self._pairs[source] = self._maps[scene].pair(height, width, offset, crcs)
        return pair
