"""Denoise the blocks of the SIDD benchmark, and write them as its servers take them."""

import argparse
import logging
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.benchmarks.sidd import BENCHMARK_KEY, Shape, read_blocks
from data.benchmarks.submissions import write_kaggle_csv, write_sidd_mat
from evaluation.denoisers import Denoiser, denoise_checked
from evaluation.submission_folder import Submission
from evaluation.submission_parts import file_hash, settings_of, threads_of
from utils.files import atomic_path
from utils.image import to_uint8
from utils.workers import in_threads

WRITERS = {"kaggle": (".csv", write_kaggle_csv), "sidd-mat": (".mat", write_sidd_mat)}


def submit_blocks(args: argparse.Namespace, denoiser: Denoiser, log: logging.Logger, shape: Shape) -> Path:
    """Denoise the blocks of `--blocks` and write `--output`: -> its path.

    Denoised images wait in `<output>.work/`, from where the same command continues; `<output>.json` stays and says
    what the file was made with. shape: the one to demand, (images, blocks, H, W, 3). Raises ValueError as
    `read_blocks` and `Submission.is_complete`, and when the denoiser gives NaN.
    """
    output = Path(args.output)
    suffix, write = WRITERS[args.benchmark]
    if output.suffix.lower() != suffix:
        raise ValueError(f"--output {output}: expected a name that ends in {suffix}")
    blocks = read_blocks(args.blocks, BENCHMARK_KEY, shape)
    work, record = (output.with_name(f"{output.name}.{end}") for end in ("work", "json"))
    settings = settings_of(args, denoiser, file_hash(args.blocks))
    submission = Submission(record, work, re.compile(r"\d{4}\.npy"), (output,), settings, "--output")
    if not submission.is_complete():
        lock = submission.open()
        denoised = _denoise_blocks(blocks, denoiser, work, threads_of(args, denoiser), log)
        write(work / output.name, denoised)  # which gets its own name only when it is checked
        os.replace(work / output.name, output)
        submission.complete()
        if lock:
            lock.release()
    submission.remove_parts()
    return output


def _denoise_blocks(
    blocks: np.ndarray, denoiser: Denoiser, work: Path, threads: int, log: logging.Logger
) -> list[np.ndarray]:
    """Denoise what is not in `work` yet: -> for each image a memory map, (blocks, H, W, 3) uint8."""
    paths = [work / f"{image + 1:04d}.npy" for image in range(len(blocks))]
    pending = [image for image, path in enumerate(paths) if not _is_denoised(path, blocks.shape[1:])]
    total, left = (count * blocks.shape[1] for count in (len(paths), len(pending)))
    log.info("%s: %d of %d blocks to denoise", denoiser.name, left, total)
    with tqdm(total=total, initial=total - left, desc="denoising", unit="block", leave=False, disable=None) as bar:
        for image in pending:
            jobs = [(f"image {image + 1}, block {block + 1}", noisy) for block, noisy in enumerate(blocks[image])]
            denoised = []
            for block in in_threads(partial(_denoise_block, denoiser), jobs, threads):
                denoised.append(block)
                bar.update()
            with atomic_path(paths[image]) as temporary:
                np.save(temporary, np.stack(denoised))
    return [np.load(path, mmap_mode="r") for path in paths]


def _denoise_block(denoiser: Denoiser, job: tuple[str, np.ndarray]) -> np.ndarray:
    where, noisy = job
    return to_uint8(denoise_checked(denoiser, noisy.astype(np.float32, order="C") / 255, where))


def _is_denoised(path: Path, shape: Shape) -> bool:
    """Whether an earlier run has denoised an image, and it is whole."""
    try:
        denoised = np.load(path, mmap_mode="r")
    except Exception:  # NumPy raises what it likes on a damaged header
        return False
    return denoised.shape == shape and denoised.dtype == np.uint8
