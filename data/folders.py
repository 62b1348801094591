"""Find the images in users' folders, and name the files that noise on them makes. Only pairs are read."""

import logging
import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from data.likeness import OTHER_CONTENT, shows_other_content
from data.sidd import SCENE_FORM, parse_scene
from utils.files import require_folder
from utils.image import PHOTO_SUFFIXES, name_unread, read_exposure, read_image

FIRST_FRAME = 10  # SIDD-Medium's frames are 010 and 011
SCENES = 999  # three digits; more images share numbers from 001 on
NAMED_FORM = re.compile(r"(?:(.+)_)?(clean|noisy)")
NAMED_PAIRS = "clean.png and noisy.png, or <name>_clean.png and <name>_noisy.png"
CLEAN_FORM = re.compile(r"(?:\d{4}_)?GT_SRGB_\d+(?:_\d+)?|(?:.+_)?clean", re.ASCII | re.IGNORECASE)
ISO_FORM = re.compile(r"iso[ _-]?(\d{2,7})(?!\d)", re.ASCII | re.IGNORECASE)
SMALLEST_SIDE = 8  # pixels: NCNet halves three times


class FoundImages(NamedTuple):
    """The content of a folder: names of images relative to it (with /, sorted), a count of other files, problems.

    unread: in lines, the photographs among the others, whose formats are not read.
    """

    names: list[str]
    others: str
    problems: list[str]
    unread: list[str]

    def notes(self, *folders: str | Path | None) -> list[str]:
        """Say, in lines, what is there beside images, and which photographs are not read here and in other folders."""
        counted = [f"not read as images: {self.others}"] if self.others else []
        more = [find_images(folder).unread for folder in folders if folder and Path(folder).is_dir()]
        return [*counted, *self.unread, *(line for lines in more for line in lines)]


class Target(NamedTuple):
    """Files that one draw of noise makes, relative to the output folder; `clean` is empty where it is not copied."""

    draw: int
    noisy: str
    clean: str = ""

    @property
    def files(self) -> list[str]:
        """List the files, the noisy one last."""
        return [name for name in (self.clean, self.noisy) if name]


class ImageJob(NamedTuple):
    """An image to put noise on. partner: its real noisy image, where the gain comes from one. iso: in its name."""

    name: str
    source: Path
    targets: tuple[Target, ...]
    partner: Path | None = None
    iso: int | None = None

    def key(self, draw: int) -> str:
        """Return the text that tells this image's and draw's random numbers from others': `<name> <draw>`."""
        text = os.fsencode(self.name).decode("utf-8", "backslashreplace")  # Linux allows names that are no text
        return f"{text} {draw}"


def find_images(root: str | Path, output: str | Path | None = None) -> FoundImages:
    """List the images of a folder and of all below it, links followed but for those into the folder `output`.

    Names that begin with "." are left out. Raises ValueError when there is no such folder or no image in it.
    """
    root = Path(root)
    require_folder(root)
    output = Path(output).resolve() if output is not None else None
    names: list[str] = []
    others: list[Path] = []
    problems: list[str] = []

    def walk(folder: Path, around: tuple[Path, ...]) -> None:
        real = folder.resolve()
        if real in around:
            problems.append(f"{folder}: a link to a folder that it lies in; not followed")
            return
        if output and real.is_relative_to(output):
            problems.append(f"{folder}: a link into the output folder; not followed")
            return
        try:
            entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            problems.append(f"{folder}: cannot be read ({error.strerror})")
            return
        for path in entries:
            if path.is_dir():
                walk(path, (*around, real))
            elif path.suffix.lower() in PHOTO_SUFFIXES:
                names.append(path.relative_to(root).as_posix())
            else:
                others.append(path)

    walk(root, ())
    suffixes = Counter(path.suffix.lower() or "without suffix" for path in others)
    counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(suffixes.items()))
    if not names:
        there = f" but {counts}" if counts else ""
        raise ValueError(problems[0] if problems else f"{root}: no images{there}, expected {' '.join(PHOTO_SUFFIXES)}")
    return FoundImages(sorted(names), counts, problems, name_unread(others))


class NoisyFile(NamedTuple):
    """A noisy image. Those of a scene have one illuminant, in kelvin, 0 if unknown; those of a frame one mosaic."""

    path: Path
    scene: str
    frame: str
    iso: int
    illuminant: int = 0


def find_noisy(source: str | Path, camera: str, iso: int | None) -> list[NoisyFile]:
    """List the noisy images of a file or folder: of SIDD's scenes those of the camera, else all but clean images.

    iso: of the images whose folder, name (such as ISO800) and EXIF data say none. Raises ValueError for an image
    without an ISO, and for a folder without noisy images.
    """
    source = Path(source)
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")
    root, names, unread = source.parent, [source.name], []
    if source.is_dir():
        root, images = source, find_images(source)
        names, unread = images.names, images.unread + images.problems
    for line in unread:
        logging.getLogger(__name__).warning("note: %s", line)
    found = []
    for name in names:
        path = root / name
        scene = next((part for part in reversed(path.absolute().parts[:-1]) if SCENE_FORM.fullmatch(part)), None)
        if CLEAN_FORM.fullmatch(path.stem) or path.parent.name == "clean" or (scene and f"_{camera}_" not in scene):
            continue
        if scene:
            is_crop, of = path.parent.name != scene, parse_scene(scene)
            found.append(NoisyFile(path, scene, name if is_crop else scene, of.iso, of.illuminant))
            continue
        told = ISO_FORM.search(path.stem) or ISO_FORM.search(path.parent.name)
        level = read_exposure(path)[0] or (int(told[1]) if told else iso)
        if not level:
            raise ValueError(f"{path}: no ISO in its EXIF data or name (such as ISO800), and no other one given")
        found.append(NoisyFile(path, name, name, level))
    if not found:
        raise ValueError(f"{source}: no noisy images of camera {camera}")
    return found


def require_apart(output: str | Path, other: str | Path) -> None:
    """Raise ValueError when the output folder is an input folder, lies in it, or around it."""
    mine, theirs = Path(output).resolve(), Path(other).resolve()
    if mine.is_relative_to(theirs) or theirs.is_relative_to(mine):
        raise ValueError(f"{output}: holds results, expected a folder apart from {other}")


def plan_plain(root: Path, names: Iterable[str], draws: int, suffix: str) -> list[ImageJob]:
    """Name the outputs as the inputs, with another suffix, and _00, _01, ... before it when there are several draws.

    Raises ValueError when two outputs would have the same name.
    """
    digits = max(2, len(str(draws - 1)))
    ends = [""] if draws == 1 else [f"_{draw:0{digits}d}" for draw in range(draws)]
    jobs = []
    for name in names:
        stem = PurePosixPath(name).with_suffix("")
        targets = tuple(Target(draw, f"{stem}{end}{suffix}") for draw, end in enumerate(ends))
        jobs.append(ImageJob(name, root / name, targets))
    _require_distinct(jobs)
    return jobs


def _require_distinct(jobs: list[ImageJob]) -> None:
    owners: dict[str, str] = {}
    for job in jobs:
        for target in job.targets:
            other = owners.setdefault(target.noisy, job.name)
            if other != job.name:
                raise ValueError(f"{other} and {job.name}: would both become {target.noisy}; rename one of them")
    for output, name in owners.items():
        for parent in map(str, PurePosixPath(output).parents):
            if parent in owners:
                raise ValueError(f"{owners[parent]}: would become {parent}, the folder of {name}; rename it")


def plan_scenes(
    root: Path, names: list[str], draws: int, camera: str, isos: Sequence[int], seed: int = 0
) -> list[ImageJob]:
    """Name the outputs as SIDD-Medium does: a scene for each image, in their order, a frame for each draw.

    isos: one of them is drawn for each scene, by the seed and its number; none: ISO 0, which stands for unknown.
    Raises ValueError for a code of another form and for more images than SIDD's names can count.
    """
    if len(names) > 9999:
        raise ValueError(f"{len(names)} images, expected at most 9999 for SIDD's scene names")
    jobs = []
    for number, name in enumerate(names, start=1):
        iso = random.Random(f"{seed} iso {number}").choice(isos or [0])
        scene = f"{number:04d}_{(number - 1) % SCENES + 1:03d}_{camera}_{iso:05d}_00100_5500_N"
        if not SCENE_FORM.fullmatch(scene):
            expected = "a camera code of two characters A-Z or 0-9, and an ISO up to 9999999"
            raise ValueError(f"{scene}: not the name of a scene, expected {expected}")
        frames = range(FIRST_FRAME, FIRST_FRAME + draws)
        files = [[f"{scene}/{number:04d}_{kind}_SRGB_{frame:03d}.PNG" for kind in ("NOISY", "GT")] for frame in frames]
        targets = tuple(Target(draw, *pair) for draw, pair in enumerate(files))
        jobs.append(ImageJob(name, root / name, targets, iso=iso or None))
    return jobs


def with_partners(jobs: list[ImageJob], folder: str | Path) -> tuple[list[ImageJob], list[str]]:
    """Find every image's real noisy one, named alike but for the suffix; return the jobs that have one, and problems.

    The very same name comes first. Raises ValueError as `find_images`.
    """
    folder = Path(folder)
    by_stem: dict[str, list[str]] = {}
    for name in find_images(folder).names:
        by_stem.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(name)
    found, problems = [], []
    for job in jobs:
        stem = str(PurePosixPath(job.name).with_suffix(""))
        candidates = by_stem.get(stem, [])
        if job.name in candidates:
            candidates = [job.name]
        if len(candidates) == 1:
            found.append(job._replace(partner=folder / candidates[0]))
        elif candidates:
            problems.append(f"{job.source}: {' and '.join(candidates)} are in {folder}, expected one of them")
        else:
            problems.append(f"{job.source}: has no noisy image {stem}.* in {folder}")
    return found, problems


@dataclass(frozen=True)
class NamedPair:
    """A clean image and, where there is one, its real noisy one; `name` is empty for clean.png and noisy.png."""

    name: str
    clean: Path
    noisy: Path | None

    def file(self, kind: str) -> str:
        """Name a file that belongs to the pair: `<kind>.png` or `<name>_<kind>.png`."""
        return f"{self.name}_{kind}.png" if self.name else f"{kind}.png"

    def read(self, channels: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Read the images, (H, W, C) uint8 each. Raises ValueError when they differ in size or are too small."""
        clean = read_image(self.clean, channels)
        noisy = read_image(self.noisy, channels) if self.noisy else None
        height, width = clean.shape[:2]
        if noisy is not None and noisy.shape != clean.shape:
            size = f"{noisy.shape[0]}x{noisy.shape[1]} pixels"
            raise ValueError(f"{self.noisy}: {size}, but {self.clean.name} has {height}x{width}; expected the same")
        if min(height, width) < SMALLEST_SIDE:
            raise ValueError(
                f"{self.clean}: {height}x{width} pixels, expected at least {SMALLEST_SIDE}x{SMALLEST_SIDE}"
            )
        if noisy is not None and shows_other_content(clean, noisy):
            raise ValueError(f"{self.noisy}: {OTHER_CONTENT} {self.clean.name}, expected the same, turned alike")
        return clean, noisy


def find_named_pairs(folder: str | Path) -> tuple[list[NamedPair], list[Path]]:
    """List the quick test's pairs in a folder, the one without a name first, and the PNGs that belong to none.

    Raises ValueError for a missing folder, one without a clean image, a noisy image without its clean one, and names
    that are there twice (`clean.png` and `clean.PNG`).
    """
    folder = Path(folder)
    require_folder(folder)
    sides: dict[str, dict[str, Path]] = {"clean": {}, "noisy": {}}
    others = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".png" or path.name.startswith("."):
            continue
        match = NAMED_FORM.fullmatch(path.stem)
        if not match:
            others.append(path)
        elif (match[1] or "") in sides[match[2]]:
            raise ValueError(f"{path}: expected {NAMED_PAIRS}, each once")
        else:
            sides[match[2]][match[1] or ""] = path
    for name, path in sides["noisy"].items():
        if name not in sides["clean"]:
            raise ValueError(f"{path}: has no clean image {folder / NamedPair(name, path, path).file('clean')}")
    if not sides["clean"]:
        raise ValueError(f"{folder}: no images, expected {NAMED_PAIRS}")
    return [NamedPair(name, path, sides["noisy"].get(name)) for name, path in sorted(sides["clean"].items())], others


def require_noisy(pairs: Iterable[NamedPair]) -> None:
    """Raise ValueError when a pair has no noisy image to estimate a gain of."""
    for pair in pairs:
        if not pair.noisy:
            expected = pair.clean.with_name(pair.file("noisy"))
            raise ValueError(f"{pair.clean}: its gain is unknown, expected the noisy image {expected}")
