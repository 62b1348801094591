"""Which scenes of a camera to evaluate on and which to fit references on, from the options; a record of the run."""

import argparse
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data.sidd import find_scenes
from data.splits import choose_scenes as split_scenes
from data.splits import published_split, read_list
from evaluation.noise_models import NoiseModels, split_name
from utils.command import blame

PACKAGES = ("torch", "numpy", "scipy", "opencv-python", "opencv-python-headless", "scikit-image", "matplotlib", "bm3d")


def choose_scenes(
    args: argparse.Namespace, listed: list[str] | None = None
) -> tuple[dict[str, Path], list[str], list[str]]:
    """Find a camera's scenes: -> {name: folder} of all, names to evaluate on, names to fit on (training).

    listed: names of --scene_list, where that has been read already. Raises ValueError when a scene to evaluate on is
    missing and when there is no split to choose by.
    """
    with blame("--data_dir or --cam_name"):
        scenes = {folder.name: folder for folder in find_scenes(args.data_dir, args.cam_name)}
    needed = () if args.scene_list or args.split == "all" else (args.split,)
    with blame("--data_dir or --data_prep_dir, or use --split all or --scene_list"):
        train, test = split_scenes(args.cam_name, scenes, args.data_prep_dir, needed=needed)
    origin = f"{args.data_prep_dir} ({args.cam_name}_{args.split}.txt) or the published split"
    if args.scene_list:
        chosen = read_list(args.scene_list) if listed is None else listed
        origin = args.scene_list
    elif args.split == "all":
        chosen = sorted(scenes)
    else:
        chosen = test if args.split == "test" else train
    if not chosen:
        raise ValueError(
            f"camera {args.cam_name}: no {args.split} scenes known; write {args.cam_name}_{args.split}.txt into "
            f"--data_prep_dir {args.data_prep_dir}, or use --split all or --scene_list"
        )
    missing = [name for name in chosen if name not in scenes]
    if missing:
        raise ValueError(
            f"{args.data_dir}: has no scene {missing[0]} of camera {args.cam_name} ({len(missing)} of {len(chosen)} in "
            f"{origin} are missing); change --data_dir, --split or --scene_list"
        )
    return scenes, chosen, [name for name in train if name in scenes and name not in chosen]


def check_apart(output_dir: Path, data_dir: str, fake_dirs: list[str]) -> None:
    """Raise ValueError when the results would come to lie among the images that are read."""
    for folder in (data_dir, *(split_name(given)[1] for given in fake_dirs)):
        if output_dir.resolve().is_relative_to(Path(folder).resolve()):
            raise ValueError(f"--output_dir {output_dir} lies in {folder}, which is read; choose another")


def describe_run(args: argparse.Namespace, scenes: int, images: int, candidates: NoiseModels) -> dict[str, Any]:
    """What a report says of its run: title, remarks, provenance; plain values."""
    remarks = [
        f"Images: {images}, of {scenes} scenes of {args.data_dir}, split {args.scene_list or args.split}; draws of "
        f"each random model: {args.draws}; seed: {args.seed}. Fakes are clipped and rounded to 8 bit, unless a "
        "metric's definition says otherwise; those from a folder and `real` are rounded for all.",
        *candidates.remarks,
    ]
    if published_split(args.cam_name):
        remarks.append("In SIDD's published split every test scene is also seen in training, under another exposure.")
    title = f"Noise models, camera {args.cam_name}"
    return {"title": title, "remarks": remarks, "provenance": provenance(args, candidates.weights)}


def provenance(args: argparse.Namespace, weights: dict[str, str]) -> dict[str, Any]:
    """Where the numbers of a run come from; `weights` are hashes by file."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "options": {name: value for name, value in vars(args).items() if name != "command"},
        "weights (SHA-256)": weights,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
