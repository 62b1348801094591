"""Denoise the crops of DND, and write them as its server takes them."""

import argparse
import hashlib
import logging
import re
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.benchmarks.dnd import Box, DndLayout, cut, image_path, read_boxes, read_image
from data.benchmarks.submissions import read_dnd_crop, write_dnd_bundle, write_dnd_crop
from evaluation.denoisers import Denoiser, denoise_checked
from evaluation.noise_setup import check_apart
from evaluation.submission_folder import Submission
from evaluation.submission_parts import file_hash, settings_of, threads_of
from synthesis.output import file_state
from utils.workers import in_threads

RECORD = "submission.json"


def submit_dnd(args: argparse.Namespace, denoiser: Denoiser, log: logging.Logger, layout: DndLayout) -> Path:
    """Denoise the crops of `--dnd_dir`, each by itself, into `--output_dir`, and bundle them: -> the bundles' folder.

    Crops that are there are kept, so that the same command continues. Raises ValueError as `read_boxes`, `read_image`
    and `Submission.is_complete`, and when the denoiser gives NaN.
    """
    folder, source = Path(args.output_dir), Path(args.dnd_dir)
    check_apart(folder, args.dnd_dir, [])
    boxes = read_boxes(source, layout)
    images = [image_path(source, number) for number in range(layout.images)]
    missing = [path for path in images if not path.is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: no such file, expected {layout.images} images; is --dnd_dir DND's folder?")
    bundles = tuple(folder / "bundled" / path.name for path in images)
    settings = settings_of(args, denoiser, _inputs_hash(source / "info.mat", images))
    parts = re.compile(r"\d{4}_\d\d\.mat")
    submission = Submission(folder / RECORD, folder, parts, bundles, settings, "--output_dir")
    if not submission.is_complete():
        lock = submission.open()
        log.info("%s: %d crops of %d images", denoiser.name, layout.images * layout.crops, layout.images)
        with tqdm(total=layout.images * layout.crops, desc="denoising", unit="crop", leave=False, disable=None) as bar:
            for path, places, bundle in zip(images, boxes, bundles):
                write_dnd_bundle(
                    bundle, _denoise_crops(path, places, denoiser, folder, threads_of(args, denoiser), bar)
                )
        submission.complete()
        if lock:
            lock.release()
    return folder / "bundled"


def _inputs_hash(info: Path, images: list[Path]) -> str:
    """A fingerprint of the inputs; of the images, which are gigabytes, by their sizes and times."""
    states = [file_hash(info)] + [value for path in images for value in file_state(path).values()]
    return hashlib.sha256(" ".join(states).encode()).hexdigest()


def _denoise_crops(
    source: Path, boxes: list[Box], denoiser: Denoiser, folder: Path, threads: int, bar: tqdm
) -> list[np.ndarray]:
    """Denoise those crops of an image that are not in `folder` yet: -> all of them, (S, S, 3) float32 each."""
    paths = [folder / f"{source.stem}_{number + 1:02d}.mat" for number in range(len(boxes))]
    crops = [_denoised_crop(path, _shape(box)) for path, box in zip(paths, boxes)]
    pending = [number for number, crop in enumerate(crops) if crop is None]
    image = read_image(source) if pending else None
    bar.update(len(boxes) - len(pending))

    def make(number: int) -> np.ndarray:
        noisy = cut(source, image, boxes[number])
        denoised = denoise_checked(denoiser, noisy, f"image {source.stem}, crop {number + 1}")
        write_dnd_crop(paths[number], denoised)
        return denoised

    for number, crop in zip(pending, in_threads(make, pending, threads)):
        crops[number] = crop
        bar.update()
    return crops


def _shape(box: Box) -> tuple[int, int, int]:
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start, 3


def _denoised_crop(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Read what an earlier run has denoised; None: nothing that is whole."""
    try:
        return read_dnd_crop(path, shape)
    except ValueError:
        return None
