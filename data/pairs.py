"""Image pairs of SIDD's scenes: find them, check them, read them; crops, or the same crops as windows of frames."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from data.boxes import PUBLISHED_CROPS, Box, crop_name
from data.likeness import OTHER_CONTENT, shows_other_content
from data.sidd import Scene, find_crops, find_frames, parse_scene
from metrics import noise_of
from utils.files import web_page
from utils.image import MAX_MEGAPIXELS, png_size, read_image
from utils.randomness import evenly_spaced

FRAME_FORM = re.compile(r"(.*)NOISY_SRGB_\d+(_\d{5})?", re.ASCII)
CROP_NUMBER = re.compile(r"_\d{5}$", re.ASCII)  # of a crop of a frame
# Mean absolute difference, in grey levels, of two clean frames of one scene: SIDD's differ by less than 1.
SAME_SCENE = 2.0
SMALLEST = 16  # pixels a side that the metrics can measure


@dataclass(frozen=True, slots=True)
class ImagePair:
    """A clean and a noisy image of one place: a pair of crops, or a window of a pair of frames."""

    folder: Path  # of the scene
    clean: Path
    noisy: Path
    size: tuple[int, int]  # height and width of both files
    box: Box  # within the files
    name: str  # of the noisy crop, relative to the scene, also where it is cut from a frame here
    # Cut from a frame, at even rows and columns: its first pixel is the mosaic's. Of others only the noise tells where
    # they begin (`data.mosaic`).
    is_cut: bool = True
    origin: tuple[int, int] = (0, 0)  # row and column of the first pixel in the 2x2 mosaic of the camera
    other: tuple[Path, Path] | None = None  # clean and noisy file with the same place of the scene's next frame
    channels: int = 3  # in which the files are read: RGB, or 1, grey

    @property
    def scene(self) -> Scene:
        """Read what the name of the scene's folder says."""
        return parse_scene(self.folder.name)

    @property
    def label(self) -> str:
        """Name the pair in results: <scene>/<noisy crop without suffix>."""
        return f"{self.folder.name}/{Path(self.name).stem}"

    @property
    def is_window(self) -> bool:
        """Return whether the files hold more than this pair."""
        return self.box[2:] != self.size


def find_pairs(folders: list[Path], smallest: int = SMALLEST, channels: int = 3) -> list[ImagePair]:
    """List the pairs of scene folders, in the order of the scenes and of the crops' names, to be read in C channels.

    Whole frames are cut into the windows that Crop_SIDD.py cuts by default, unless any of the scenes is cropped. Looks
    at both ends of all files, so that a run that would stop at its 3000th step over one bad file stops before its
    first; damage in the middle of a file is found when it is read. Raises ValueError for a scene without images, an
    image without its partner, a truncated one, a pair of unequal sizes and a side below `smallest` pixels.
    """
    cropped = any((folder / side).is_dir() for folder in folders for side in ("clean", "noisy"))
    bar = tqdm(folders, desc="check", unit="scene", leave=False, disable=None)
    return [pair for folder in bar for pair in _pairs_of(folder, cropped, smallest, channels)]


def pairs_by_iso(folders: Iterable[Path], most: int, channels: int = 3) -> dict[int, list[ImagePair]]:
    """Find the pairs of scenes by ISO, the lowest first; `most` of each, evenly spaced, 0: all."""
    by_iso: dict[int, list[Path]] = {}
    for folder in folders:
        by_iso.setdefault(parse_scene(folder.name).iso, []).append(folder)
    return {iso: evenly_spaced(find_pairs(of, channels=channels), most) for iso, of in sorted(by_iso.items())}


def _pairs_of(folder: Path, cropped: bool, smallest: int, channels: int) -> list[ImagePair]:
    parse_scene(folder.name)
    files = find_crops(folder) if cropped else _find_frames(folder)
    others, frames = _other_frames(files), Counter(CROP_NUMBER.sub("", noisy.stem) for _, noisy in files)
    pairs = []
    for clean, noisy in files:
        size = _checked_size(clean, noisy)
        boxes = [Box(0, 0, *size)] if cropped else PUBLISHED_CROPS.boxes(*size)
        if min(boxes[0][2:]) < smallest:
            raise ValueError(f"{noisy}: {boxes[0].height}x{boxes[0].width} pixels, expected at least {smallest} a side")
        for number, box in enumerate(boxes, start=1):
            name = noisy.name if cropped else crop_name(noisy, number)
            is_cut = len(boxes) > 1 or frames[CROP_NUMBER.sub("", noisy.stem)] > 1
            origin = box.top % 2, box.left % 2
            other = others.get(noisy)
            pairs.append(ImagePair(folder, clean, noisy, size, box, f"noisy/{name}", is_cut, origin, other, channels))
    return sorted(pairs, key=lambda pair: pair.name)


def _find_frames(folder: Path) -> list[tuple[Path, Path]]:
    files, problems = find_frames(folder)
    if problems:
        raise ValueError(problems[0])
    return files


def _checked_size(clean: Path, noisy: Path) -> tuple[int, int]:
    sizes = []
    for path in (clean, noisy):
        size = png_size(path)
        if size is None:
            raise ValueError(f"{path}: not a readable image ({web_page(path) or 'truncated, damaged or no PNG'})")
        if size[0] * size[1] > MAX_MEGAPIXELS * 1e6:
            raise ValueError(f"{path}: {size[0]}x{size[1]} pixels, expected at most {MAX_MEGAPIXELS} megapixels")
        sizes.append(size)
    if sizes[0] != sizes[1]:
        raise ValueError(_unequal(noisy, sizes[1], sizes[0]))
    return sizes[0]


def _unequal(noisy: Path, size: tuple[int, ...], clean_size: tuple[int, ...]) -> str:
    return f"{noisy}: {size[0]}x{size[1]} pixels, but its clean image has {clean_size[0]}x{clean_size[1]}"


def _other_frames(files: list[tuple[Path, Path]]) -> dict[Path, tuple[Path, Path]]:
    """Find, for each noisy file of a scene, the same place of the next frame (the first one follows the last)."""
    alike: dict[tuple, list[tuple[Path, Path]]] = {}
    for pair in files:
        if match := FRAME_FORM.fullmatch(pair[1].stem):
            alike.setdefault((match[1], match[2]), []).append(pair)
    return {
        pair[1]: group[(index + 1) % len(group)]
        for group in alike.values()
        for index, pair in enumerate(group)
        if len(group) > 1
    }


def pairs_fingerprint(pairs: Sequence[ImagePair]) -> str:
    """Describe pairs by count and names (scene and file), so that a resumed run can tell that they changed."""
    names = []
    for pair in pairs:
        cropped = pair.name.endswith(f"/{pair.noisy.name}")
        clean = pair.clean.name if cropped else f"{pair.clean.stem}{pair.name[pair.name.rindex('_') :]}"
        names += [f"{pair.folder.name}/clean/{clean}", f"{pair.folder.name}/{pair.name}"]
    total = hashlib.sha256("\n".join(names).encode(errors="surrogateescape"))
    return f"{len(pairs)} crops, {total.hexdigest()[:12]}"


def read_files(clean: Path, noisy: Path, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Read a clean and a noisy file, (H, W, C) uint8 each. Raises ValueError when they differ in size or content."""
    images = read_image(clean, channels), read_image(noisy, channels)
    if images[0].shape != images[1].shape:
        raise ValueError(_unequal(noisy, images[1].shape, images[0].shape))
    if shows_other_content(*images):
        raise ValueError(f"{noisy}: {OTHER_CONTENT} {clean.name}, expected the same, turned alike")
    return images


def read_pair(pair: ImagePair) -> tuple[np.ndarray, np.ndarray]:
    """Read the clean and the noisy image of a pair, (H, W, C) uint8 each.

    Raises ValueError that names a file which cannot be decoded or has another size than it had.
    """
    clean, noisy = read_files(pair.clean, pair.noisy, pair.channels)
    if clean.shape[:2] != pair.size:
        raise ValueError(f"{pair.clean}: changed while it was used; run the same command again")
    return pair.box.of(clean), pair.box.of(noisy)


class Sample(NamedTuple):
    """The images of a pair to evaluate on.

    other_noise: real noise of the same place in another frame, (H, W, C) in whole grey levels, where there is one.
    """

    pair: ImagePair
    clean: np.ndarray  # (H, W, C) uint8
    noisy: np.ndarray  # (H, W, C) uint8
    other_noise: np.ndarray | None = None


def by_file(pairs: Iterable[ImagePair]) -> list[list[ImagePair]]:
    """Put the pairs together that are windows of the same files, so that each file is decoded once."""
    return [list(group) for _, group in groupby(pairs, key=lambda pair: pair.noisy)]


def read_samples(pairs: list[ImagePair], with_other: bool = False) -> list[Sample]:
    """Read the pairs of one file (see `by_file`). `with_other` also reads the noise of the scene's other frame.

    Another frame counts only if it shows the same: its clean image must nearly equal this one's.
    """
    first = pairs[0]
    clean, noisy = read_files(first.clean, first.noisy, first.channels)
    other = _noise_of_other(first.other, clean) if with_other and first.other else None
    return [
        Sample(pair, pair.box.of(clean), pair.box.of(noisy), pair.box.of(other) if other is not None else None)
        for pair in pairs
    ]


def _noise_of_other(other: tuple[Path, Path], clean: np.ndarray) -> np.ndarray | None:
    other_clean, other_noisy = read_files(*other, clean.shape[2])
    if other_clean.shape != clean.shape or np.abs(noise_of(other_clean, clean)).mean() > SAME_SCENE:
        return None
    return noise_of(other_noisy, other_clean)


class Reader:
    """Give the pixels of numbered image pairs, from wherever they are."""

    def __init__(self, pairs: Sequence[ImagePair]):
        self.pairs = pairs
        self.boxes = np.array([pair.box for pair in pairs]).reshape(-1, 4)  # top, left, height, width
        self.channels = pairs[0].channels if pairs else 3
        self.origins = np.array([pair.origin for pair in pairs]).reshape(-1, 2)  # in the mosaic

    def __len__(self) -> int:
        return len(self.pairs)

    def name(self, index: int) -> str:
        """Return the path of the noisy crop, also where it is cut from a frame here."""
        pair = self.pairs[index]
        return f"{pair.folder}/{pair.name}"

    def camera(self, index: int) -> str:
        """Return the code of the pair's camera."""
        return self.pairs[index].scene.camera

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the clean and the noisy image, (H, W, C) uint8 each."""
        raise NotImplementedError

    def fill(self, patches: np.ndarray, indices: np.ndarray, corners: np.ndarray) -> None:
        """Copy patches of pairs into (N, P, P, 2 C), clean before noisy; indices: (N,), upper left corners: (N, 2)."""
        raise NotImplementedError


class FileReader(Reader):
    """Decode the files at every access."""

    def __init__(self, pairs: Sequence[ImagePair]):
        super().__init__(pairs)
        if any(pair.is_window for pair in pairs):
            raise ValueError(
                f"{pairs[0].folder}: holds whole frames, which would be decoded anew for every patch; cache them, or "
                "cut them with Crop_SIDD.py"
            )

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read the files."""
        return read_pair(self.pairs[index])

    def fill(self, patches: np.ndarray, indices: np.ndarray, corners: np.ndarray) -> None:
        """Copy patches."""
        for patch, index, corner in zip(patches, indices.tolist(), corners.tolist()):
            box = Box(*corner, *patch.shape[:2])
            for half, image in zip(np.split(patch, 2, axis=-1), self.pair(index)):
                half[...] = box.of(image)
