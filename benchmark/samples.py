"""Made-up frames and crops in SIDD's layout, and how the training opens them."""

import logging
from pathlib import Path

import cv2
import numpy as np

from data.batches import TrainingPatches
from data.cache import open_images
from data.pairs import list_images
from utils.image import write_image

PATCH, BATCH = 96, 16  # the paper's
CROP = 512  # pixels a side
KINDS = 16  # different crops; the files of a set repeat them
PER_SCENE = 100


def noisy_pair(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A clean image with the texture of a denoised photograph, and correlated noise on it; PNGs as large as SIDD's."""
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 220, (height // 8, width // 8, 3)).astype(np.float32)
    clean = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + random.normal(0, 1, (height, width, 3))
    noise = cv2.GaussianBlur(random.normal(0, 16, clean.shape).astype(np.float32), (3, 3), 0.6)
    return tuple(np.clip(image, 0, 255).round().astype(np.uint8) for image in (clean, clean + noise))


def scene_name(number: int) -> str:
    return f"{number + 1:04d}_001_ZZ_00800_00100_5500_N"


def make_crops(folder: Path, count: int) -> None:
    """Write pairs of crops, scenes of a hundred."""
    encoded = []
    for seed in range(min(count, KINDS)):
        pair = noisy_pair(CROP, CROP, seed)
        encoded.append([cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in pair])
    for number in range(count):
        scene = folder / scene_name(number // PER_SCENE)
        for side, kind, content in zip(("clean", "noisy"), ("GT", "NOISY"), encoded[number % len(encoded)]):
            path = scene / side / f"{scene.name[:4]}_{kind}_SRGB_010_{number % PER_SCENE + 1:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def make_frames(folder: Path, count: int, sides: tuple[int, int]) -> list[Path]:
    """Write pairs of whole frames, a scene each -> the scenes."""
    scenes = [folder / scene_name(number) for number in range(count)]
    for number, scene in enumerate(scenes):
        for kind, image in zip(("GT", "NOISY"), noisy_pair(*sides, number)):
            write_image(scene / f"{scene.name[:4]}_{kind}_SRGB_010.PNG", image, flush=False)
    return scenes


def open_crops(folder: Path, cropped: bool = True, num_workers: int = 0) -> TrainingPatches:
    """Open a data set by its cache, which is built first if it is not there."""
    images = list_images(sorted(folder.iterdir()), cropped, PATCH, "")
    [reader] = open_images([images], folder, folder.parent / "cache", num_workers, logging.getLogger("benchmark"))
    return TrainingPatches(reader, PATCH, augment=False, seed=0)
