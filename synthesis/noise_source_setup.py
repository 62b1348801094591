"""The noise sources of a denoiser's training, from the options."""

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data.sidd import Scene
from models.generator import NoiseGenerator
from models.pretrained import find_checkpoint_folder, find_checkpoints, load_generators
from synthesis.fitted_noise import FittedNoise, fingerprint
from synthesis.fitting import nearest_iso
from synthesis.gains import bank_note, bank_path, read_bank, weights_hash
from synthesis.training_noise import Fitted, NecaS, NecaW, NoiseSource, OfPair, WhiteOfRange

FITTED = ("awgn", "heteroscedastic", "coloured")  # kinds of source, and fields of `Baselines`
NECA = ("neca-w", "neca-s")


class Sources(NamedTuple):
    """Noise sources in the order of --source, and what of the disk they depend on, {what: fingerprint}."""

    sources: list[NoiseSource]
    origins: dict[str, str]


class _Generators(NamedTuple):
    """Each camera's generator and the folder of its weights."""

    networks: dict[str, NoiseGenerator]
    folders: dict[str, Path]
    hashes: dict[str, str]


def build_sources(args: argparse.Namespace, fit: Callable[[], FittedNoise], device: torch.device) -> Sources:
    """Make the noise sources of --source; `fit` gives the fitted models and is called when one needs them.

    Raises ValueError when a camera has no weights, or no gain bank with --gain_from bank.
    """
    kinds = [source.kind for source in args.source]
    origins = {"weights of the generators": "", "gain banks": "", "fitted noise": ""}
    fitted: FittedNoise = {}
    if needs_fit(args):
        fitted = fit()
        origins["fitted noise"] = fingerprint(fitted)
    generators = None
    if set(kinds) & set(NECA):
        generators = _load(args, _letters(args, kinds), device)
        origins["weights of the generators"] = ", ".join(f"{name} {of[:12]}" for name, of in generators.hashes.items())
    banks = None
    if "neca-w" in kinds and args.gain_from == "bank":
        banks = {camera: _bank(folder, camera) for camera, folder in generators.folders.items()}
        gains = repr([(camera, iso, of.tolist()) for camera, bank in banks.items() for iso, of in bank.items()])
        origins["gain banks"] = hashlib.sha256(gains.encode()).hexdigest()[:12]

    def build(kind: str) -> NoiseSource:
        if kind == "neca-w":
            return NecaW(generators.networks, banks)
        if kind == "neca-s":
            return NecaS(generators.networks, _levels(args, fitted))
        if kind == "awgn" and args.sigma:
            return WhiteOfRange(*args.sigma)
        return Fitted(kind, fitted) if kind in FITTED else OfPair()

    return Sources([build(kind) for kind in kinds], origins)


def needs_fit(args: argparse.Namespace) -> bool:
    """Whether a source takes a noise level, or more, from the training images."""
    given = {"awgn": args.sigma, "neca-s": args.noise_level}
    return any(source.kind in (*FITTED, "neca-s") and not given.get(source.kind) for source in args.source)


def _letters(args: argparse.Namespace, kinds: list[str]) -> tuple[str, ...]:
    """Networks that the sources run: GENet only where it estimates gains."""
    if "neca-w" not in kinds:
        return ("G2",)
    return ("E", "G1", "G2") if args.gain_from == "pair" else ("G1", "G2")


def _load(args: argparse.Namespace, letters: tuple[str, ...], device: torch.device) -> _Generators:
    folders = {camera: find_checkpoint_folder(args.pretrain_dir, camera, letters) for camera in args.cam_name}
    hashes = {camera: weights_hash(find_checkpoints(folder, letters)) for camera, folder in folders.items()}
    networks = {
        camera: NoiseGenerator(load_generators(folder, letters)).to(device) for camera, folder in folders.items()
    }
    return _Generators(networks, folders, hashes)


def _bank(folder: Path, camera: str) -> dict[int, np.ndarray]:
    path = bank_path(folder)
    if not path.exists():
        raise ValueError(f"{path}: no gain bank; make it with main_gains.py, or use --gain_from pair")
    if note := bank_note(folder, camera):
        raise ValueError(f"{note.removeprefix('note: ')}; or use --gain_from pair")
    return {iso: np.array([gain for _, gain in named]) for iso, named in read_bank(path).gains.items()}


def _levels(args: argparse.Namespace, fitted: FittedNoise) -> Callable[[Scene, float], float]:
    """NeCA-S's levels in grey levels: of --noise_level, or the std of the camera's training images of the ISO."""
    if args.noise_level:
        low, high = args.noise_level
        return lambda scene, rank: low + (high - low) * rank

    def of_training_images(scene: Scene, rank: float) -> float:
        of_camera = fitted[scene.camera]
        return 255 * of_camera[nearest_iso(of_camera, scene.iso)].awgn.std

    return of_training_images
