"""Images to judge denoisers on: scenes of one or several cameras, or the blocks of SIDD's validation."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data.benchmarks.sidd import read_validation
from data.image_sets import Frame, find_frames, read_samples
from data.sidd import parse_scene
from data.splits import read_list
from evaluation.noise_setup import choose_scenes
from metrics.images import SSIM_SIDE
from utils.randomness import evenly_spaced
from utils.workers import in_threads

VALIDATION = "SIDD validation"  # its blocks are of all five cameras, and the file does not say which


class ImagePair(NamedTuple):
    """A pair of images, (H, W, 3) uint8 each; name: <scene>/<image>; iso: None where it is not known."""

    name: str
    camera: str
    iso: int | None
    noisy: np.ndarray
    clean: np.ndarray


@dataclass(frozen=True)
class ImageSet:
    """Images that are read when they are wanted: `read(num_workers)`; what: for the report."""

    title: str
    what: str
    count: int
    read: Callable[[int], Iterator[ImagePair]]


def choose_images(args: argparse.Namespace, default_data_dir: str) -> ImageSet:
    """Choose the images by the options. Raises ValueError for what is missing, damaged or does not fit together."""
    if args.noisy_blocks is None and args.gt_blocks is None:
        return _of_scenes(args)
    for option, other in (("noisy_blocks", "gt_blocks"), ("gt_blocks", "noisy_blocks")):
        if getattr(args, option) is None:
            raise ValueError(f"--{other} {getattr(args, other)}: expected --{option} too, the same blocks")
    if args.data_dir != default_data_dir or args.scene_list:
        raise ValueError("--noisy_blocks: in place of scenes, expected neither --data_dir nor --scene_list with it")
    return _of_blocks(args)


def _of_scenes(args: argparse.Namespace) -> ImageSet:
    cameras = list(dict.fromkeys(args.cam_name))
    listed = read_list(args.scene_list) if args.scene_list else None
    for name in listed or ():
        if parse_scene(name).camera not in cameras:
            raise ValueError(f"{args.scene_list}: {name} is not of {', '.join(cameras)}; change it or --cam_name")
    folders = []
    for camera in cameras:
        own = None if listed is None else [name for name in listed if parse_scene(name).camera == camera]
        if own == []:
            raise ValueError(f"{args.scene_list}: has no scenes of camera {camera}; change it or --cam_name")
        of_camera = argparse.Namespace(**vars(args) | {"cam_name": camera})
        found, chosen, _ = choose_scenes(of_camera, own)
        folders += [found[name] for name in chosen]
    frames = find_frames(folders, args.max_images)
    count = sum(frame.count for frame in frames)

    def read_frame(frame: Frame) -> list[ImagePair]:
        return [
            ImagePair(f"{frame.scene.name}/{each.name}", frame.scene.camera, frame.scene.iso, each.noisy, each.clean)
            for each in read_samples(frame, with_other=False)
        ]

    def read(num_workers: int) -> Iterator[ImagePair]:
        return (image for batch in in_threads(read_frame, frames, num_workers) for image in batch)

    title = f"camera{'s' * (len(cameras) > 1)} {', '.join(cameras)}"
    scenes = len({frame.scene.name for frame in frames})
    what = f"{count}, of {scenes} scenes of {args.data_dir}, split {args.scene_list or args.split}"
    return ImageSet(title, what, count, read)


def _of_blocks(args: argparse.Namespace) -> ImageSet:
    noisy, clean = read_validation(args.noisy_blocks, args.gt_blocks)
    if min(noisy.shape[2:4]) < SSIM_SIDE:
        raise ValueError(f"{args.noisy_blocks}: blocks of {noisy.shape[2:4]} pixels, expected at least {SSIM_SIDE}")
    places = [(image, block) for image in range(noisy.shape[0]) for block in range(noisy.shape[1])]
    places = evenly_spaced(places, args.max_images)

    def read(num_workers: int) -> Iterator[ImagePair]:
        for image, block in places:
            name = f"image {image:02d}/block {block:02d}"
            yield ImagePair(name, VALIDATION, None, noisy[image, block], clean[image, block])

    return ImageSet(VALIDATION, f"{len(places)} blocks of {args.noisy_blocks}", len(places), read)
