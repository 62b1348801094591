"""The noise models of an evaluation, from the options; what cannot be had, and why."""

import argparse
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from data.image_sets import Frame, find_frames, read_samples
from data.sidd import parse_scene
from evaluation.noise import REAL
from evaluation.noise_models import (
    FITTED,
    MODEL_NAMES,
    Fitted,
    FromFolder,
    GaussianOfImage,
    Neca,
    NoiseModel,
    OtherFrame,
)
from models.generator import NoiseGenerator
from models.pretrained import find_checkpoint_folder, find_checkpoints, load_generators
from synthesis.fitting import FilePair, fit_baselines
from utils.report import printable

LETTERS = {"NeCA-W": ("E", "G1", "G2"), "NeCA-S": ("G2",)}


class AbsentError(ValueError):
    """Something that a model needs is not there. What is there and damaged raises a plain ValueError."""


@dataclass
class Candidates:
    """Noise models to compare, the hashes of the weights by file, and remarks for the report."""

    models: list[NoiseModel] = field(default_factory=list)
    weights: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def name_is_free(self, name: str) -> bool:
        return bool(printable(name).strip()) and name not in {*MODEL_NAMES, REAL, *(each.name for each in self.models)}


def find_candidates(
    args: argparse.Namespace, scenes: dict[str, Path], training: list[str], frames: list[Frame], device: torch.device
) -> Candidates:
    """Make the noise models for frames of a camera; `scenes` are its folders, `training` those to fit on.

    Without --models what is absent is left out, and a remark says why. Raises ValueError for it with --models, and
    always for what is damaged.
    """
    found = Candidates()
    for given in args.fake_dir:
        _add_folder(found, given, frames)
    wanted = args.models or MODEL_NAMES
    fitted = [name for name in MODEL_NAMES if name in wanted and name in FITTED]
    made: list[NoiseModel] = []

    def attempt(names: list[str], build: Callable[[], list[NoiseModel]]) -> None:
        try:
            made.extend(build())
        except AbsentError as error:
            if args.models:
                raise
            found.remarks.append(f"Without {', '.join(names)}: {error}.")

    for name in LETTERS:
        if name in wanted:
            attempt([name], lambda name=name: [_generator(args, name, device, found.weights)])
    if fitted:
        attempt(fitted, lambda: _fitted(args, scenes, training, fitted, found.remarks))
    if "AWGN-image" in wanted:
        made.append(GaussianOfImage(args.seed))
    if "real" in wanted:
        attempt(["real"], lambda: [_other_frame(frames)])
    found.models[:0] = made
    if not found.models:
        raise ValueError("no noise model can be had: " + " ".join(found.remarks))
    return found


def split_name(given: str) -> tuple[str, str]:
    """Read what --fake_dir takes, DIR or NAME=DIR: -> name, folder. What exists may have "=" in its name."""
    if "=" in given and not os.path.exists(given):
        name, _, folder = given.partition("=")
        return name, folder
    return Path(given).resolve().name, given


def _add_folder(found: Candidates, given: str, frames: list[Frame]) -> None:
    name, folder = split_name(given)
    if not os.path.isdir(folder):
        raise ValueError(f"--fake_dir {given}: {folder or 'nothing'} is no folder; expected DIR or NAME=DIR")
    if not found.name_is_free(name):
        raise ValueError(f"--fake_dir {given}: {name!r} cannot be its name or is taken; expected another, as NAME=DIR")
    found.models.append(FromFolder(printable(name), folder, frames))


def _generator(args: argparse.Namespace, name: str, device: torch.device, weights: dict[str, str]) -> NoiseModel:
    try:
        folder = find_checkpoint_folder(args.pretrain_dir, args.cam_name, LETTERS[name])
    except ValueError as error:
        raise AbsentError(str(error)) from None
    for path in find_checkpoints(folder, LETTERS[name]).values():
        weights[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    generator = NoiseGenerator(load_generators(folder, LETTERS[name])).to(device)
    return Neca(generator, name[-1], args.seed, args.noise_level)


def _fitted(
    args: argparse.Namespace, scenes: dict[str, Path], training: list[str], names: list[str], remarks: list[str]
) -> list[NoiseModel]:
    if not training:
        raise AbsentError(
            f"{args.data_dir} has no scenes of {args.cam_name} that are in the training list and not evaluated on "
            "(--data_dir, --data_prep_dir, --split)"
        )
    by_iso: dict[int, list[Path]] = {}
    for name in training:
        by_iso.setdefault(parse_scene(name).iso, []).append(scenes[name])
    frames = {iso: find_frames(folders, args.fit_images) for iso, folders in sorted(by_iso.items())}
    counts = ", ".join(
        f"{sum(frame.count for frame in of)} of ISO {iso} ({len(by_iso[iso])} scenes)" for iso, of in frames.items()
    )
    remarks.append(f"{', '.join(names)}: fitted on training crops, {counts}.")
    fitted = fit_baselines(frames, args.num_workers, _image_pairs)
    return [Fitted(name, fitted, args.seed) for name in names]


def _image_pairs(frame: Frame) -> list[FilePair]:
    return [(sample.noisy_file, sample.clean, sample.noisy) for sample in read_samples(frame, with_other=False)]


def _other_frame(frames: list[Frame]) -> NoiseModel:
    if not any(frame.other for frame in frames):
        raise AbsentError("no scene to evaluate on has a second frame, whose noise it takes")
    return OtherFrame()
