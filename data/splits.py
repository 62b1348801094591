"""Train and test scenes of a camera: lists on the disk, the published split, an 80/20 split by ISO."""

import logging
from collections import defaultdict
from pathlib import Path

import numpy as np

from data.sidd import parse_scene
from utils.files import atomic_path

PUBLISHED = Path(__file__).parent.parent / "data_preparation" / "published_test_instances.txt"
TRAIN_SHARE = 0.8

Split = tuple[list[str], list[str]]  # (train, test) scene names


def read_list(path: str | Path, option: str = "--data_prep_dir") -> list[str]:
    """Read scene names, one a line; blank lines and white space around names are ignored.

    Raises ValueError that names the file, and the line where there is one, when it cannot be read, is empty, has a
    name twice or one that is not a scene's.
    """
    path, names = Path(path), {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # editors on Windows put a mark first
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); change {option}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file, expected scene names, one a line") from None
    for number, name in enumerate(map(str.strip, lines), start=1):
        if not name:
            continue
        try:
            parse_scene(name)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        if name in names:
            raise ValueError(f"{path}, line {number}: {name} is there twice, first in line {names[name]}")
        names[name] = number
    if not names:
        raise ValueError(f"{path}: empty, expected scene names, one a line")
    return list(names)


def generate_split(scene_names: list[str], seed: int) -> Split:
    """Draw 80 % of the scenes of each ISO level for training: names -> sorted (train, test).

    An ISO level of n scenes gives round(0.8 n) to training (0.8 n is never halfway), so one or two scenes all train
    and the third is the first to test. Raises ValueError when not a single scene is left for one of the halves.
    """
    levels = defaultdict(list)
    for name in sorted(scene_names):
        levels[parse_scene(name).iso].append(name)
    random, train, test = np.random.default_rng(seed), [], []
    for _, names in sorted(levels.items()):
        shuffled = [names[index] for index in random.permutation(len(names))]
        count = round(TRAIN_SHARE * len(names))
        train += shuffled[:count]
        test += shuffled[count:]
    if not train or not test:
        cameras = " and ".join(sorted({parse_scene(name).camera for name in scene_names}))
        raise ValueError(
            f"camera {cameras}: {len(scene_names)} scenes cannot be split by --generate_data_lists, which takes a test "
            f"scene only from three or more of the same ISO; add scenes or write <CAM>_train.txt and <CAM>_test.txt "
            f"into --data_prep_dir yourself"
        )
    return sorted(train), sorted(test)


def published_instances() -> dict[str, list[str]]:
    """Read the published test instances: -> {camera: 4-digit instance numbers}."""
    lines = (line.split() for line in PUBLISHED.read_text().splitlines() if not line.startswith("#"))
    return {camera: instances for camera, *instances in lines}


def published_split(camera: str, scene_names: list[str]) -> Split | None:
    """Sort a camera's scenes by the published split: -> sorted (train, test); None for a camera without one.

    Scenes are told by their instance number. Either half may be empty when only a part of SIDD-Medium is there.
    """
    instances = published_instances().get(camera)
    if instances is None:
        return None
    test = sorted(name for name in scene_names if parse_scene(name).instance in instances)
    return sorted(set(scene_names) - set(test)), test


def resolve_split(
    camera: str, scene_names: list[str], data_prep_dir: str | Path, generate: bool, seed: int, log: logging.Logger
) -> Split:
    """Decide which of a camera's scenes train and which test: -> (train, test).

    Lists <CAM>_train.txt and <CAM>_test.txt in `data_prep_dir` win. Where there are none, they are written: with
    `generate` (--generate_data_lists) as 80/20 within each ISO level, otherwise as published. `scene_names` are the
    scenes in --train_img_dir. Raises ValueError, naming what to change, when there is no way to a split.
    """
    own = [name for name in scene_names if parse_scene(name).camera == camera]
    paths = [Path(data_prep_dir) / f"{camera}_{half}.txt" for half in ("train", "test")]
    missing = [path for path in paths if not path.exists()]
    if not missing:
        if generate:
            log.info("existing lists are kept; delete %s and %s to have them generated anew", *paths)
        return _read_lists(paths, scene_names, own, log)
    if len(missing) == 1:
        there = next(path for path in paths if path not in missing)
        raise ValueError(f"{missing[0]}: missing, though {there} exists; restore it, or delete the other for new lists")

    if generate:
        split, origin = generate_split(own, seed), f"80/20 by ISO, seed {seed}"
    else:
        split, origin = _published(camera, own, paths, log), "the published split"
    _write_lists(paths, split)
    log.info("wrote %s and %s: %d and %d scenes, %s", *paths, *map(len, split), origin)
    return split


def _published(camera: str, own: list[str], paths: list[Path], log: logging.Logger) -> Split:
    """Sort the scenes by the published split, or say why that does not do."""
    split = published_split(camera, own)
    if split is None:
        raise ValueError(
            f"{paths[0]}: no scene lists for camera {camera}; write it and {paths[1].name}, "
            f"change --data_prep_dir or use --generate_data_lists"
        )
    for half, names in zip(("train", "test"), split):
        if not names:
            raise ValueError(
                f"camera {camera}: none of its {len(own)} scenes in --train_img_dir is one of the published split's "
                f"{half} scenes; use --generate_data_lists or write your own {paths[0]} and {paths[1].name}"
            )
    expected = len(published_instances()[camera])
    if len(split[1]) < expected:
        log.warning("camera %s: only %d of the %d published test scenes are there", camera, len(split[1]), expected)
    return split


def _read_lists(paths: list[Path], scene_names: list[str], own: list[str], log: logging.Logger) -> Split:
    """Read both lists and check them against each other and against the scenes present."""
    train, test = map(read_list, paths)
    for path, names in zip(paths, (train, test)):
        absent = sorted(set(names) - set(scene_names))
        if absent:
            raise ValueError(
                f"{path}: {absent[0]} is not in --train_img_dir ({len(absent)} of {len(names)} listed scenes are not); "
                f"crop it, change --train_img_dir, or correct the list"
            )
    both = sorted(set(train) & set(test))
    if both:
        raise ValueError(f"{both[0]}: in both {paths[0]} and {paths[1]}, expected in one ({len(both)} such scenes)")
    unlisted = sorted(set(own) - {*train, *test})
    if unlisted:
        log.warning("%d scenes are in neither %s nor %s and not used, such as %s", len(unlisted), *paths, unlisted[0])
    return train, test


def _write_lists(paths: list[Path], split: Split) -> None:
    """Write both lists; neither gets its name before both are on the disk."""
    try:
        with atomic_path(paths[0]) as train, atomic_path(paths[1]) as test:
            for temporary, names in zip((train, test), split):
                temporary.write_text("\n".join(names) + "\n")
    except OSError as error:
        raise ValueError(
            f"{paths[0].parent}: scene lists cannot be written ({error.strerror}); change --data_prep_dir"
        ) from None
