"""Whole frames: how long the cropper takes, and how long it is from raw frames to the first training batch."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmark.published import Pair, crop_frames, published_batch
from benchmark.samples import BATCH, PATCH, make_frames, open_crops
from benchmark.timing import take_turns, use_one_thread
from data.batches import StepBatches
from data.loading import to_device, training_loader
from data.sidd import find_crops, find_pairs

ROOT = Path(__file__).resolve().parent.parent
FRAME = (3000, 4000)  # pixels, as SIDD's smaller ones


def crop_command(source: Path, target: Path, num_workers: int) -> None:
    """Run Crop_SIDD.py as users do, its start included."""
    command = [sys.executable, "Crop_SIDD.py", "--source", source, "--target", target, "--num_workers", num_workers]
    subprocess.run(list(map(str, command)), cwd=ROOT, check=True, capture_output=True)


def crop_speed(folder: Path, frames: int, sides: tuple[int, int], rounds: int) -> dict[str, list[float]]:
    """Time the cropping of made-up frames: the published way, and our command with one process and with two."""
    use_one_thread()
    pairs = frame_pairs(make_frames(folder / "parts", frames, sides))
    target = folder / "crops"
    works = {
        "published": lambda: crop_frames(pairs, target),
        "one process": lambda: crop_command(folder / "parts", target, 0),
        "two processes": lambda: crop_command(folder / "parts", target, 2),
    }
    return take_turns(works, rounds, desc="crop", after=lambda: clear(target))


def raw_to_first_batch(
    folder: Path, frames: int, sides: tuple[int, int], workers: int, rounds: int
) -> dict[str, list[float]]:
    """Time the way from whole frames to the first batch: by crops and the published loop, or by the cache alone.

    The crops are cut by plain published code ("published") or by our command; each side has `workers` processes or
    threads, and starts no other. One batch is one worker's, on every side.
    """
    use_one_thread()
    scenes = make_frames(folder / "parts", frames, sides)

    def first_published_batch(cut: Callable[[], None]) -> None:
        cut()
        crops = [pair for scene in scenes for pair in find_crops(folder / "crops" / scene.name)]
        published_batch(crops, np.random.default_rng(0), BATCH, PATCH)

    def publish() -> None:
        if workers == 1:
            crop_frames(frame_pairs(scenes), folder / "crops")
            return
        with get_context("fork" if sys.platform == "linux" else "spawn").Pool(workers) as pool:
            pool.starmap(crop_frames, [([pair], folder / "crops") for pair in frame_pairs(scenes)], chunksize=1)

    def ours() -> None:
        patches = open_crops(folder / "parts", cropped=False, num_workers=0 if workers == 1 else workers)
        stream = iter(training_loader(patches, StepBatches(len(patches), BATCH, True, 0, 0, 1), 0, pin_memory=False))
        to_device(next(stream), "cpu", augment=False)

    processes = 0 if workers == 1 else workers
    works = {
        "published": lambda: first_published_batch(publish),
        "Crop_SIDD.py": lambda: first_published_batch(
            lambda: crop_command(folder / "parts", folder / "crops", processes)
        ),
        "cache": ours,
    }
    return take_turns(works, rounds, desc="first batch", after=lambda: clear(folder / "crops", folder / "cache"))


def frame_pairs(scenes: list[Path]) -> list[Pair]:
    return [pair for scene in scenes for pair in find_pairs(scene)[0]]


def clear(*folders: Path) -> None:
    """Remove what a work has made, before the next one: the disk is not to be busy with it then."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    if hasattr(os, "sync"):  # Windows
        os.sync()
