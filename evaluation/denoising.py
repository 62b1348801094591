"""Judge denoisers: real noisy images, denoised and rounded to 8 bit, against their clean ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

import metrics
from data.benchmarks.sidd import read_validation
from data.pairs import ImagePair, by_file, read_samples
from data.sidd import parse_scene
from evaluation.denoisers import Denoiser, denoise_checked, read_spec
from inference.pretrained import MissingWeightsError
from inference.tiled import Window
from metrics.images import SSIM_SIDE
from utils.image import to_uint8
from utils.randomness import evenly_spaced
from utils.workers import in_threads

METRICS = ("psnr", "ssim")
COLUMNS = ("image", "camera", "iso", "denoiser", "seed", *METRICS)
VALIDATION = "SIDD validation"  # its blocks are of all five cameras, and the file does not say which
SEED = "{seed}"
REAL_RECIPE = "real"  # what the denoiser trained on real noise is called, unless another name is given
EXAMPLES = 4  # images that the report shows
DETAIL = 80  # pixels of the details shown of them


class KnownImage(NamedTuple):
    """A noisy image and its clean one, (H, W, C) uint8 each; name: <scene>/<image>; iso: None where it is not known."""

    name: str
    camera: str
    iso: int | None
    noisy: np.ndarray
    clean: np.ndarray


@dataclass(frozen=True)
class ImageSet:
    """Images that are read, in `num_workers` threads, when they are wanted."""

    count: int
    read: Callable[[int], Iterator[KnownImage]]


class Run(NamedTuple):
    """A denoiser and, where several of one recipe share its name, its seed."""

    denoiser: Denoiser
    seed: int | None = None


@dataclass
class Example:
    """An image for the report: whole, and details at `window` by name, each with the PSNR of the whole image."""

    image: KnownImage
    window: Window
    details: dict[str, tuple[np.ndarray, float]] = field(default_factory=dict)


@dataclass
class DenoisingResults:
    """A row per image, denoiser and seed, with `COLUMNS`; and images to show, by name."""

    rows: list[dict] = field(default_factory=list)
    examples: dict[str, Example] = field(default_factory=dict)


class _Job(NamedTuple):
    """An image and a denoiser, with its output if that is there already."""

    image: KnownImage
    run: Run
    output: np.ndarray | None


def sort_by_camera(names: list[str], cameras: list[str]) -> dict[str, list[str]]:
    """Sort names of scenes by camera. Raise ValueError for another camera's scene and a camera without any."""
    sorted_names: dict[str, list[str]] = {camera: [] for camera in cameras}
    for name in names:
        if parse_scene(name).camera not in cameras:
            raise ValueError(f"{name} is not of {', '.join(cameras)}")
        sorted_names[parse_scene(name).camera].append(name)
    for camera, own in sorted_names.items():
        if not own:
            raise ValueError(f"none of the {len(names)} listed scenes is of camera {camera}")
    return sorted_names


def images_of_scenes(pairs: list[ImagePair]) -> ImageSet:
    """Make a set of the image pairs of scenes, crops or windows of frames."""

    def read_file(of_file: list[ImagePair]) -> list[KnownImage]:
        samples = read_samples(of_file)
        return [KnownImage(p.label, p.scene.camera, p.scene.iso, noisy, clean) for p, clean, noisy, _ in samples]

    def read(num_workers: int) -> Iterator[KnownImage]:
        return (image for batch in in_threads(read_file, by_file(pairs), num_workers) for image in batch)

    return ImageSet(len(pairs), read)


def images_of_blocks(noisy_file: Path, clean_file: Path, most: int) -> ImageSet:
    """Make a set of `most` evenly spaced blocks of SIDD's validation; 0: all.

    Raises:
        ValueError: a file is missing, damaged or another one, or its blocks are too small to be measured.
    """
    noisy, clean = read_validation(noisy_file, clean_file)
    if min(noisy.shape[2:4]) < SSIM_SIDE:
        raise ValueError(f"{noisy_file}: blocks of {noisy.shape[2:4]} pixels, expected at least {SSIM_SIDE}")
    places = evenly_spaced(list(np.ndindex(noisy.shape[:2])), most)

    def read(num_workers: int) -> Iterator[KnownImage]:
        for image, block in places:
            name = f"image {image:02d}/block {block:02d}"
            yield KnownImage(name, VALIDATION, None, noisy[image, block], clean[image, block])

    return ImageSet(len(places), read)


def expand_specs(specs: list[str], seeds: list[int]) -> list[tuple[str, int | None]]:
    """Put every seed into the specs that have {seed} in their paths, and the noisy image first if it is not there.

    Raises:
        ValueError: a seed or a name is there twice, or seeds and {seed} do not fit together.
    """
    if seeds and not any(SEED in spec for spec in specs):
        raise ValueError(f"seeds {' '.join(map(str, seeds))}: no denoiser has {SEED} in its path, where they differ")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {' '.join(map(str, seeds))}: one is there twice")
    if not any(read_spec(spec)[1] == "noisy" for spec in specs):
        specs = ["noisy", *specs]
    expanded: list[tuple[str, int | None]] = []
    names: set[str] = set()
    for spec in specs:
        name, what = read_spec(spec)
        if SEED in spec and (what == spec or SEED in name):
            raise ValueError(f"{spec}: expected NAME= before a path with {SEED}, the name of all its runs")
        if SEED in spec and not seeds:
            raise ValueError(f"{spec}: expected seeds, to put in place of {SEED}")
        if name in names:
            raise ValueError(f"{spec}: {name!r} is there twice; put another NAME= before one of them")
        names.add(name)
        expanded += [(spec.replace(SEED, str(seed)), seed) for seed in seeds] if SEED in spec else [(spec, None)]
    return expanded


def make_runs(
    specs: list[tuple[str, int | None]], make: Callable[[str], Denoiser], skip_missing: bool
) -> tuple[list[Run], list[str]]:
    """Make the denoisers, and list what is missing.

    Raises:
        ValueError: checkpoints are missing, all of which are named; with `skip_missing` they are only listed.
    """
    runs, missing = [], []
    for spec, seed in specs:
        try:
            runs.append(Run(make(spec), seed))
        except MissingWeightsError as error:
            missing.append(str(error))
    if missing and not skip_missing:
        raise ValueError(f"missing: {'; '.join(missing)}; train them")
    return runs, missing


def choose_reference(wanted: str | None, runs: list[Run], some_missing: bool) -> str | None:
    """Choose the denoiser that PGap is measured from: the wanted one, or the one called real, if there is one."""
    trained = {run.denoiser.name for run in runs if not run.denoiser.classic}
    if wanted is not None and wanted not in trained and not some_missing:
        names = ", ".join(sorted(trained)) or "none"
        raise ValueError(f"{wanted}: expected the name of a trained denoiser; there are: {names}")
    name = REAL_RECIPE if wanted is None else wanted
    return name if name in trained else None


def denoise_all(images: ImageSet, runs: list[Run], num_workers: int) -> DenoisingResults:
    """Denoise all images by all denoisers and measure the outputs.

    Reading, measuring and the classic methods go to threads, the networks run in this one (they may use a GPU).

    Raises:
        ValueError: an image cannot be read, or a denoiser gives numbers that are not finite.
    """
    results = DenoisingResults()
    shown = {(2 * number + 1) * images.count // (2 * EXAMPLES) for number in range(EXAMPLES)}
    jobs = (
        _Job(image, run, None if run.denoiser.classic else _output(image, run))
        for image in images.read(num_workers)
        for run in runs
    )
    numbers: dict[str, int] = {}
    with tqdm(total=images.count * len(runs), desc="denoise", unit="output", disable=None) as bar:
        for job, row, output in in_threads(_measured, jobs, num_workers):
            results.rows.append(row)
            if numbers.setdefault(job.image.name, len(numbers)) in shown:
                _add_example(results.examples, job, row["psnr"], output)
            bar.update()
    return results


def _output(image: KnownImage, run: Run) -> np.ndarray:
    """Denoise an image to (H, W, C) uint8, as a server would be given it."""
    return to_uint8(denoise_checked(run.denoiser, image.noisy.astype(np.float32) / 255, image.name))


def _measured(job: _Job) -> tuple[_Job, dict, np.ndarray]:
    image, run = job.image, job.run
    output = _output(image, run) if job.output is None else job.output
    row: dict[str, Any] = {"image": image.name, "camera": image.camera, "iso": image.iso, "denoiser": run.denoiser.name}
    row |= {"seed": run.seed, "psnr": metrics.psnr(output, image.clean), "ssim": metrics.ssim(output, image.clean)}
    return job, row, output


def _add_example(examples: dict[str, Example], job: _Job, psnr: float, output: np.ndarray) -> None:
    image = job.image
    if image.name not in examples:
        examples[image.name] = Example(image, most_detailed(image.clean))
    detail = output[examples[image.name].window].copy(), psnr
    examples[image.name].details.setdefault(job.run.denoiser.name, detail)  # of several seeds the first


def most_detailed(image_uint8: np.ndarray) -> Window:
    """Find the square of `DETAIL` pixels with the largest standard deviation, where a denoiser has most to lose."""
    side = min(DETAIL, *image_uint8.shape[:2])
    grey = image_uint8.mean(axis=2)
    mean, square = (cv2.blur(values, (side, side), anchor=(0, 0)) for values in (grey, grey**2))
    variance = (square - mean**2)[: grey.shape[0] - side + 1, : grey.shape[1] - side + 1]
    top, left = np.unravel_index(variance.argmax(), variance.shape)
    return slice(top, top + side), slice(left, left + side)
