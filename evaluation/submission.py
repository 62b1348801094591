"""Submissions to the public benchmarks: denoise them part by part, and write what their servers take.

What is denoised is kept, so that the same command continues an interrupted submission, and a record beside it says
what it was begun with.
"""

import contextlib
import glob
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data.benchmarks.dnd import Box, Dnd, cut, read_dnd_crop, read_image, write_dnd_bundle, write_dnd_crop
from data.benchmarks.sidd import write_kaggle_csv, write_sidd_mat
from evaluation.denoisers import Denoiser, denoise_checked
from utils.files import (
    atomic_path,
    claim_folder,
    claim_record,
    lock_folder,
    make_folder,
    remove_leftovers,
    replace_file,
    sha256_of,
)
from utils.image import to_uint8
from utils.workers import in_threads

WRITERS = {"kaggle": (".csv", write_kaggle_csv), "sidd-mat": (".mat", write_sidd_mat)}
UPLOAD = {
    "kaggle": "upload it to the Kaggle competition of the SIDD benchmark, whose SSIM lies far below the older server's "
    "for the same images: compare it with Kaggle's figures only",
    "sidd-mat": "upload it to SIDD's older server, whose figures are those of the published tables, not Kaggle's",
    "dnd": "upload the files of that folder to DND's server, whose figures are those of the published tables",
}
SUBMISSION_VERSION = 2  # raise it when the same settings begin to give other files


class BlockSubmission:
    """The denoised blocks of SIDD's benchmark in one file, `product`.

    Denoised images wait in `<product>.work/`; `<product>.json` stays and says what the file was made with.
    """

    def __init__(self, source: Path, blocks: np.ndarray, product: Path, benchmark: str, denoiser: Denoiser):
        """Claim the place of the product. `blocks`, (images, blocks, H, W, 3) uint8, are those of the file `source`.

        Raises:
            ValueError: the product has another suffix than the benchmark's, cannot be written, is somebody else's, or
                was begun with other inputs or another denoiser.
        """
        suffix, self.write = WRITERS[benchmark]
        if product.suffix.lower() != suffix:
            raise ValueError(f"{product}: expected a name that ends in {suffix}")
        self.blocks, self.product, self.denoiser = blocks, product, denoiser
        self.work = product.with_name(f"{product.name}.work")
        self.parts = [self.work / f"{image + 1:04d}.npy" for image in range(len(blocks))]
        settings = _settings(benchmark, sha256_of([source]), denoiser)
        claim_folder(product.parent)
        claim_record(product.parent, f"{product.name}.json", settings, results=[product, *self.parts])
        for path in product.parent.glob(f".{glob.escape(product.name)}.*.tmp.json"):  # of a record cut short by a kill
            path.unlink()

    def make(self, num_workers: int, log: logging.Logger) -> None:
        """Denoise what is missing, with threads for classic methods, and write the product if it is not there.

        Raises:
            ValueError: the denoiser gives NaN, or another process is at work.
        """
        if not self.product.is_file():
            make_folder(self.work)
            with _locked(self.work):
                images = self._denoise(num_workers, log)
                self.write(self.work / self.product.name, images)  # which gets its own name only when it is checked
                replace_file(self.work / self.product.name, self.product)
        for path in (*self.parts, self.work / ".lock"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of the user's is in it, or it is not there
            self.work.rmdir()

    def _denoise(self, num_workers: int, log: logging.Logger) -> list[np.ndarray]:
        """Denoise the images that are missing; return a memory map for each image, (blocks, H, W, 3) uint8."""
        pending = [image for image, path in enumerate(self.parts) if not self._is_denoised(path)]
        threads = _threads(self.denoiser, num_workers)
        total, left = (count * self.blocks.shape[1] for count in (len(self.parts), len(pending)))
        log.info("%s: %d of %d blocks to denoise", self.denoiser.name, left, total)
        with _progress(total, total - left, "block") as bar:
            for image in pending:
                names = [f"image {image + 1}, block {block + 1}" for block in range(self.blocks.shape[1])]
                denoised = []
                for block in in_threads(self._denoise_block, zip(names, self.blocks[image]), threads):
                    denoised.append(block)
                    bar.update()
                with atomic_path(self.parts[image]) as temporary:
                    np.save(temporary, np.stack(denoised))
        return [np.load(path, mmap_mode="r") for path in self.parts]

    def _denoise_block(self, job: tuple[str, np.ndarray]) -> np.ndarray:
        name, noisy = job
        return to_uint8(denoise_checked(self.denoiser, noisy.astype(np.float32, order="C") / 255, name))

    def _is_denoised(self, path: Path) -> bool:
        """Check that an earlier run has denoised an image, and that it is whole."""
        try:
            denoised = np.load(path, mmap_mode="r")
        except Exception:  # NumPy raises what it likes on a damaged header
            return False
        return denoised.shape == self.blocks.shape[1:] and denoised.dtype == np.uint8


class DndSubmission:
    """The denoised crops of DND in `folder`, each by itself, and in `product`, its bundled/, one file per image."""

    def __init__(self, dnd: Dnd, folder: Path, denoiser: Denoiser):
        """Claim the folder.

        Raises:
            ValueError: it cannot be written, holds crops of somebody else's, or was begun with other inputs or another
                denoiser.
        """
        self.dnd, self.folder, self.denoiser = dnd, folder, denoiser
        self.product = folder / "bundled"
        self.bundles = [self.product / path.name for path in dnd.images]
        self.crops = [
            [folder / f"{path.stem}_{number + 1:02d}.mat" for number in range(len(boxes))]
            for path, boxes in zip(dnd.images, dnd.boxes)
        ]
        claim_folder(folder)
        states = [f"{state.st_size} {state.st_mtime_ns}" for state in map(os.stat, dnd.images)]  # of gigabytes
        inputs = hashlib.sha256(" ".join([sha256_of([dnd.info]), *states]).encode()).hexdigest()
        claim_record(
            folder,
            "submission.json",
            _settings("dnd", inputs, denoiser),
            results=[*self.bundles, *(path for paths in self.crops for path in paths)],
        )

    def make(self, num_workers: int, log: logging.Logger) -> None:
        """Denoise the crops that are missing, with threads for classic methods, and write the bundles.

        Raises:
            ValueError: an image is damaged, the denoiser gives NaN, or another process is at work.
        """
        if all(path.is_file() for path in self.bundles):
            return
        total = sum(map(len, self.crops))
        log.info("%s: %d crops of %d images", self.denoiser.name, total, len(self.bundles))
        with _locked(self.folder), _progress(total, 0, "crop") as bar:
            for image, bundle in enumerate(self.bundles):
                write_dnd_bundle(bundle, self._denoise(image, _threads(self.denoiser, num_workers), bar))

    def _denoise(self, image: int, threads: int, bar: tqdm) -> list[np.ndarray]:
        """Denoise those crops of an image that are missing; return all of them, (S, S, 3) float32 each."""
        source, boxes, paths = self.dnd.images[image], self.dnd.boxes[image], self.crops[image]
        found = {number: _read_crop(path, box) for number, (path, box) in enumerate(zip(paths, boxes))}
        crops = {number: crop for number, crop in found.items() if crop is not None}
        pending = [number for number in found if number not in crops]
        pixels = read_image(source) if pending else np.empty(0)
        bar.update(len(boxes) - len(pending))

        def make(number: int) -> np.ndarray:
            noisy = cut(source, pixels, boxes[number])
            denoised = denoise_checked(self.denoiser, noisy, f"image {source.stem}, crop {number + 1}")
            write_dnd_crop(paths[number], denoised)
            return denoised

        for number, crop in zip(pending, in_threads(make, pending, threads)):
            crops[number] = crop
            bar.update()
        return [crops[number] for number in found]


def _settings(benchmark: str, inputs: str, denoiser: Denoiser) -> dict[str, Any]:
    """List what a submission depends on, but tiles and device, which change one rounding in a million."""
    settings = {"benchmark": benchmark, "inputs": f"SHA-256 {inputs}", "denoiser": denoiser.identity}
    return {"version": SUBMISSION_VERSION, **settings}


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, and remove what a killed one has left in it."""
    lock = lock_folder(folder)
    try:
        remove_leftovers(folder)
        yield
    finally:
        lock.release()


def _threads(denoiser: Denoiser, num_workers: int) -> int:
    """Return how many parts to denoise at once: a network has all of the device to itself."""
    return num_workers if denoiser.classic else 0


def _progress(total: int, done: int, unit: str) -> tqdm:
    return tqdm(total=total, initial=done, desc="denoising", unit=unit, leave=False, disable=None)


def _read_crop(path: Path, box: Box) -> np.ndarray | None:
    """Read what an earlier run has denoised; None if there is nothing that is whole."""
    rows, columns = box
    try:
        return read_dnd_crop(path, (rows.stop - rows.start, columns.stop - columns.start, 3))
    except ValueError:
        return None
