"""Denoisers under one interface: checkpoints of networks, and classic methods."""

import hashlib
import os
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from evaluation.classic_denoisers import Bm3d, Noisy, NonLocalMeans
from evaluation.noise_models import AbsentError, split_name
from models.denoiser import TILE, TiledDenoiser
from models.pretrained import find_checkpoints, load_network
from utils.checkpoints import load_checkpoint
from utils.report import printable

METHODS = ("noisy", "nlm", "bm3d")
LETTER = "G3"


class Denoiser(Protocol):
    """A named denoiser.

    identity: what it is, without where it lies: two of the same identity give the same images. classic: it needs no
    training, and several threads may use it at once. is_noisy: it gives back the image. weights: SHA-256 by file.
    """

    name: str
    identity: str
    classic: bool
    is_noisy: bool
    weights: dict[str, str]

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        """(H, W, 3) float32 in [0, 1] -> (H, W, 3) float32, not clipped and not rounded."""


class NetworkDenoiser:
    """A DnCNN of a checkpoint file. Raises ValueError that names the file when it is absent, damaged or none."""

    classic, is_noisy = False, False

    def __init__(self, name: str, path: Path, device: torch.device, tile: int, self_ensemble: bool):
        network = load_network(LETTER, path)
        self.name = name
        self.network = TiledDenoiser(network, tile, self_ensemble).to(device)
        self.weights = {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}
        sizes = f"DnCNN of {network.config['nb']} layers of {network.config['nc']} channels"
        epoch = load_checkpoint(path).get("epoch")
        trained = f", epoch {epoch}" if isinstance(epoch, int) else ""
        ensemble = ", mean over eight flips and rotations" * self_ensemble
        self.identity = f"{sizes}{trained}{ensemble}, SHA-256 {self.weights[str(path)]}"

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(noisy.transpose(2, 0, 1)[None].copy())
        return self.network(image)[0].permute(1, 2, 0).contiguous().numpy()


def make_denoiser(
    spec: str,
    device: torch.device,
    tile: int = TILE,
    self_ensemble: bool = False,
    sigma: float | None = None,
    num_workers: int = 0,
) -> Denoiser:
    """Make the denoiser of `[NAME=]WHAT`: a method of `METHODS`, a checkpoint file, or the folder of a training run.

    sigma: the noise level of classic methods in grey levels, None: estimated; num_workers: processes for BM3D. Raises
    AbsentError, a ValueError, for a file or folder that is not there, and ValueError for what is there and damaged,
    an unknown method and a name that cannot be one.
    """
    name, what = read_spec(spec)
    if what == "noisy":
        return Noisy(name)
    if what == "nlm":
        return NonLocalMeans(name, sigma)
    if what == "bm3d":
        return Bm3d(name, sigma, num_workers)
    return NetworkDenoiser(name, find_checkpoint(what), device, tile, self_ensemble)


def read_spec(spec: str) -> tuple[str, str]:
    """Read `[NAME=]WHAT`: -> name, what. Without a name it is called as the method, the file or the run's folder."""
    name, what = split_name(spec)
    if what == spec:
        name = _own_name(what)
    elif name in METHODS and name != what:
        raise ValueError(f"{spec}: {name!r} is the name of a method, expected another name for a checkpoint")
    name = printable(name).strip()
    if not name or not what:
        raise ValueError(f"{spec!r}: expected {', '.join(METHODS)}, a checkpoint or a run's folder, or NAME= before it")
    return name, what


def _own_name(what: str) -> str:
    if what in METHODS:
        return what
    path = Path(what).resolve()
    if path.suffix == ".pth" and not path.stem.startswith(f"checkpoint_{LETTER}"):
        return path.stem
    folder = path.parent if path.suffix == ".pth" else path
    run = next((parent.parent for parent in (folder, folder.parent) if parent.name == "models"), folder)
    return run.name


def denoise_checked(denoiser: Denoiser, noisy: np.ndarray, where: str) -> np.ndarray:
    """Denoise (H, W, 3) float32 in [0, 1] -> clipped to the same. Raises ValueError that names `where` for NaN."""
    denoised = denoiser.denoise(noisy)
    if denoised.shape != noisy.shape:
        raise ValueError(f"{where}: {denoiser.name} gives {denoised.shape}, expected {noisy.shape}")
    if not np.isfinite(denoised).all():
        raise ValueError(f"{where}: {denoiser.name} gives values that are NaN or infinite; choose another denoiser")
    return denoised.astype(np.float32).clip(0, 1)


def find_checkpoint(what: str) -> Path:
    """Find the denoiser's checkpoint: a file, or the newest one of a folder or of its models/."""
    path = Path(what)
    if path.is_file():
        return path
    for folder in (path / "models", path):
        if found := find_checkpoints(folder, (LETTER,)):
            return found[LETTER]
    if path.is_dir():
        raise AbsentError(f"{what}: has no checkpoint_{LETTER}_<epoch>.pth, nor has its models/")
    if os.path.dirname(what) or path.suffix:
        raise AbsentError(f"{what}: no such checkpoint or folder")
    raise ValueError(f"{what}: no denoiser, expected {', '.join(METHODS)}, a checkpoint or the folder of a run")
