"""What to evaluate, from the options: scenes, frames and noise models, with what could not be had and why."""

import argparse
import hashlib
import logging
from pathlib import Path

import torch

from data.image_sets import Frame, find_frames, read_samples
from data.sidd import find_scenes, parse_scene
from data.splits import published_split, read_list
from evaluation.fitting import NamedPair, fit_baselines
from evaluation.noise_models import (
    FITTED,
    MODEL_NAMES,
    NECA,
    Fitted,
    FromFolder,
    GaussianOfImage,
    Neca,
    NoiseModel,
    OtherFrame,
)
from models.pretrained import find_checkpoint_folder, find_checkpoints, load_generators

OWN_NAMES = "another name, as --fake_dir NAME=DIR"


def choose_scenes(args: argparse.Namespace) -> tuple[dict[str, Path], list[str], list[str]]:
    """Find a camera's scenes: -> {name: folder} of all, names to evaluate on, names to fit on (training).

    Raises ValueError when a scene to evaluate on is missing and when there is no split to choose by.
    """
    scenes = {folder.name: folder for folder in find_scenes(args.data_dir, args.cam_name, "--data_dir")}
    train, test = _split(args, list(scenes))
    origin = f"{args.data_prep_dir} ({args.cam_name}_{args.split}.txt) or the published split"
    if args.scene_list:
        chosen, origin = read_list(args.scene_list), args.scene_list
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


def _split(args: argparse.Namespace, names: list[str]) -> tuple[list[str], list[str]]:
    """Training and test scenes by the lists, else as published among those that are there; nothing is written."""
    paths = [Path(args.data_prep_dir) / f"{args.cam_name}_{half}.txt" for half in ("train", "test")]
    if any(path.exists() for path in paths):
        train, test = (read_list(path) if path.exists() else [] for path in paths)
        return train, test
    return published_split(args.cam_name, names) or ([], [])


def build_models(
    args: argparse.Namespace,
    scenes: dict[str, Path],
    training: list[str],
    frames: list[Frame],
    device: torch.device,
    log: logging.Logger,
) -> tuple[list[NoiseModel], dict[str, str]]:
    """Make the noise models: -> models, and the weights' files with their hashes.

    Without --models what cannot be had is left out, and the log says why; with it that is a ValueError.
    """
    wanted = list(dict.fromkeys(args.models or MODEL_NAMES))
    models, weights = [], {}
    for names, build in (
        (NECA, lambda names: _generators(args, names, device, weights)),
        (tuple(FITTED), lambda names: _fitted(args, scenes, training, names)),
        (("AWGN-image",), lambda names: [GaussianOfImage(args.seed)]),
        (("real",), lambda names: _other_frames(frames)),
    ):
        chosen = [name for name in wanted if name in names]
        if not chosen:
            continue
        try:
            models += build(chosen)
        except ValueError as error:
            if args.models:
                raise
            log.info("without %s: %s", ", ".join(chosen), error)
    for given in args.fake_dir:
        name, folder = given.split("=", 1) if "=" in given else (Path(given).resolve().name, given)
        if not name or name in [model.name for model in models] or name in MODEL_NAMES:
            raise ValueError(f"--fake_dir {given}: a model is called {name!r} already; expected {OWN_NAMES}")
        models.append(FromFolder(name, folder))
    if not models:
        raise ValueError("no noise model can be had; see above for why, or give --fake_dir")
    return models, weights


def _generators(args, names: list[str], device: torch.device, weights: dict[str, str]) -> list[NoiseModel]:
    letters = ("E", "G1", "G2") if "NeCA-W" in names else ("G2",)
    folder = find_checkpoint_folder(args.pretrain_dir, args.cam_name, letters)
    networks = {letter: network.to(device) for letter, network in load_generators(folder, letters).items()}
    for path in find_checkpoints(folder, letters).values():
        weights[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return [Neca(networks, name[-1], args.seed, args.noise_level) for name in names]


def _fitted(args, scenes: dict[str, Path], training: list[str], names: list[str]) -> list[NoiseModel]:
    if not training:
        raise ValueError(
            f"{args.data_dir} has no scenes of {args.cam_name} that are in the training list and not evaluated on"
        )
    by_iso: dict[int, list[Path]] = {}
    for name in training:
        by_iso.setdefault(parse_scene(name).iso, []).append(scenes[name])
    frames = {iso: find_frames(folders, args.fit_images) for iso, folders in sorted(by_iso.items())}
    fitted = fit_baselines(frames, args.num_workers, _image_pairs)
    return [Fitted(name, fitted, args.seed) for name in names]


def _image_pairs(frame: Frame) -> list[NamedPair]:
    return [(sample.noisy_file, sample.clean, sample.noisy) for sample in read_samples(frame, with_other=False)]


def _other_frames(frames: list[Frame]) -> list[NoiseModel]:
    if not any(frame.other for frame in frames):
        raise ValueError("no scene has a second frame")
    return [OtherFrame()]
