"""Images to evaluate on: pairs of a data set in SIDD's layout, cropped or not, in pieces of a crop's size."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.batches import read_pair
from data.crop_settings import CropSettings
from data.sidd import Pair, Scene, find_crops, find_pairs, parse_scene
from metrics import noise_of
from utils.image import MAX_MEGAPIXELS, png_size
from utils.randomness import evenly_spaced

PUBLISHED_CROPS = CropSettings(size=512, overlap=128, threshold=800)  # what Crop_SIDD.py cuts by default
FILE_FORM = re.compile(r"(.*)NOISY_SRGB_(\d+)(_\d{5})?", re.ASCII)
# Mean absolute difference, in grey levels, of two clean frames of one scene: SIDD's differ by less than 1.
SAME_SCENE = 2.0
SMALLEST = 16  # pixels a side: what the metrics can measure


@dataclass(frozen=True)
class Frame:
    """An image pair on the disk, and the pieces of it to evaluate, by number from 1; None: it is a crop itself."""

    scene: Scene
    pair: Pair  # clean, noisy
    other: Pair | None  # another frame of the scene: the same place for crops
    pieces: tuple[int, ...] | None

    @property
    def count(self) -> int:
        """How many samples `read_samples` makes of it."""
        return len(self.pieces or (0,))


class Sample(NamedTuple):
    """One image to evaluate on.

    name: the noisy crop's, whether it lies on the disk or is cut here. other_noise: real noise of another frame of the
    same scene, (H, W, 3) in whole grey levels, where there is one.
    """

    name: str
    scene: Scene
    noisy_file: Path
    box: tuple[slice, slice] | None  # where it lies in the file, when the file is not cropped
    clean: np.ndarray  # (H, W, 3) uint8
    noisy: np.ndarray  # (H, W, 3) uint8
    other_noise: np.ndarray | None


def find_frames(folders: list[Path], most: int = 0) -> list[Frame]:
    """List the image pairs of scene folders, cropped or not; whole frames are cut as Crop_SIDD.py does by default.

    `most` keeps so many pieces, evenly spaced over the list; 0: all. Decodes nothing. Raises ValueError for an image
    without its partner, a damaged one, and a scene without images.
    """
    frames = [frame for folder in folders for frame in _frames_of(folder)]
    pieces = [(index, piece) for index, frame in enumerate(frames) for piece in frame.pieces or (0,)]
    kept: dict[int, list[int]] = {}
    for index, piece in evenly_spaced(pieces, most):
        kept.setdefault(index, []).append(piece)
    return [_with_pieces(frames[index], chosen) for index, chosen in kept.items()]


def _with_pieces(frame: Frame, pieces: list[int]) -> Frame:
    return Frame(frame.scene, frame.pair, frame.other, frame.pieces and tuple(pieces))


def _frames_of(folder: Path) -> list[Frame]:
    scene = parse_scene(folder.name)
    if (folder / "clean").is_dir() or (folder / "noisy").is_dir():
        pairs, cropped = find_crops(folder, "--data_dir"), True
    else:
        (pairs, problems), cropped = find_pairs(folder), False
        if problems:
            raise ValueError(problems[0])
    others = _other_frames(pairs)
    frames = []
    for pair in pairs:
        size = _checked_size(pair[1])
        count = len(PUBLISHED_CROPS.boxes(*size))
        frames.append(Frame(scene, pair, others.get(pair), None if cropped else tuple(range(1, count + 1))))
    return frames


def _checked_size(path: Path) -> tuple[int, int]:
    size = png_size(path)
    if size is None:
        raise ValueError(f"{path}: not a readable image (truncated, damaged or no PNG)")
    if min(size) < SMALLEST or size[0] * size[1] > MAX_MEGAPIXELS * 1e6:
        expected = f"sides from {SMALLEST} and at most {MAX_MEGAPIXELS} megapixels"
        raise ValueError(f"{path}: {size[0]}x{size[1]} pixels, expected {expected}")
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError(f"{path}: its name is not valid UTF-8; rename it") from None
    return size


def _other_frames(pairs: list[Pair]) -> dict[Pair, Pair]:
    """Find, for each pair of a scene, the same crop of the next frame (the first one follows the last)."""
    alike: dict[tuple, list[Pair]] = {}
    for pair in pairs:
        if match := FILE_FORM.fullmatch(pair[1].stem):
            alike.setdefault((match[1], match[3]), []).append(pair)
    return {
        pair: group[(index + 1) % len(group)]
        for group in alike.values()
        for index, pair in enumerate(group)
        if len(group) > 1
    }


def read_samples(frame: Frame, with_other: bool) -> list[Sample]:
    """Read a frame and cut it into its samples. `with_other` also reads the noise of the scene's other frame.

    Another frame counts only if it shows the same: its clean image must nearly equal this one's.
    """
    clean, noisy = read_pair(frame.pair)
    other_noise = _other_noise(frame.other, clean) if with_other and frame.other else None
    return list(_cut(frame, clean, noisy, other_noise))


def _other_noise(other: Pair, clean: np.ndarray) -> np.ndarray | None:
    other_clean, other_noisy = read_pair(other)
    if other_clean.shape != clean.shape or np.abs(noise_of(other_clean, clean)).mean() > SAME_SCENE:
        return None
    return noise_of(other_noisy, other_clean)


def _cut(frame: Frame, clean: np.ndarray, noisy: np.ndarray, other_noise: np.ndarray | None) -> Iterator[Sample]:
    path = frame.pair[1]
    if frame.pieces is None:
        yield Sample(path.stem, frame.scene, path, None, clean, noisy, other_noise)
        return
    boxes = PUBLISHED_CROPS.boxes(*clean.shape[:2])
    for piece in frame.pieces:
        box = boxes[piece - 1]
        images = (image[box] if image is not None else None for image in (clean, noisy, other_noise))
        yield Sample(f"{path.stem}_{piece:05d}", frame.scene, path, box, *images)
