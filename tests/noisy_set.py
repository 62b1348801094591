"""A small data set in SIDD's layout whose noise is known, cropped or not, and weights for its camera ZZ."""

from pathlib import Path

import numpy as np
import torch

from models import network_checkpoint
from tests.tiny import tiny_networks
from utils.checkpoints import save_checkpoint
from utils.image import write_image

CAMERA = "ZZ"
SIDE = 96
STD = {800: 8, 3200: 16}  # grey levels by ISO


def scene(height: int = 24, width: int = 40, seed: int = 0) -> np.ndarray:
    """Squares of 8 pixels: (H, W, 3) uint8, nothing near black or white."""
    squares = np.random.default_rng(seed).integers(60, 190, (height // 8 + 1, width // 8 + 1, 3))
    return squares.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8)


def with_noise(clean: np.ndarray, std: float = 10, seed: int = 1) -> np.ndarray:
    """Add white noise, (H, W, 3) uint8 -> the same, clipped and rounded."""
    noise = np.random.default_rng(seed).normal(0, std, clean.shape)
    return np.clip(clean + noise, 0, 255).round().astype(np.uint8)


def make_set(root: Path, cropped: bool = True, scenes: int = 6, frames: int = 2) -> tuple[Path, Path]:
    """Write scenes of two ISO levels with white noise -> (data folder, folder of lists); the last two scenes test."""
    names = []
    for instance in range(1, scenes + 1):
        iso = list(STD)[instance % 2]
        names.append(f"{instance:04d}_{instance:03d}_{CAMERA}_{iso:05d}_00100_5500_N")
        random = np.random.default_rng(instance)
        clean = random.integers(60, 190, (SIDE // 8, SIDE // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        for frame in range(frames):
            noisy = np.clip(clean + random.normal(0, STD[iso], clean.shape), 0, 255).round().astype(np.uint8)
            for kind, image in (("GT", clean), ("NOISY", noisy)):
                stem = f"{instance:04d}_{kind}_SRGB_{10 + frame:03d}"
                side = {"GT": "clean", "NOISY": "noisy"}[kind]
                name = f"{side}/{stem}_00001.png" if cropped else f"{stem}.PNG"
                write_image(root / "data" / names[-1] / name, image)
    lists = root / "lists"
    lists.mkdir()
    (lists / f"{CAMERA}_train.txt").write_text("\n".join(names[:-2]) + "\n")
    (lists / f"{CAMERA}_test.txt").write_text("\n".join(names[-2:]) + "\n")
    return root / "data", lists


def camera_networks() -> dict:
    """Build tiny networks with a gain and a noise level as of a camera."""
    networks = tiny_networks(dtype=torch.float32)
    with torch.no_grad():
        networks["E"].linear[0][0].bias.fill_(0.06)
        networks["E"].linear[0][0].weight.mul_(0.01)
        networks["G1"].conv5.bias.fill_(0.25)
        networks["G1"].conv5.weight.mul_(0.1)
    return networks


def make_weights(root: Path) -> Path:
    """Write the weights of `camera_networks` -> --pretrain_dir."""
    networks = camera_networks()
    for letter in ("E", "G1", "G2"):
        path = root / "pretrain" / CAMERA / f"checkpoint_{letter}.pth"
        save_checkpoint(path, network_checkpoint(networks[letter], 1))
    return root / "pretrain"
