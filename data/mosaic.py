"""Where images begin in the 2x2 mosaic of their camera: known for crops of frames, found by the noise of others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.pairs import ImagePair, by_file, find_pairs, pairs_by_iso, read_pair
from metrics import align_phases, noise_of, phase_profile
from utils.files import read_record, write_json
from utils.workers import in_threads

MOSAIC_RECORD = "mosaic.json"  # beside the scenes: "<scene>/<noisy crop>" -> [row, column]
Origins = Mapping[str, tuple[int, int]]  # by label of the pair


def find_origins(folders: Sequence[Path], num_workers: int) -> dict[str, tuple[int, int]]:
    """Find where the images of scenes begin that are not cut from a frame, such as public crops of unknown origin.

    Each camera has a mosaic of its own, and the position that most of its images begin at is called (0, 0); so give all
    scenes whose images are to agree. What `store_origins` has written is read, if it has all of them. Raises ValueError
    for images that cannot be read.
    """
    whole = [pair for pair in find_pairs(list(folders), smallest=3) if not pair.is_cut]
    stored = _read_records({folder.parent for folder in folders})
    if all(pair.label in stored for pair in whole):
        return {pair.label: stored[pair.label] for pair in whole}

    def profile(pair: ImagePair) -> np.ndarray:
        clean, noisy = read_pair(pair)
        return phase_profile(noise_of(noisy, clean))

    work = in_threads(profile, whole, num_workers)
    bar = tqdm(work, total=len(whole), desc="find the mosaic", unit="image", leave=False, disable=None)
    profiles, found = np.array(list(bar)), {}
    for camera in {pair.scene.camera for pair in whole}:
        rows = [row for row, pair in enumerate(whole) if pair.scene.camera == camera]
        for row, origin in zip(rows, align_phases(profiles[rows]).tolist()):
            found[whole[row].label] = tuple(origin)
    return found


def with_origins(pairs: list[ImagePair], origins: Origins) -> list[ImagePair]:
    """Give pairs the origins of `find_origins`; those cut from frames keep theirs."""
    return [replace(pair, origin=origins.get(pair.label, pair.origin)) for pair in pairs]


def files_by_iso(
    folders: Sequence[Path], most: int, origins: Origins, channels: int = 3
) -> dict[int, list[list[ImagePair]]]:
    """Find the pairs of scenes by ISO, those of a file together; `most` of each ISO, evenly spaced, 0: all."""
    found = pairs_by_iso(folders, most, channels)
    return {iso: by_file(with_origins(of, origins)) for iso, of in found.items()}


def store_origins(folder: Path, scenes: Sequence[Path], num_workers: int) -> int:
    """Find the origins of a data set's images anew, write them into its folder, and return how many there are."""
    (folder / MOSAIC_RECORD).unlink(missing_ok=True)
    origins = find_origins(scenes, num_workers)
    if origins:
        write_json(folder / MOSAIC_RECORD, origins)
    return len(origins)


def _read_records(folders: set[Path]) -> dict[str, tuple[int, int]]:
    stored: dict[str, tuple[int, int]] = {}
    for path in sorted(folder / MOSAIC_RECORD for folder in folders):
        if path.is_file():
            try:
                stored |= {label: (row % 2, column % 2) for label, (row, column) in read_record(path).items()}
            except (ValueError, TypeError):
                raise ValueError(f"{path}: damaged; delete it, and the origins are found anew") from None
    return stored
