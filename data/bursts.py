"""Pairs of your own camera in SIDD's layout: from bursts, from pairs, or from shots beside a reference of low ISO.

The clean image of a burst is the mean of its N frames, so a frame minus the mean has (N - 1) / N of the noise's
variance, at every pixel and between any two of them, as frames are independent. It is therefore multiplied by
sqrt(N / (N - 1)): the noise in the pairs has the camera's own second moments, whatever N is. (Of Gaussian samples the
deviations are independent of the mean; so is this noise of the grain of sqrt(1 / N) that the clean image keeps.)
"""

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median, mode
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd

from data.boxes import Box
from data.folders import FIRST_FRAME, ImageJob, find_images, with_partners
from data.likeness import (
    OTHER_CONTENT,
    cut_places,
    differing,
    even_places,
    find_shift,
    noise_std,
    shows_other_content,
)
from data.sidd import SCENE_FORM, parse_scene
from utils.files import file_state, sha256_of, write_text
from utils.image import png_size, read_exposure, read_photo, write_image

MANIFEST = "pairs.csv"
COLUMNS = ("scene", "source", "iso", "shutter", "clean", "noisy", "left_out", "state")
FEWEST_FRAMES = 4  # of a burst, that agree: of fewer nobody can tell which one has moved
STILL = 0.25  # pixels that a picture may lie beside the others; frames of a tripod differ by .02 in the demo camera's
BLOCK = 16  # pixels: side of the blocks in whose means something that has moved within the picture shows
CHANGED_BLOCK = (8.0, 3.0)  # a block is another one beyond so many standard deviations, and so many grey levels
CHANGED_SHARE = 0.002  # of the blocks that may be others
MOST_SCENES = 9999  # four digits
# A mean of n frames differs from others by (1 + 1 / n) / 2 of a usual squared difference; noise of a copy, even in a
# lossy format, correlates with that of its original.
OF_MEAN, OF_COPY = 0.8, 0.5
LESS_NOISE = 0.7  # of the clean image's: a noisy one with less is none
LEAST_NOISE = 0.25  # standard deviation in grey levels of three channels' mean; rounding makes half of it
USUAL_SHUTTER = 100  # 1 / seconds, where the files name none

KINDS = ("GT", "NOISY")
WHOLE_PIXELS = "whole pixels"  # in the description of a fault that alignment mends

Row = dict[str, str]


class Source(NamedTuple):
    """Images that a scene is made of. Without `clean` images, `noisy` is a burst."""

    name: str  # the folder of a scene, or the noisy image
    clean: list[Path]
    noisy: list[Path]
    iso: int
    shutter: int  # 1 / seconds
    problems: list[str]  # one line for each image that is left out from the start

    def state(self, known: Mapping[str, str]) -> str:
        """Describe the files: their number, a hash of names and states, and one of contents, in any order.

        The last is what a source holds, wherever it lies. known: contents by what comes before, to be read no more.
        """
        paths = self.clean + self.noisy
        states = "\n".join(f"{path.name} {file_state(path)}" for path in paths)
        begin = f"{len(paths)} files, {hashlib.sha256(os.fsencode(states)).hexdigest()[:16]}"
        if begin in known:
            return f"{begin}, {known[begin]}"
        contents = " ".join(
            sorted(sha256_of([path]) for path in self.clean)
            + ["beside"]
            + sorted(sha256_of([path]) for path in self.noisy)
        )
        return f"{begin}, {hashlib.sha256(contents.encode()).hexdigest()[:32]}"


@dataclass(frozen=True)
class PairSettings:
    """Settings that determine the pairs of a source."""

    frames: int  # noisy images of a scene; 0: all
    align: bool  # shift images that have moved by whole pixels, and cut all to what they share
    exposure_tolerance: float  # of the mean brightness


class Picture(NamedTuple):
    """Measurements of an image before it is used."""

    level: float  # mean, in grey levels
    shift: np.ndarray  # (2,) rows and columns that its content lies below and to the right of the first image's
    blocks: np.ndarray  # (H / BLOCK, W / BLOCK) means
    even: np.ndarray  # (N, PLACE, PLACE) parts where the first image is even
    is_other: bool  # surely shows something else than the first image
    pixels: str  # hash of them all


def find_matching(clean: Path, noisy: Path, iso: int | None) -> tuple[list[Source], list[str]]:
    """List the images of two folders whose names match, a source each, and in one line each what is wrong."""
    names = find_images(clean).names
    jobs, problems = with_partners([ImageJob(name, clean / name, ()) for name in names], noisy)
    return _sources([(str(job.partner), [job.source], [job.partner]) for job in jobs if job.partner], iso), problems


def find_bursts(root: Path, iso: int | None) -> list[Source]:
    """List the sub-folders of frames, a source each."""
    return _sources([(str(folder), [], frames) for folder, frames in _folders(root)], iso)


def find_shots(root: Path, iso: int | None) -> tuple[list[Source], list[str]]:
    """List the sub-folders of shots by ISO: those of the lowest are clean, each other ISO is a source.

    `iso` counts where the EXIF data says none. Returns what is wrong, too, in one line each: a folder of which a shot
    has no ISO makes no source, for that shot may be its reference.
    """
    found, problems = [], []
    for folder, shots in _folders(root):
        by_iso: dict[int | None, list[Path]] = {}
        for shot in shots:
            by_iso.setdefault(read_exposure(shot)[0] or iso, []).append(shot)
        if None in by_iso:
            reason = "by which the reference is found, and no other one is given"
            problems += [f"{shot}: has no ISO in its EXIF data, {reason}" for shot in by_iso[None]]
            continue
        levels = sorted(level for level in by_iso if level)
        if len(levels) < 2:
            problems.append(f"{folder}: all of one ISO, expected a reference of low ISO and shots of a higher one")
        found += [(str(folder), by_iso[levels[0]], by_iso[level]) for level in levels[1:]]
    return _sources(found, iso), problems


def _folders(root: Path) -> list[tuple[Path, list[Path]]]:
    """List the sub-folders that hold images, with their images in the order of their names."""
    by_folder: dict[Path, list[Path]] = {}
    for name in find_images(root).names:
        by_folder.setdefault((root / name).parent, []).append(root / name)
    if root in by_folder:
        raise ValueError(f"{by_folder[root][0]}: expected a folder for each scene, such as {root / 'scene_1'}/")
    return sorted(by_folder.items())


def _sources(found: list[tuple[str, list[Path], list[Path]]], iso: int | None) -> list[Source]:
    """Read ISO and shutter of the noisy images from their EXIF data; `iso` counts where there is none."""
    sources = []
    for name, clean, noisy in found:
        exposures = {path: read_exposure(path) for path in noisy}
        levels = {path: exposure[0] or iso for path, exposure in exposures.items()}
        common = mode(levels.values())
        if not common:
            raise ValueError(f"{name}: no ISO in the EXIF data of its images, and no other one given")
        problems = [
            f"{path}: ISO {other or 'unknown'}, not {common}" for path, other in levels.items() if other != common
        ]
        used = [path for path in noisy if levels[path] == common]
        shutter = mode(exposures[path][1] or USUAL_SHUTTER for path in used)
        sources.append(Source(name, clean, used, common, shutter, problems))
    return sources


def require_numbers(sources: list[Source], rows: Iterable[Row]) -> None:
    """Raise ValueError for more scenes, with those in the manifest's rows, than SIDD's names have numbers."""
    known = {(row["source"], row["iso"]) for row in rows}
    count = len(known | {(source.name, str(source.iso)) for source in sources})
    if count > MOST_SCENES:
        raise ValueError(f"{count} scenes, expected at most {MOST_SCENES}, which SIDD's names can count")


def identify(sources: list[Source], rows: list[Row]) -> list[str]:
    """Return the states of sources. What the manifest's rows know is not read again."""
    known = dict(row["state"].rsplit(", ", 1) for row in rows if row["state"].count(", ") == 2)
    return [source.state(known) for source in sources]


def find_twins(sources: list[Source], states: list[str]) -> list[str]:
    """Name, in one line each, sources that hold what an earlier one holds."""
    first: dict[tuple[str, int], str] = {}
    twins = []
    for source, state in zip(sources, states):
        other = first.setdefault((_held(state), source.iso), source.name)
        if other != source.name:
            twins.append(f"{source.name}: holds the same photographs as {other}")
    return twins


def _held(state: str) -> str:
    return state.rsplit(", ", 1)[-1]


def name_scenes(sources: list[Source], states: list[str], camera: str, rows: list[Row]) -> list[str]:
    """Name the scenes as SIDD does: those in the manifest's rows keep their names, others get the next numbers.

    A source is known by what it holds, or else, if the photographs have changed, by its place. Raises ValueError for a
    camera code or ISO that SIDD's names have no room for, and for more scenes than that.
    """
    keys = [
        [(_held(state), source.name, source.iso), (_held(state), source.iso), (source.name, source.iso)]
        for source, state in zip(sources, states)
    ]
    left = {row["scene"]: row for row in rows}
    known = [""] * len(sources)
    for kind in range(3):  # what is where it was, what has moved, and what has changed in its place
        for number, key in enumerate(keys):
            if known[number]:
                continue
            for scene, row in left.items():
                held, name, iso = _held(row["state"]), row["source"], int(row["iso"])
                if key[kind] == [(held, name, iso), (held, iso), (name, iso)][kind]:
                    known[number] = scene
                    del left[scene]
                    break
    numbers = {row["source"]: int(parse_scene(row["scene"]).scene) for row in rows}
    numbers |= {source.name: int(parse_scene(name).scene) for name, source in zip(known, sources) if name}
    instance = max((int(row["scene"][:4]) for row in rows), default=0)
    names = []
    for source, known_name in zip(sources, known):
        if known_name:
            names.append(known_name)
            continue
        instance += 1
        number = numbers.setdefault(source.name, max(numbers.values(), default=0) % 999 + 1)
        name = f"{instance:04d}_{number:03d}_{camera}_{source.iso:05d}_{min(source.shutter, 99999):05d}_5500_N"
        if not SCENE_FORM.fullmatch(name):
            expected = "a camera code of two characters A-Z or 0-9, an ISO up to 9999999 and at most 9999 scenes"
            raise ValueError(f"{name}: not the name of a scene, expected {expected}")
        names.append(name)
    return names


def read_manifest(folder: Path) -> list[Row]:
    """Read the rows of scenes that are done, none where there is no manifest yet."""
    path = folder / MANIFEST
    if not path.exists():
        return []
    rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="surrogateescape")
    if tuple(rows.columns) != COLUMNS:
        raise ValueError(f"{path}: not a manifest of pairs, expected the columns {', '.join(COLUMNS)}")
    return rows.to_dict("records")


def write_manifest(folder: Path, rows: Iterable[Row]) -> None:
    """Write the rows in the order of the scenes, atomically."""
    table = pd.DataFrame(sorted(rows, key=lambda row: row["scene"]), columns=COLUMNS)
    write_text(folder / MANIFEST, table.to_csv(index=False))


def is_made(row: Row | None, state: str, folder: Path) -> bool:
    """Return whether a scene is complete, and its source, in this state, still holds what it was made of."""
    if row is None or _held(row["state"]) != _held(state):
        return False
    files = [folder / _file(row["scene"], kind, n) for n in range(len(row["noisy"].splitlines())) for kind in KINDS]
    return all(png_size(path) for path in files)


def _file(scene: str, kind: str, number: int) -> str:
    return f"{scene}/{scene[:4]}_{kind}_SRGB_{FIRST_FRAME + number:03d}.PNG"


def make_scene(source: Source, state: str, scene: str, folder: Path, settings: PairSettings) -> Row:
    """Write the pairs of a source as a scene -> its row of the manifest.

    Raises ValueError that names an image which cannot be read or has another size, and a source of too few images
    that agree in place and brightness.
    """
    paths, count = source.clean + source.noisy, len(source.clean)
    for path in (folder / scene).glob("*_SRGB_*"):  # made of photographs that have changed since
        path.unlink()
    pictures = measure(paths)
    if not count and len(paths) > 1 and len({picture.pixels for picture in pictures}) == 1:
        raise ValueError(
            f"{source.name}: {len(paths)} images of the very same pixels, expected noise in which they differ"
        )
    offsets, faults = check_pictures(pictures, paths, count, settings)
    left_out = source.problems + [f"{paths[index]}: {fault}" for index, fault in sorted(faults.items())]
    clean, noisy = ([i for i in part if i not in faults] for part in (range(count), range(count, len(paths))))
    fewest = 1 if count else FEWEST_FRAMES
    if len(noisy) < fewest:
        because = f" ({left_out[0]})" if left_out else ""
        raise ValueError(f"{source.name}: {len(noisy)} images to use, expected at least {fewest}{because}")

    averaged = clean or noisy
    shared = _shared_box(_read(paths[0]).shape, offsets[clean + noisy])
    mean = np.zeros((shared.height, shared.width, 3), np.float32)
    for index in averaged:
        mean += _part(paths[index], shared, offsets[index])
    mean /= len(averaged)
    scale = 1 if count else math.sqrt(len(noisy) / (len(noisy) - 1))
    most = min(settings.frames or len(noisy), len(noisy))
    chosen = [noisy[i * len(noisy) // most] for i in range(most)]  # evenly spaced
    clean_levels = np.round(mean)
    for number, index in enumerate(chosen):
        noise = np.round(scale * (_part(paths[index], shared, offsets[index]) - mean))
        for kind, levels in zip(KINDS, (clean_levels, clean_levels + noise)):
            write_image(folder / _file(scene, kind, number), np.clip(levels, 0, 255).astype(np.uint8))
    row = {"scene": scene, "source": source.name, "iso": source.iso, "shutter": source.shutter}
    row["clean"] = paths[averaged[0]].name if len(averaged) == 1 else f"mean of {len(averaged)}"
    row |= {"noisy": "\n".join(paths[index].name for index in chosen), "left_out": "\n".join(left_out)}
    return {name: str(value) for name, value in (row | {"state": state}).items()}


def measure(paths: list[Path]) -> list[Picture]:
    """Measure images, compared with the first one. Raises ValueError when they differ in size."""
    pictures: list[Picture] = []
    first: np.ndarray = np.zeros((0, 0), np.float32)
    places: np.ndarray = np.zeros((0, 2), int)
    for path in paths:
        grey = cv2.transform(_read(path), np.full((1, 3), 1 / 3))
        if not pictures:
            first, places = grey, even_places(grey)
        if grey.shape != first.shape:
            sizes = ["x".join(map(str, image.shape)) for image in (grey, first)]
            raise ValueError(f"{path}: {sizes[0]} pixels, but {paths[0].name} has {sizes[1]}")
        size = [max(1, side // BLOCK) for side in grey.shape[::-1]]
        blocks = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        shift = find_shift(first, grey)
        even = cut_places(grey, places, np.round(shift).astype(int))
        is_other = not shift.any() and shows_other_content(first[..., None], grey[..., None])
        pixels = hashlib.sha256(grey.tobytes()).hexdigest()
        pictures.append(Picture(float(grey.mean()), shift, blocks, even, is_other, pixels))
    return pictures


def check_pictures(
    pictures: list[Picture], paths: list[Path], references: int, settings: PairSettings
) -> tuple[np.ndarray, dict[int, str]]:
    """Find the whole pixels by which images have moved, (N, 2) rows and columns, and why some cannot be used, by index.

    They are compared with the first one if the first are references, or else with the median of all.
    """
    shifts, levels = np.array([picture.shift for picture in pictures]), [picture.level for picture in pictures]
    if not references:
        shifts = shifts - np.median(shifts, axis=0)
    level = levels[0] if references else median(levels)
    offsets = np.round(shifts).astype(int)
    blocks = np.array([picture.blocks for picture in pictures])
    distance = np.abs(blocks - np.median(blocks, axis=0))
    spread = 1.4826 * np.median(distance, axis=0)  # of a Gaussian: its standard deviation
    limit = np.maximum(CHANGED_BLOCK[0] * np.maximum(spread, np.median(spread)), CHANGED_BLOCK[1])
    changed = (distance > limit).mean(axis=(1, 2))

    faults = {}
    for index, picture in enumerate(pictures):
        whole = np.abs(shifts[index] - offsets[index]).max() <= STILL
        if not whole or (offsets[index].any() and not settings.align):
            more = f", {WHOLE_PIXELS}" if whole else ""
            rows, columns = np.round(shifts[index], 1) + 0.0  # no "-0.0"
            faults[index] = f"moved by {rows:.1f} rows and {columns:.1f} columns{more}"
        elif abs(levels[index] - level) > settings.exposure_tolerance * level:
            faults[index] = f"its exposure differs, by {levels[index] / level - 1:+.1%} in brightness"
        elif not references and not offsets[index].any() and changed[index] > CHANGED_SHARE:
            faults[index] = f"something moved in {changed[index]:.1%} of the picture"
        elif references and picture.is_other:
            faults[index] = f"{OTHER_CONTENT} {paths[0].name}"
    good = [index for index in range(len(pictures)) if index not in faults]
    return offsets, faults | (
        _beside_references(pictures, paths, references, good) if references else _dependent(pictures, paths, good)
    )


def _beside_references(pictures: list[Picture], paths: list[Path], references: int, good: list[int]) -> dict[int, str]:
    """Find noisy images that are copies, of a clean one or of each other, and those with less noise than the clean."""
    faults = {}
    owners = {pictures[index].pixels: index for index in range(references)}
    clean = noise_std(np.mean([pictures[index].even for index in good if index < references], axis=0))
    for index in (index for index in good if index >= references):
        owner = owners.setdefault(pictures[index].pixels, index)
        noise = noise_std(pictures[index].even)
        if owner != index:
            faults[index] = f"has the very pixels of {paths[owner]}, expected noise of its own"
        elif noise < LESS_NOISE * clean and clean > LEAST_NOISE:
            stds = f"std {noise:.2f} and {clean:.2f} in even parts"
            faults[index] = f"has less noise than its clean image {paths[0]} ({stds}); are the two swapped?"
    return faults


def _dependent(pictures: list[Picture], paths: list[Path], good: list[int]) -> dict[int, str]:
    """Find frames of a burst that are none of their own: copies, in whatever format, and means of others.

    Frames differ by the noise of both, s^2 + s^2; a mean of n has s^2 / n, and a copy shares its own. Where nothing
    varies, nobody can tell.
    """
    squares = np.zeros((len(pictures), len(pictures)))
    for i, j in combinations(good, 2):
        squares[i, j] = squares[j, i] = differing(pictures[i].even, pictures[j].even)
    if squares.max() <= LEAST_NOISE**2:
        return {}
    faults: dict[int, str] = {}
    for i, j in combinations(good, 2):
        if pictures[i].pixels == pictures[j].pixels:
            faults.setdefault(j, f"is a copy of {paths[i].name}")
    left = [index for index in good if index not in faults]
    usual = {i: float(np.median([squares[i, j] for j in left if j != i] or 0)) for i in left}
    typical = median(usual.values())
    for index in left:
        if usual[index] < OF_MEAN * typical:
            faults[index] = "has less noise than the other frames, as a mean of frames or a denoised one"
    noise = {index: usual[index] - typical / 2 for index in left if index not in faults}  # variance of each
    for i, j in combinations(noise, 2):
        shared = (noise[i] + noise[j] - squares[i, j]) / 2
        if i not in faults and shared > OF_COPY * math.sqrt(noise[i] * noise[j]) > 0:
            faults.setdefault(j, f"is a copy of {paths[i].name}")
    return faults


def _shared_box(shape: tuple[int, ...], offsets: np.ndarray) -> Box:
    """Find the part of the first image's place that all images show."""
    first, last = np.maximum(-offsets.min(axis=0), 0), np.array(shape[:2]) - np.maximum(offsets.max(axis=0), 0)
    return Box(*first, *(last - first))


def _part(path: Path, shared: Box, offset: np.ndarray) -> np.ndarray:
    return Box(shared.top + offset[0], shared.left + offset[1], shared.height, shared.width).of(_read(path))


def _read(path: Path) -> np.ndarray:
    """Read an image -> (H, W, 3) float32 in grey levels, of 16 bits too."""
    pixels = read_photo(path).pixels
    return pixels.astype(np.float32) / (257 if pixels.dtype == np.uint16 else 1)
