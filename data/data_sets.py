"""Data sets that the sources of a training take their pairs from."""

import logging
import os
import zlib
from pathlib import Path
from typing import NamedTuple

from data.cache import open_images
from data.mixture import JoinedReader
from data.pairs import ImageList, are_cropped, list_images
from data.sidd import find_scenes


class DataSet(NamedTuple):
    """A folder in SIDD's layout, and the pairs in it that are used."""

    folder: str
    images: ImageList
    content: str = ""  # tells it from another one with the same names, as main_synthesize.py makes them


class DataSets(NamedTuple):
    """The data sets in the order of the sources that they are first used by, and the number of each source's."""

    sets: list[DataSet]
    of_source: list[int]

    def fingerprint(self) -> str:
        """Describe the pairs, so that a resumed run can tell that they changed."""
        return "; ".join(each.images.fingerprint() + each.content for each in self.sets)

    def open(self, cache_dir: Path | None, num_workers: int, log: logging.Logger) -> JoinedReader:
        """Open the images, each data set as `open_images` does."""
        opened = [open_images([each.images], each.folder, cache_dir, num_workers, log) for each in self.sets]
        return JoinedReader([reader for [reader] in opened])


def find_data_sets(cameras: DataSet, folders: list[str | None], patch_size: int) -> DataSets:
    """Find each source's data set: all scenes of its folder, whatever their camera; None: the cameras' own images.

    Raises ValueError, naming the folder, when there are no scenes in one, a pair is broken or smaller than a patch.
    """
    sets: dict[str | None, DataSet] = {}
    for folder in folders:
        if folder is None:
            sets[None] = cameras
        elif folder not in sets:
            origin = f"--source folder={folder}"
            scenes = find_scenes(folder, None, origin)
            images = list_images(scenes, are_cropped(scenes), patch_size, "--patch_size", origin)
            sets[folder] = DataSet(folder, images, f", {_checksum(images)}")
    order = list(sets)
    return DataSets(list(sets.values()), [order.index(folder) for folder in folders])


def _checksum(images: ImageList) -> str:
    """Of the first and the last noisy file."""
    noisy = b"".join(Path(os.fsdecode(name)).read_bytes() for name in images.files[[0, -1], 1])
    return f"{zlib.crc32(noisy):08x}"
