"""What a synthesis is to do, from its options: the outputs, and what they all depend on."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.folders import FoundImages, ImageJob, plan_plain, plan_scenes, with_partners


def plan_outputs(args: argparse.Namespace, found: FoundImages) -> tuple[list[ImageJob], list[str]]:
    """Name all outputs: -> jobs, and a line for each image or folder that there can be none of.

    Raises ValueError when two outputs would have the same name, and where SIDD's names cannot hold them.
    """
    root = Path(args.input_dir)
    if args.layout == "sidd":
        jobs = plan_scenes(root, found.names, args.per_image, args.camera_code, args.iso or 0)
    else:
        jobs = plan_plain(root, found.names, args.per_image, f".{args.format}")
    if args.noisy_dir is None:
        return jobs, found.problems
    jobs, problems = with_partners(jobs, args.noisy_dir, "--noisy_dir")
    return jobs, found.problems + problems


def fixed_settings(args: argparse.Namespace, names: Iterable[str], weights: str, gains: str) -> dict[str, Any]:
    """What the outputs of a folder share: the options of these names, and fingerprints of weights and gains.

    The image or folder of --gain_from goes by its own name, wherever it is, for its content is in the fingerprint.
    """
    places = {
        "noisy_dir": args.noisy_dir and os.path.abspath(args.noisy_dir),
        "gain_from": args.gain_from and Path(args.gain_from).resolve().name,
    }
    return {name: getattr(args, name) for name in names} | places | {"weights_sha256": weights, "gains_sha256": gains}
