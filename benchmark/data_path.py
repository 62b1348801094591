"""Time the data path on made-up images, for `benchmark.speed`: patches, the cropper, the way to the first batch.

One process, one thread, on both sides. The published path decodes both 512x512 PNGs of every patch, cuts 96x96 and
collects 16; ours gives the same batch from the cache, as it is sent to the device ("batches") and converted on this
processor to (N, 3, P, P) ("on CPU"); the copy is np.copyto of as many bytes in two runs from random places of the same
mapped files.
"""

import logging
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmark.naive import Files, crop_frames, published_batch
from benchmark.timing import Spread, Work, one_thread, ratio, seconds, take_turns
from data.batches import BatchSampler, PatchDataset, to_device, training_loader
from data.cache import open_pairs
from data.pairs import find_pairs
from data.sidd import find_crops, find_frames
from utils.image import write_image

ROOT = Path(__file__).resolve().parent.parent
PATCH, BATCH = 96, 16  # the paper's
CROP = 512  # pixels a side
FRAME = (3000, 4000)  # pixels, as SIDD's smaller ones
CONTENTS = 16  # different crops; the files of a set repeat them
CROPS_PER_SCENE = 100
Times = dict[str, list[float]]  # seconds by name and round


def noisy_pair(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a clean image with the texture of a denoised photograph, and one with correlated noise on it.

    Both are (H, W, 3) uint8, and as PNGs as large as SIDD's.
    """
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 220, (height // 8, width // 8, 3)).astype(np.float32)
    clean = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + random.normal(0, 1, (height, width, 3))
    noise = cv2.GaussianBlur(random.normal(0, 16, clean.shape).astype(np.float32), (3, 3), 0.6)
    images = [np.clip(image, 0, 255).round().astype(np.uint8) for image in (clean, clean + noise)]
    return images[0], images[1]


def _scene_name(number: int) -> str:
    return f"{number + 1:04d}_001_ZZ_00800_00100_5500_N"


def make_crops(folder: Path, count: int) -> None:
    """Write pairs of crops in SIDD's layout, a hundred per scene."""
    encoded = []
    for seed in range(min(count, CONTENTS)):
        pair = noisy_pair(CROP, CROP, seed)
        encoded.append([cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in pair])
    for number in range(count):
        scene = folder / _scene_name(number // CROPS_PER_SCENE)
        for side, kind, content in zip(("clean", "noisy"), ("GT", "NOISY"), encoded[number % len(encoded)]):
            path = scene / side / f"{scene.name[:4]}_{kind}_SRGB_010_{number % CROPS_PER_SCENE + 1:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def make_frames(folder: Path, count: int, sides: tuple[int, int]) -> list[Path]:
    """Write pairs of whole frames in SIDD's layout, one per scene; return the scenes."""
    scenes = [folder / _scene_name(number) for number in range(count)]
    for number, scene in enumerate(scenes):
        for kind, image in zip(("GT", "NOISY"), noisy_pair(*sides, number)):
            write_image(scene / f"{scene.name[:4]}_{kind}_SRGB_010.PNG", image, flush=False)
    return scenes


def open_patches(folder: Path, num_workers: int = 0) -> PatchDataset:
    """Open a data set by its cache, which is built first if it is not there."""
    pairs = find_pairs(sorted(folder.iterdir()), PATCH)
    reader = open_pairs(pairs, folder.parent / "cache", num_workers, logging.getLogger("benchmark"))
    return PatchDataset(reader, PATCH, augment=False, seed=0)


def batches_of(patches: PatchDataset) -> Iterator[dict]:
    """Load batches as a training does, in this process, without an end."""
    sampler = BatchSampler(len(patches.reader), BATCH, True, 0, 0, 10**9)
    return iter(training_loader(patches, sampler, 0, pin_memory=False))


class CropResult(NamedTuple):
    """Measured rates of a set of crops, and ratios."""

    row: dict[str, float]  # build: seconds; files: GB; memory: MiB; microseconds per patch by way
    ratios: dict[str, Spread]


def measure_crops(count: int, rounds: int, folder: str | Path | None = None) -> CropResult:
    """Make crops and measure them in a process that does nothing else, so that its memory tells."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        make_crops(Path(place) / "crops", count)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(_measure, (Path(place), count, rounds))


@one_thread()
def _measure(folder: Path, count: int, rounds: int) -> CropResult:
    build = seconds(lambda: open_patches(folder / "crops"))
    patches = open_patches(folder / "crops")
    stream = batches_of(patches)
    seconds(lambda: next(stream), -(-count // BATCH))  # an epoch: first touch of pages
    files = [np.memmap(path, np.uint8, "r") for path in sorted((folder / "cache").rglob("*.npy"))]
    memory = _anonymous_memory()

    random = np.random.default_rng(0)
    pairs = [pair for scene in sorted((folder / "crops").iterdir()) for pair in find_crops(scene)]
    copied = np.empty((2, BATCH, PATCH * PATCH * 3), np.uint8)

    def copy() -> None:
        for image in copied:
            file = files[random.integers(len(files))]
            begin = random.integers(file.size - image.size)
            np.copyto(image, file[begin : begin + image.size].reshape(image.shape))

    works: dict[str, Work | tuple[Work, int]] = {
        "published": lambda: published_batch(pairs, random, BATCH, PATCH),
        "batches": (lambda: next(stream), 50),
        "on CPU": (lambda: to_device(next(stream), "cpu", augment=False), 50),
        "copy": (copy, 50),
    }
    taken = take_turns(works, rounds)
    row = {
        "build": build,
        "files": sum(file.size for file in files) / 1e9,
        "memory": memory,
        **{name: statistics.median(values) / BATCH * 1e6 for name, values in taken.items()},
    }
    ratios = {
        "patch_ratio": ratio(taken["published"], taken["on CPU"]),
        "memcpy_ratio": ratio(taken["batches"], taken["copy"]),
    }
    return CropResult(row, ratios)


def _anonymous_memory() -> float:
    """Return the memory of this process that is its own, without mapped files, in MiB; nan where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def crop_command(source: Path, target: Path, num_workers: int) -> None:
    """Run Crop_SIDD.py as users do, its start included."""
    command = [sys.executable, "Crop_SIDD.py", "--source", source, "--target", target, "--num_workers", num_workers]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True)


@one_thread()
def crop_speed(folder: Path, frames: int, sides: tuple[int, int], rounds: int) -> Times:
    """Time the cropping of made-up frames: the published way, and our command with one worker and with two."""
    scenes, target = make_frames(folder / "parts", frames, sides), folder / "crops"
    works = {
        "published": lambda: [_crop_published(scene, target) for scene in scenes],
        "one worker": lambda: crop_command(folder / "parts", target, 0),
        "two workers": lambda: crop_command(folder / "parts", target, 2),
    }
    return take_turns(works, rounds, desc="crop", after=lambda: _clear(target))


@one_thread()
def raw_to_first_batch(folder: Path, frames: int, sides: tuple[int, int], workers: int, rounds: int) -> Times:
    """Time the way from whole frames to the first batch: by crops and the published loop, or by the cache alone.

    The crops are cut by plain published code ("published") or by our command; each side has 1 or 2 `workers`. One
    batch is one worker's, on every side.
    """
    scenes, crops = make_frames(folder / "parts", frames, sides), folder / "crops"
    num_workers = 0 if workers == 1 else workers

    def publish() -> None:
        if workers == 1:
            for scene in scenes:
                _crop_published(scene, crops)
            return
        with multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn").Pool(workers) as pool:
            pool.starmap(_crop_published, [(scene, crops) for scene in scenes], chunksize=1)

    def by_crops(cut: Callable[[], None]) -> None:
        cut()
        pairs = [pair for scene in scenes for pair in find_crops(crops / scene.name)]
        published_batch(pairs, np.random.default_rng(0), BATCH, PATCH)

    def by_cache() -> None:
        to_device(next(batches_of(open_patches(folder / "parts", num_workers))), "cpu", augment=False)

    works = {
        "published": lambda: by_crops(publish),
        "Crop_SIDD.py": lambda: by_crops(lambda: crop_command(folder / "parts", crops, num_workers)),
        "cache": by_cache,
    }
    return take_turns(works, rounds, desc="first batch", after=lambda: _clear(crops, folder / "cache"))


def _crop_published(scene: Path, target: Path) -> list[Files]:
    return crop_frames(find_frames(scene)[0], target)


def _clear(*folders: Path) -> None:
    """Remove what a work has made, before the next one: the disk is not to be busy with it then."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    if hasattr(os, "sync"):  # Windows
        os.sync()
