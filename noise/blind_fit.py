"""Fit a camera's pipeline to noisy images alone: no clean image of the scene is needed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from data.folders import NoisyFile
from data.likeness import is_blank, name_left_out
from noise.camera import PipelineNoise
from noise.identify import Identification, NoisyImage, find_rendering
from noise.pipeline import Phase, Pipeline, SceneNoise
from noise.pipeline_fit import WINDOWS, planes, window_places, with_white
from noise.raw_noise import estimate_noise_blindly, physical_shape
from utils.files import sha256_of
from utils.image import read_exposure, read_image
from utils.workers import in_threads

SMALLEST = 64  # pixels a side
PARTS = 4  # of an image, whose noise is measured apart, too
T90 = 2.35  # quantile .95 of Student's t with PARTS - 1 degrees of freedom: an interval of 90 %
LEAST_SHARE = 0.1  # of what is usual at an ISO: where a scene's shot or read noise is found to be none
STD_FLOOR = 0.01  # grey levels, below which a logarithm of a std does not go
CONTENT = 0.025  # of the logarithm of the std, that content leaves in nine of ten images, whatever their parts say
PROBE = 128  # pixels a side of a grey image, whose noise tells the level


class Level(NamedTuple):
    """Measured strength of the noise of an ISO: std in grey levels on a grey level, and an interval of 90 %."""

    iso: int
    images: int
    grey: int
    std: float
    interval: tuple[float, float]


def read_noisy(files: Sequence[NoisyFile], num_workers: int) -> list[NoisyImage]:
    """Read parts of noisy images, evenly spaced: about `WINDOWS` of all, at least one of each file.

    Raises ValueError for a file that cannot be read, and if all are blank.
    """
    share = -(-WINDOWS // len(files))

    def read(file: NoisyFile) -> list[NoisyImage]:
        image = read_image(file.path)
        if is_blank(image):
            name_left_out(file.path)
            return []
        if min(image.shape[:2]) < SMALLEST:
            name_left_out(file.path, f"smaller than {SMALLEST}x{SMALLEST} pixels")
            return []
        return [NoisyImage(planes(image[part]), file.scene, file.frame) for part in window_places(image.shape, share)]

    work = in_threads(read, files, num_workers)
    bar = tqdm(work, total=len(files), desc="read", unit="image", leave=False, disable=None)
    if not (images := [image for of_file in bar for image in of_file]):
        raise ValueError(f"{files[0].path}: blank or too small, as all images; expected noise")
    return images


def identify_noisy(images: Sequence[NoisyImage], num_workers: int) -> Identification:
    """Identify the rendering of noisy images.

    Raises ValueError if it is not identified: then noise needs clean images, or bursts of which they are made.
    """
    found = find_rendering(images, num_workers)
    if not found.is_identified:
        raise ValueError(f"{found}; such images need clean ones, or bursts for main_make_pairs.py to make them of")
    return found


def fit_blindly(
    camera: str, images: Sequence[NoisyImage], files: Sequence[NoisyFile], found: Identification,
    num_workers: int = 2, seed: int = 0,
) -> tuple[Pipeline, list[Level]]:  # fmt: skip
    """Fit a camera's pipeline to noisy images of files, whose rendering was found: -> the fit, its level by ISO.

    The noise of each scene is measured by `noise.raw_noise.estimate_noise_blindly`, with its physical shape.
    """
    scenes = {file.scene: (file.iso, file.illuminant) for file in files}
    rendering = replace(found.rendering, red=max(found.phases, key=found.phases.count))
    rendering = with_white(rendering, [image.pixels for image in images])
    of_scene: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        of_scene.setdefault(image.scene, []).append(number)
    seen = [(image.pixels[None] / 255, phase) for image, phase in zip(images, found.phases)]
    names = list(of_scene)
    own = {name: rendering.balanced(found.balances.get(name, torch.ones(2))) for name in names}

    def measure(name: str) -> tuple[Tensor, list[Tensor]]:
        """Measure a scene, and parts of it apart."""
        rendering, of = own[name], [seen[number] for number in of_scene[name]]
        return estimate_noise_blindly(rendering, of, seed=seed), [
            estimate_noise_blindly(rendering, part, seed=seed) for part in _parts(of)
        ]

    work = in_threads(measure, names, num_workers)
    measured = list(tqdm(work, total=len(names), desc="raw noise", unit="scene", leave=False, disable=None))
    numbers = torch.stack([whole for whole, _ in measured])
    known = []
    for name, of in zip(names, numbers):
        red, blue = found.balances.get(name, torch.ones(2)).tolist()
        alike = numbers[[scenes[other][0] == scenes[name][0] for other in names]]
        noise = of.clamp(min=LEAST_SHARE * alike.median(0).values).tolist()
        known.append(SceneNoise(*scenes[name], (red, blue), tuple((shot, read) for shot, read in noise)))
    remark = f"{len(names)} scenes, {len(images)} windows, noisy images alone"
    error = tuple(found.error.tolist())
    pipeline = Pipeline(camera, rendering, tuple(known), physical_shape(numbers), error, remark)
    grey = int(torch.cat([image.pixels.flatten() for image in images]).median())
    levels = []
    for iso in pipeline.isos:
        of_iso = [of for name, of in zip(names, measured) if scenes[name][0] == iso]
        levels.append(_level(pipeline, iso, of_iso, grey, seed))
    return pipeline, levels


def noise_like(photo: str | Path, num_workers: int = 2) -> PipelineNoise:
    """Take the noise of one noisy photograph, its strength included, and no clean image.

    Raises ValueError for a file that cannot be read, is blank, or was not rendered as a pipeline renders.
    """
    path = Path(photo)
    files = [NoisyFile(path, path.name, path.name, read_exposure(path)[0] or 0)]
    images = read_noisy(files, num_workers)
    pipeline, _ = fit_blindly("", images, files, identify_noisy(images, num_workers), num_workers)
    return PipelineNoise(3, pipeline=pipeline, files={"photograph": path}, fingerprint=sha256_of([path]))


def _parts(seen: Sequence[tuple[Tensor, Phase]]) -> list[list[tuple[Tensor, Phase]]]:
    """Part images: every fourth one, or quarters of each where there are fewer."""
    if len(seen) >= PARTS:
        return [list(seen[part::PARTS]) for part in range(PARTS)]
    height, width = (min(side // 4 * 2 for side in sides) for sides in zip(*(image.shape[2:] for image, _ in seen)))
    return [
        [(image[..., y : y + height, x : x + width], phase) for image, phase in seen]
        for y in (0, height)
        for x in (0, width)
    ]


def _level(
    pipeline: Pipeline, iso: int, measured: Sequence[tuple[Tensor, list[Tensor]]], grey: int, seed: int
) -> Level:
    """Measure an ISO's std on a grey level, and an interval by how the parts of its scenes differ."""

    def log_std(numbers: Tensor) -> float:
        clean = torch.full((1, 3, PROBE, PROBE), grey / 255)
        white = torch.randn(1, 1, PROBE, PROBE, generator=torch.Generator().manual_seed(seed))
        return math.log(max(float((pipeline.synthesize(clean, numbers, white) - clean).std()) * 255, STD_FLOOR))

    mean = sum(log_std(whole) for whole, _ in measured) / len(measured)
    variances = [torch.tensor([log_std(part) for part in parts]).var() / PARTS for _, parts in measured]
    reach = math.hypot(T90 * float(torch.stack(variances).mean() / len(measured)) ** 0.5, CONTENT)
    low, high = math.exp(mean - reach), math.exp(mean + reach)
    return Level(iso, len(measured), grey, math.exp(mean), (low, high))
