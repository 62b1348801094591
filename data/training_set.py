"""The scenes that a training learns from and is tested on."""

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from data.pairs import ImageList, are_cropped, list_images
from data.sidd import find_scenes
from data.splits import resolve_split


class TrainingSet(NamedTuple):
    """Scene folders of one or several cameras, and the images in them."""

    train_scenes: list[Path]
    test_scenes: list[Path]
    train: ImageList
    test: ImageList


def find_training_set(
    args: argparse.Namespace, cameras: Iterable[str], smallest_test: int, log: logging.Logger
) -> TrainingSet:
    """Find the cameras' scenes in `--train_img_dir`, split by their lists (see `resolve_split`, which may write these).

    args: with the data options of `options.training`; smallest_test: side of the smallest test image, in pixels. Raises
    ValueError, naming what to change, for cameras without scenes, splits without an end, and images that are too small.
    """
    halves: tuple[list[Path], list[Path]] = ([], [])
    for camera in cameras:
        scenes = {scene.name: scene for scene in find_scenes(args.train_img_dir, camera, "--train_img_dir")}
        split = resolve_split(camera, list(scenes), args.data_prep_dir, args.generate_data_lists, args.seed, log)
        for half, names in zip(halves, split):
            half.extend(scenes[name] for name in names)
    cropped = are_cropped(halves[0] + halves[1])
    train = list_images(halves[0], cropped, args.patch_size, "--patch_size")
    return TrainingSet(*halves, train, list_images(halves[1], cropped, smallest_test, "a test image"))
