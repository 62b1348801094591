"""Judge denoisers: real noisy images, denoised and rounded to 8 bit, against their clean ones."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

import metrics
from evaluation.denoisers import Denoiser, denoise_checked
from evaluation.denoising_images import ImagePair, ImageSet
from utils.image import to_uint8
from utils.workers import in_threads

METRICS = ("psnr", "ssim")
COLUMNS = ("image", "camera", "iso", "denoiser", "seed", *METRICS)
EXAMPLES = 4  # images that the report shows
DETAIL = 80  # pixels of the details shown of them

Box = tuple[slice, slice]


class Run(NamedTuple):
    """A denoiser; of several trained with the same recipe, which go by one name, the seed of this one."""

    denoiser: Denoiser
    seed: int | None = None


@dataclass
class Example:
    """An image for the report: whole, and details at `box` by name, each with the PSNR of the whole image."""

    image: ImagePair
    box: Box
    details: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)


@dataclass
class Results:
    """A row per image, denoiser and seed, with `COLUMNS`; and images to show."""

    rows: list[dict] = field(default_factory=list)
    examples: dict[str, Example] = field(default_factory=dict)


class _Job(NamedTuple):
    """An image and a denoiser, with its output if that is there already."""

    image: ImagePair
    run: Run
    output: np.ndarray | None


def denoise_all(images: ImageSet, runs: list[Run], num_workers: int) -> Results:
    """Denoise all images by all denoisers and measure the outputs.

    Reading, measuring and the classic methods go to threads, the networks run in this one (they may use a GPU).
    Raises ValueError for an image that cannot be read and a denoiser that gives numbers that are not finite.
    """
    results = Results()
    shown = {(2 * number + 1) * images.count // (2 * EXAMPLES) for number in range(EXAMPLES)}
    numbers: dict[str, int] = {}
    with tqdm(total=images.count * len(runs), desc="denoise", unit="output", disable=None) as bar:
        for job, row, output in in_threads(_measured, _jobs(images.read(num_workers), runs), num_workers):
            results.rows.append(row)
            if numbers.setdefault(job.image.name, len(numbers)) in shown:
                _add_example(results.examples, job, row["psnr"], output)
            bar.update()
    return results


def _jobs(images: Iterable[ImagePair], runs: list[Run]) -> Iterator[_Job]:
    for image in images:
        for run in runs:
            job = _Job(image, run, None)
            yield job if run.denoiser.classic else job._replace(output=_output(job))


def _output(job: _Job) -> np.ndarray:
    """-> (H, W, 3) uint8, as a server would be given it."""
    noisy = job.image.noisy.astype(np.float32) / 255
    return to_uint8(denoise_checked(job.run.denoiser, noisy, job.image.name))


def _measured(job: _Job) -> tuple[_Job, dict, np.ndarray]:
    image, output = job.image, _output(job) if job.output is None else job.output
    values = {"psnr": metrics.psnr(output, image.clean), "ssim": metrics.ssim(output, image.clean)}
    row = {"image": image.name, "camera": image.camera, "iso": image.iso, "denoiser": job.run.denoiser.name}
    return job, row | {"seed": job.run.seed} | values, output


def _add_example(examples: dict[str, Example], job: _Job, psnr: float, output: np.ndarray) -> None:
    image = job.image
    if image.name not in examples:
        examples[image.name] = Example(image, most_detailed(image.clean))
    detail = output[examples[image.name].box].copy(), psnr
    examples[image.name].details.setdefault(job.run.denoiser.name, detail)  # of several seeds the first


def most_detailed(image_uint8: np.ndarray) -> Box:
    """Find the square of `DETAIL` pixels with the largest standard deviation, where a denoiser has most to lose."""
    side = min(DETAIL, *image_uint8.shape[:2])
    grey = image_uint8.mean(axis=2)
    mean, square = (cv2.blur(values, (side, side), anchor=(0, 0)) for values in (grey, grey**2))
    variance = (square - mean**2)[: grey.shape[0] - side + 1, : grey.shape[1] - side + 1]
    top, left = np.unravel_index(variance.argmax(), variance.shape)
    return slice(top, top + side), slice(left, left + side)
