"""Choose the scenes of a camera to evaluate on and those to fit references on, from the options."""

import argparse
from pathlib import Path

from data.sidd import find_scenes
from data.splits import choose_scenes as split_scenes
from data.splits import read_list
from utils.command import blame


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
