"""Folders of one's own images: what is in them, and which files noising them makes. Paths only, nothing is decoded."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data.sidd import SCENE_FORM
from utils.image import PHOTO_SUFFIXES

FIRST_FRAME = 10  # SIDD-Medium's frames are 010 and 011
SCENES = 999  # three digits; more images share numbers from 001 on


class FoundImages(NamedTuple):
    """What a folder holds: images by their names relative to it (with /, sorted), a line for all else, problems."""

    names: list[str]
    others: str
    problems: list[str]


class Target(NamedTuple):
    """Files that one draw of noise makes, relative to the output folder; `clean` is empty where it is not copied."""

    draw: int
    noisy: str
    clean: str = ""

    @property
    def files(self) -> list[str]:
        return [name for name in (self.clean, self.noisy) if name]


class ImageJob(NamedTuple):
    """An image to put noise on. `partner`: its real noisy image, where the gain comes from one."""

    name: str
    source: Path
    targets: tuple[Target, ...]
    partner: Path | None = None

    def key(self, draw: int) -> str:
        """What tells the random numbers of this image and draw from others': `<name> <draw>`.

        It is the same on every system: macOS decomposes accents, and Linux allows bytes that are no text.
        """
        text = self.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        return f"{unicodedata.normalize('NFC', text)} {draw}"


def find_images(root: str | Path, option: str, output: str | Path | None = None) -> FoundImages:
    """List the images of a folder and of all below it, links followed, but for those into the folder
    `output`; names that begin with "." are left out.

    Raises ValueError, naming `option`, when there is no such folder or no image in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; change {option}")
    names, others, problems = [], Counter(), []

    def walk(folder: Path, around: tuple[str, ...]) -> None:
        real = os.path.realpath(folder)
        if real in around:
            problems.append(f"{folder}: a link to a folder that it lies in; not followed")
            return
        if output is not None and Path(real).is_relative_to(Path(output).resolve()):
            problems.append(f"{folder}: a link into --output_dir; not followed")
            return
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            problems.append(f"{folder}: cannot be read ({error.strerror})")
            return
        for entry in entries:
            path, suffix = folder / entry.name, Path(entry.name).suffix.lower()
            if entry.name.startswith("."):
                continue
            if path.is_dir():
                walk(path, (*around, real))
            elif suffix in PHOTO_SUFFIXES:
                names.append(path.relative_to(root).as_posix())
            else:
                others[suffix or "without suffix"] += 1

    walk(root, ())
    if not names:
        reason = problems[0] if problems else f"{root}: no images, expected {' '.join(PHOTO_SUFFIXES)}"
        raise ValueError(f"{reason}; change {option}")
    counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
    return FoundImages(sorted(names), counts, problems)


def require_apart(output: str | Path, **inputs: str | Path | None) -> None:
    """Raise ValueError when --output_dir is one of the input folders (by option), in one, or around one."""
    mine = Path(output).resolve()
    for option, folder in inputs.items():
        theirs = Path(folder).resolve() if folder is not None else None
        if theirs and (mine.is_relative_to(theirs) or theirs.is_relative_to(mine)):
            raise ValueError(f"--output_dir {output}: expected a folder apart from --{option} {folder}")


def plan_plain(root: Path, names: Iterable[str], draws: int, suffix: str) -> list[ImageJob]:
    """Name the outputs as the inputs, with another suffix, and _00, _01, ... before it when there are several draws.

    Raises ValueError when two outputs would have the same name.
    """
    digits = max(2, len(str(draws - 1)))
    jobs = []
    for name in names:
        stem = PurePosixPath(name).with_suffix("")
        ends = [""] if draws == 1 else [f"_{draw:0{digits}d}" for draw in range(draws)]
        jobs.append(
            ImageJob(name, root / name, tuple(Target(draw, f"{stem}{end}{suffix}") for draw, end in enumerate(ends)))
        )
    _require_distinct(jobs)
    return jobs


def plan_scenes(root: Path, names: list[str], draws: int, camera: str, iso: int) -> list[ImageJob]:
    """Name the outputs as SIDD-Medium does: a scene for each image, in their order, a frame for each draw.

    Raises ValueError for a code of another form and for more images than SIDD's names can count.
    """
    form = f"0001_001_{camera}_{iso:05d}_00100_5500_N"
    if not SCENE_FORM.fullmatch(form):
        raise ValueError(
            f"{form}: no name of a scene; expected two characters A-Z or 0-9 as --camera_code (without it "
            "--cam_name), and an --iso up to 99999"
        )
    if len(names) > 9999:
        raise ValueError(f"{len(names)} images, expected at most 9999 for SIDD's scene names; use --layout plain")
    jobs = []
    for number, name in enumerate(names, start=1):
        scene = f"{number:04d}_{(number - 1) % SCENES + 1:03d}{form[8:]}"
        files = [
            [f"{scene}/{number:04d}_{kind}_SRGB_{FIRST_FRAME + draw:03d}.PNG" for kind in ("NOISY", "GT")]
            for draw in range(draws)
        ]
        jobs.append(ImageJob(name, root / name, tuple(Target(draw, *pair) for draw, pair in enumerate(files))))
    return jobs


def _require_distinct(jobs: list[ImageJob]) -> None:
    owners: dict[str, str] = {}
    keys: dict[str, str] = {}
    for job in jobs:
        if (other := keys.setdefault(job.key(0), job.name)) != job.name:
            raise ValueError(f"{other!a} and {job.name!a}: the same name in another spelling of Unicode; rename one")
        for target in job.targets:
            other = owners.setdefault(target.noisy, job.name)
            if other != job.name:
                raise ValueError(f"{other} and {job.name}: would both become {target.noisy}; rename one of them")
    for output, name in owners.items():
        for parent in PurePosixPath(output).parents:
            if str(parent) in owners:
                raise ValueError(f"{owners[str(parent)]}: would become {parent}, the folder of {name}; rename it")


def with_partners(jobs: list[ImageJob], folder: str | Path, option: str) -> tuple[list[ImageJob], list[str]]:
    """Find every image's real noisy one, of the same relative name but for the suffix: -> jobs that have one, problems.

    The very same name comes first. Raises ValueError as `find_images`.
    """
    folder = Path(folder)
    by_stem: dict[str, list[str]] = {}
    for name in find_images(folder, option).names:
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
            problems.append(f"{job.source}: {' and '.join(candidates)} are in {option} {folder}, expected one of them")
        else:
            problems.append(f"{job.source}: has no noisy image {stem}.* in {option} {folder}")
    return found, problems
