"""Split of a camera's scenes into training and test: lists on the disk, the published split, or 80/20 by ISO."""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from data.sidd import find_scenes, log_unread, parse_scene
from utils.files import atomic_path, web_page

PUBLISHED_SCENES = Path(__file__).parent.parent / "data_preparation" / "published_scenes.csv"
HALVES = ("train", "test")
TRAIN_SHARE = 0.8

Split = tuple[list[str], list[str]]  # scene names that train, and that test


def choose_scenes(
    camera: str,
    scenes: Iterable[str],
    lists_dir: str | Path,
    *,
    needed: Collection[str] = HALVES,
    generate: bool = False,
    seed: int = 0,
    log: logging.Logger | None = None,
) -> Split:
    """Decide which of the scenes that are there train and which test.

    Lists <camera>_train.txt and <camera>_test.txt in `lists_dir` win; without any, SIDD's cameras have the published
    split. Of that, and of lists equal to it, the scenes count that are there; other lists must be there in full.
    Nothing is written, but with `generate`: lists of 80/20 within each ISO level, from `seed`, in place of any others.

    Args:
        needed: halves that are used, "train" and "test"; what is wrong with another one is no error.

    Raises:
        ValueError: a list is damaged, a listed scene is not there, or there is no way to a split.
    """
    log = log or logging.getLogger(__name__)
    scenes = {name for name in scenes if parse_scene(name).camera == camera}
    paths = _list_paths(lists_dir, camera)
    if generate:
        made = generate_split(scenes, seed)
        write_lists(lists_dir, camera, made)
        log.info("wrote %s and %s: %d and %d scenes, 80/20 by ISO, seed %d", *paths, *map(len, made), seed)
        return made
    published = published_split(camera)
    split = _read_lists(paths, needed)
    if published and (split is None or [set(names) for names in split] == [set(names) for names in published]):
        split = _those_there(camera, published, scenes, needed, log)
    elif split is None:
        if needed:
            raise ValueError(f"{paths[0]}: no scene lists for camera {camera}; write it and {paths[1].name}")
        return [], []
    for half, path, names in zip(HALVES, paths, split):
        absent = sorted(set(names) - scenes)
        if absent and half in needed:
            raise ValueError(
                f"{path}: {absent[0]} is not there ({len(absent)} of {len(names)} listed scenes are not); "
                "correct the list or add the scene"
            )
    unlisted = sorted(scenes - {*split[0], *split[1]})
    if unlisted and needed:
        log.warning("%d scenes are in neither %s nor %s and not used, such as %s", len(unlisted), *paths, unlisted[0])
    return split


def _list_paths(lists_dir: str | Path, camera: str) -> list[Path]:
    return [Path(lists_dir) / f"{camera}_{half}.txt" for half in HALVES]


def select_scenes(
    data_dir: str | Path,
    camera: str,
    lists_dir: str | Path,
    split: str,
    listed: list[str] | None = None,
    log: logging.Logger | None = None,
) -> tuple[dict[str, Path], list[str], list[str]]:
    """Select the scenes of a camera to judge on.

    split: "train", "test" or "all" of the camera's scenes; `listed` names replace it. Returns the folders of all the
    camera's scenes by name, the names selected, and those left that train. Raises ValueError when a selected scene is
    not there, and as `find_scenes` and `choose_scenes`.
    """
    folders = {folder.name: folder for folder in find_scenes(data_dir, camera)}
    needed = () if listed is not None or split == "all" else (split,)
    train, test = choose_scenes(camera, folders, lists_dir, needed=needed)
    selected = listed if listed is not None else {"train": train, "test": test, "all": sorted(folders)}[split]
    if not selected:
        raise ValueError(f"camera {camera}: no {split} scenes known; write {camera}_{split}.txt into {lists_dir}")
    missing = [name for name in selected if name not in folders]
    if missing:
        count = f"{len(missing)} of {len(selected)} are missing"
        raise ValueError(f"{data_dir}: has no scene {missing[0]} of camera {camera} ({count})")
    log_unread((folders[name] for name in selected), log or logging.getLogger(__name__))
    return folders, selected, [name for name in train if name in folders and name not in selected]


def _those_there(
    camera: str, published: Split, scenes: set[str], needed: Collection[str], log: logging.Logger
) -> Split:
    """Sort the scenes by the published split, told by instance number, and say how many of it are not there."""
    instances = {parse_scene(name).instance for name in published[1]}
    test = sorted(name for name in scenes if parse_scene(name).instance in instances)
    split = sorted(scenes - set(test)), test
    for half, names, listed in zip(HALVES, split, published):
        if half in needed and not names:
            raise ValueError(
                f"camera {camera}: none of its {len(scenes)} scenes is one of the published split's {len(listed)} "
                f"{half} scenes; write your own {camera}_train.txt and {camera}_test.txt"
            )
        if half in needed and len(names) < len(listed):
            absent = len(listed) - len(names)
            log.warning("camera %s: %d of the %d published %s scenes are not there", camera, absent, len(listed), half)
    return split


def read_list(path: str | Path) -> list[str]:
    """Read scene names, one per line; blank lines and white space around names are ignored.

    Raises ValueError that names the file, and the line where there is one, when it cannot be read, is empty, has a
    name twice or one that is not a scene's.
    """
    path = Path(path)
    if page := web_page(path):
        raise ValueError(f"{path}: {page}")
    names: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # editors on Windows put a mark first
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file, expected scene names, one per line") from None
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
        raise ValueError(f"{path}: empty, expected scene names, one per line")
    return list(names)


def _read_lists(paths: list[Path], needed: Collection[str]) -> Split | None:
    """Read both lists and check them against each other; None where there is none."""
    there = [path for path in paths if path.exists()]
    if not there:
        return None
    for half, path in zip(HALVES, paths):
        if path not in there and half in needed:
            raise ValueError(f"{path}: missing, though {there[0]} exists; restore it, or delete the other too")
    train, test = (read_list(path) if path in there else [] for path in paths)
    both = sorted(set(train) & set(test))
    if both:
        raise ValueError(f"{both[0]}: in both {paths[0]} and {paths[1]}, expected in one ({len(both)} such scenes)")
    return train, test


def published_split(camera: str) -> Split | None:
    """Return SIDD's scenes by the published split; None for a camera without one."""
    rows = [line.split(",") for line in PUBLISHED_SCENES.read_text().splitlines()[1:]]
    train, test = ([name for name, of, half in rows if (of, half) == (camera, wanted)] for wanted in HALVES)
    return (train, test) if train or test else None


def generate_split(scenes: Iterable[str], seed: int) -> Split:
    """Draw 80 % of the scenes of each ISO level for training; both halves sorted.

    An ISO level of n scenes gives round(0.8 n) to training (0.8 n is never halfway), so one or two scenes all train
    and the third is the first to test. Raises ValueError when not a single scene is left for one of the halves.
    """
    levels = defaultdict(list)
    for name in sorted(scenes):
        levels[parse_scene(name).iso].append(name)
    random, train, test = np.random.default_rng(seed), [], []
    for _, names in sorted(levels.items()):
        shuffled = [names[index] for index in random.permutation(len(names))]
        count = round(TRAIN_SHARE * len(names))
        train += shuffled[:count]
        test += shuffled[count:]
    if not train or not test:
        cameras = " and ".join(sorted({parse_scene(name).camera for name in train + test}))
        raise ValueError(
            f"camera {cameras}: {len(train + test)} scenes cannot be split 80/20, which takes a test scene only from "
            "three or more of the same ISO; add scenes or write <camera>_train.txt and <camera>_test.txt yourself"
        )
    return sorted(train), sorted(test)


def write_lists(folder: str | Path, camera: str, split: Split) -> list[Path]:
    """Write <camera>_train.txt and <camera>_test.txt, one scene name per line, and return their paths.

    Neither gets its name before both are on the disk. Raises ValueError when they cannot be written.
    """
    paths = [Path(folder) / f"{camera}_{half}.txt" for half in HALVES]
    try:
        with atomic_path(paths[0]) as train, atomic_path(paths[1]) as test:
            for temporary, names in zip((train, test), split):
                temporary.write_text("\n".join(names) + "\n")
    except OSError as error:
        raise ValueError(f"{folder}: scene lists cannot be written ({error.strerror})") from None
    return paths


def split_to_fit(camera: str, scenes: Iterable[str], lists_dir: str | Path, log: logging.Logger) -> Split:
    """Decide which scenes a fit is made of, and which it must not see, even if there is only one.

    As `choose_scenes` where there are lists or a published split; test scenes need not be there. Else 80/20 within each
    ISO, not written anywhere; too few scenes for that are all fitted to. Raises ValueError as `choose_scenes`.
    """
    scenes = sorted(scenes)
    listed = any((Path(lists_dir) / f"{camera}_{half}.txt").exists() for half in HALVES)
    published = published_split(camera)
    if listed or published:
        train, test = choose_scenes(camera, scenes, lists_dir, needed=HALVES[:1], log=log)
        return train, sorted({*test, *(published[1] if published and not listed else ())})
    try:
        return generate_split(scenes, 0)
    except ValueError:  # fewer than three of each ISO
        return scenes, []
