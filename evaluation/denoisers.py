"""Denoisers under one interface: networks from checkpoints, and classic methods."""

import contextlib
import importlib.metadata
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from skimage.restoration import estimate_sigma
from torch import Tensor, nn

from evaluation.noise_models import split_name
from inference.pretrained import MissingWeightsError, find_checkpoints, find_weights, load_network, unwrapped
from inference.tiled import DENOISER_TILE, TiledDenoiser
from models.architectures import DENOISER, arch_of, describe_denoiser
from models.network_dncnn import is_dncnn
from models.networks import config_of
from utils.checkpoints import SUFFIXES, load_checkpoint
from utils.command import printable
from utils.files import sha256_of
from utils.image import to_uint8

LATTICE_STEP = 3  # the paper's pixel-shuffle stride: pixels so far apart hardly correlate
SPANDREL_OVERLAP = 64  # pixels that a tile of a network sees around it, whose reach nobody knows
SPANDRELS_LAYERS = {"R": 8, "BR": 4}  # what spandrel 0.4 tells a DnCNN by: kinds of layers, and the fewest
SMALLEST_BM3D = 16  # pixels; the package crashes on sides below its own blocks


class Denoiser:
    """A named denoiser.

    identity: what it is, without where it lies: two of the same identity give the same images. classic: it needs no
    training, and several threads may use it at once. is_noisy: it gives back the image. weights: SHA-256 by file.
    """

    classic = True
    is_noisy = False

    def __init__(self, name: str, identity: str):
        self.name, self.identity = name, identity
        self.weights: dict[str, str] = {}

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        """Denoise: (H, W, C) float32 in [0, 1] -> (H, W, C) float32, neither clipped nor rounded."""
        raise NotImplementedError


class NetworkDenoiser(Denoiser):
    """A network of a checkpoint file: one of our architectures, or what the package spandrel knows.

    Raises ValueError that names the file when it is absent, damaged or neither, or for images of other channels.
    """

    classic = False

    def __init__(self, name: str, path: Path, device: torch.device, tile: int, self_ensemble: bool, channels: int):
        content = load_checkpoint(path)
        if "model_state_dict" in content or is_dncnn(find_weights(DENOISER, content, path) or {}):
            network = load_network(DENOISER, path)
            takes, what = config_of(network)["in_nc"], describe_denoiser(network)
        else:
            network, takes = SpandrelDenoiser(path, unwrapped(content)), 3
            what = network.description
            what += f", tiles of {tile} pixels, on which its result may depend" if tile and network.margin else ""
        if takes != channels:
            raise ValueError(f"{path}: denoises images of {takes} channels, expected {channels}")
        self.network = TiledDenoiser(network, tile, self_ensemble).to(device)
        digest, epoch = sha256_of([path]), content.get("epoch")
        trained = f", epoch {epoch}" if isinstance(epoch, int) else ""
        ensemble = ", mean over eight flips and rotations" * self_ensemble
        super().__init__(name, f"{what}{trained}{ensemble}, SHA-256 {digest}")
        self.weights = {str(path): digest}

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        """Apply the network to the image."""
        image = torch.from_numpy(noisy.transpose(2, 0, 1)[None].copy())
        return self.network(image)[0].permute(1, 2, 0).contiguous().numpy()


class SpandrelDenoiser(nn.Module):
    """A denoiser of an architecture of spandrel: (N, 3, H, W) in [0, 1] -> (N, 3, H, W).

    spandrel finds the architecture by the names of the weights. Nobody knows how far it sees: `margin` is a guess, None
    where spandrel forbids tiles. Raises ValueError that names the file when the package is not installed, the weights
    are of no architecture in it, or of none from RGB to RGB of the same size.
    """

    def __init__(self, path: Path, weights: dict[str, Any]):
        super().__init__()
        spandrel = _import("spandrel", f"{path}: no denoiser of ours; spandrel, which knows others,")

        try:
            found = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(weights))
        except Exception as error:  # its own for unknown architectures, and what it stumbles over in damaged ones
            reason = f"{type(error).__name__} {error}".splitlines()[0].strip()
            raise ValueError(
                f"{path}: no denoiser of ours, nor a network that spandrel knows ({reason}); if it is one within "
                "another module, save its weights alone, torch.save(network.state_dict(), file)"
            ) from None
        kind = (found.purpose, found.scale, found.input_channels, found.output_channels)
        if kind != ("Restoration", 1, 3, 3):
            raise ValueError(
                f"{path}: {found.architecture.name} for {found.purpose}, expected a denoiser of RGB images"
            )
        self.network, self.restore = found.model, found  # the descriptor pads to the sizes that its network can take
        self.margin = SPANDREL_OVERLAP if found.tiling == spandrel.ModelTiling.SUPPORTED else None
        version = importlib.metadata.version("spandrel")
        self.description = " ".join([found.architecture.name, *found.tags]) + f" (spandrel {version})"

    def forward(self, noisy: Tensor) -> Tensor:
        """Remove the noise."""
        return self.restore(noisy)


def _import(package: str, what: str) -> ModuleType:
    """Import an optional package before the work begins. Raise ValueError if it is absent or cannot be loaded."""
    if find_spec(package) is None:
        raise ValueError(f"{what} is not installed; pip install {package}")
    try:
        return import_module(package)
    except Exception as error:  # such as a library of the system that it lacks
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{what} cannot be loaded ({reason[0]}); reinstall {package}") from None


class Noisy(Denoiser):
    """The noisy image as it is: what every denoiser has to beat."""

    is_noisy = True

    def __init__(self, name: str, sigma: float | None, num_workers: int):
        super().__init__(name, "the noisy image itself")

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        """Return the image."""
        return noisy


class ClassicDenoiser(Denoiser):
    """A method of a noise level: `sigma` in grey levels, or estimated from every image."""

    def __init__(self, name: str, method: str, sigma: float | None):
        level = "estimated from the image" if sigma is None else f"{sigma:g}"
        super().__init__(name, f"{method}, noise level {level}")
        self.sigma = sigma
        if sigma is None and find_spec("pywt") is None:
            raise ValueError(f"{name}: estimating the noise level needs PyWavelets; pip install PyWavelets, or give it")

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        """Remove noise of the known or estimated level; an image without noise stays."""
        level = estimate_noise_level(noisy) if self.sigma is None else self.sigma / 255
        return self.remove(noisy, level).astype(np.float32) if level > 0 else noisy

    def remove(self, noisy: np.ndarray, level: float) -> np.ndarray:
        """Denoise: (H, W, C) in [0, 1], noise level in the same unit -> (H, W, C)."""
        raise NotImplementedError


class NonLocalMeans(ClassicDenoiser):
    """Non-local means of OpenCV, whose images are 8-bit (Buades et al. 2011); its strengths h are the noise level."""

    def __init__(self, name: str, sigma: float | None, num_workers: int):
        super().__init__(name, f"non-local means, OpenCV {cv2.__version__}", sigma)

    def remove(self, noisy: np.ndarray, level: float) -> np.ndarray:
        """Denoise the rounded image."""
        if noisy.shape[2] == 1:
            return cv2.fastNlMeansDenoising(to_uint8(noisy), None, 255 * level)[:, :, None] / 255.0
        strength, blue_first = 255 * level, np.ascontiguousarray(to_uint8(noisy)[:, :, ::-1])
        return cv2.fastNlMeansDenoisingColored(blue_first, None, strength, strength)[:, :, ::-1] / 255.0


class Bm3d(ClassicDenoiser):
    """BM3D (Dabov et al. 2007), the authors' package `bm3d`, which is not for commercial use.

    The package ends the process when two threads call it, so it works in `num_workers` processes of its own; 0: in
    the caller's thread, one image at a time. Its results vary by about 1e-5 from call to call. Raises ValueError when
    it is not installed.
    """

    def __init__(self, name: str, sigma: float | None, num_workers: int):
        _import("bm3d", f"{name}: the package bm3d (not for commercial use)")
        super().__init__(name, "BM3D, package bm3d", sigma)
        self.lock, self.processes = threading.Lock(), None
        if num_workers:
            context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
            self.processes = ProcessPoolExecutor(num_workers, context, _begin_process)

    def remove(self, noisy: np.ndarray, level: float) -> np.ndarray:
        """Denoise. Raise ValueError for images smaller than 16 pixels."""
        if min(noisy.shape[:2]) < SMALLEST_BM3D:
            raise ValueError(f"{self.name}: an image of {noisy.shape[:2]} pixels, expected sides from {SMALLEST_BM3D}")
        try:
            with contextlib.nullcontext() if self.processes else self.lock:
                return self.processes.submit(_bm3d, noisy, level).result() if self.processes else _bm3d(noisy, level)
        except BrokenProcessPool:
            raise ValueError(f"{self.name}: its process was killed, perhaps out of memory; use fewer workers") from None


def _bm3d(noisy: np.ndarray, level: float) -> np.ndarray:
    import bm3d  # optional, and slow to import

    if noisy.shape[2] == 1:
        return bm3d.bm3d(noisy[:, :, 0], level)[:, :, None]
    return bm3d.bm3d_rgb(noisy, level)


def _begin_process() -> None:
    """Leave Ctrl-C to the main process, and end with it even if it is killed."""

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()


CLASSIC = {"noisy": Noisy, "nlm": NonLocalMeans, "bm3d": Bm3d}


def estimate_noise_level(noisy: np.ndarray) -> float:
    """Estimate the noise's standard deviation, mean of the channels: (H, W, C) -> number in the image's own units.

    The median of the finest wavelet coefficients (Donoho & Johnstone 1994), as scikit-image has it, supposes white
    noise; on camera noise it finds less than half. So it is taken of every third row and column, and averaged over
    the nine images that these are. 0 for an image without any noise.
    """
    starts = range(LATTICE_STEP)
    parts = [noisy[top::LATTICE_STEP, left::LATTICE_STEP] for top in starts for left in starts]
    with np.errstate(all="ignore"):
        levels = [estimate_sigma(part, channel_axis=-1) for part in parts if np.ptp(part) > 0]
    return float(np.nan_to_num(np.mean(levels))) if levels else 0.0


def make_denoiser(
    spec: str,
    device: torch.device,
    tile: int = DENOISER_TILE,
    self_ensemble: bool = False,
    sigma: float | None = None,
    num_workers: int = 0,
    channels: int = 3,
) -> Denoiser:
    """Make the denoiser of `[NAME=]WHAT`: a method of `CLASSIC`, a checkpoint file, or the folder of a training run.

    `sigma` is the noise level of classic methods in grey levels, estimated without it; `num_workers` the number of
    processes for BM3D; `channels` those of the images, 3 or 1.

    Raises:
        MissingWeightsError: a file or folder is not there; it is a ValueError, too.
        ValueError: what is there is damaged, a method is unknown, or a name cannot be one.
    """
    name, what = read_spec(spec)
    if what in CLASSIC:
        return CLASSIC[what](name, sigma, num_workers)
    return NetworkDenoiser(name, find_checkpoint(what), device, tile, self_ensemble, channels)


def read_spec(spec: str) -> tuple[str, str]:
    """Read `[NAME=]WHAT` as (name, what). Without a name it is called as the method, the file or the run's folder."""
    name, what = split_name(spec)
    if what == spec:
        name = _own_name(what)
    elif name in CLASSIC and name != what:
        raise ValueError(f"{spec}: {name!r} is the name of a method, expected another name for a checkpoint")
    name = printable(name).strip()
    if not name or not what:
        raise ValueError(f"{spec!r}: expected {', '.join(CLASSIC)}, a checkpoint or a run's folder, or NAME= before it")
    return name, what


def _own_name(what: str) -> str:
    path = Path(what).resolve()
    if what in CLASSIC:
        return what
    if path.suffix in SUFFIXES and not path.stem.startswith(f"checkpoint_{DENOISER}"):
        return path.stem
    folder = path.parent if path.suffix in SUFFIXES else path
    run = next((parent.parent for parent in (folder, folder.parent) if parent.name == "models"), folder)
    return run.name


def find_checkpoint(what: str) -> Path:
    """Find the denoiser's checkpoint: a file, or the newest one of a folder or of its models/."""
    path = Path(what)
    if path.is_file():
        return path
    for folder in (path / "models", path):
        if found := find_checkpoints(folder, (DENOISER,)):
            return found[DENOISER]
    if path.is_dir():
        raise MissingWeightsError(f"{what}: has no checkpoint_{DENOISER}_<epoch>.pth, nor has its models/")
    if os.path.dirname(what) or path.suffix:
        raise MissingWeightsError(f"{what}: no such checkpoint or folder")
    raise ValueError(f"{what}: no denoiser, expected {', '.join(CLASSIC)}, a checkpoint or the folder of a run")


def unknown_elsewhere(network: nn.Module) -> str:
    """Say why spandrel, and so other programs, would not load a denoiser's weights, or get it wrong; "": they do."""
    arch, config = arch_of(network), config_of(network)
    if arch == "nafnet":
        return ""
    if arch != "dncnn":
        return f"architecture {arch}, but other programs know dncnn and nafnet only"
    if config["act_mode"] not in SPANDRELS_LAYERS:
        return f"layers {config['act_mode']}, but other programs know {' or '.join(SPANDRELS_LAYERS)} only"
    fewest = SPANDRELS_LAYERS[config["act_mode"]]
    return f"{config['nb']} layers, but other programs know it from {fewest} on" if config["nb"] < fewest else ""


def denoise_checked(denoiser: Denoiser, noisy: np.ndarray, where: str) -> np.ndarray:
    """Denoise (H, W, C) float32 in [0, 1] and clip to the same. Raise ValueError that names `where` for NaN."""
    denoised = denoiser.denoise(noisy)
    if denoised.shape != noisy.shape:
        raise ValueError(f"{where}: {denoiser.name} gives {denoised.shape}, expected {noisy.shape}")
    if not np.isfinite(denoised).all():
        raise ValueError(f"{where}: {denoiser.name} gives values that are NaN or infinite; choose another denoiser")
    return denoised.astype(np.float32).clip(0, 1)
