"""Fit a camera's pipeline to image pairs: its rendering, the noise of each scene, and the shape of raw noise."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from data.likeness import is_blank, name_left_out
from data.pairs import ImagePair, Sample, by_file, find_pairs, read_pair, read_samples
from data.sidd import FRAMES, find_scenes, parse_scene
from noise.identify import Identification, NoisyImage, find_balance, find_rendering, patch_of
from noise.pipeline import SNR_KNOTS, Phase, Pipeline, Rendering, SceneNoise
from noise.raw_noise import (
    Pair,
    ReducedPixels,
    estimate_noise,
    estimate_noise_blindly,
    estimate_noise_of_reduced,
    fit_shape,
)
from utils.randomness import evenly_spaced
from utils.workers import in_threads

WINDOW, WINDOWS = 256, 48  # pixels a side, and about how many are looked at
FILES = 48  # pairs of files that are read, at most, but one of each scene
SATURATED = 50  # pixels of one colour that show the sensor's white
AGREE = 0.015  # by which its channels may differ
OUT_OF_GAMUT = 0.003  # negative light that a level of 0 stands for, for each light of the brightest channel
SPIKE, AROUND = 3, 8  # where one channel alone tells it: how many times commoner than the levels around it
LOOKED_AT, LEAST_SIDE = 512, 32  # pixels a side of a noisy image that tells its strength, most and least
SAME_LIGHT = 1.02  # ratio of balances, up to which scenes have one


class Window(NamedTuple):
    """A part of an image pair, (3, H, W) uint8 each; it begins at even rows and columns of its files."""

    pair: ImagePair
    clean: Tensor
    noisy: Tensor

    @property
    def frame(self) -> str:
        """Name what shares its phase of the mosaic: the scene's frames, or an image of unknown origin alone."""
        return self.pair.folder.name if self.pair.is_cut else self.pair.label


@dataclass(frozen=True)
class Reduced:
    """A pair of frames that were reduced without antialiasing: (3, h, w) uint8; frame: height and width before."""

    scene: str
    clean: Tensor
    noisy: Tensor
    frame: tuple[int, int]

    def pixels(self, seed: int) -> ReducedPixels:
        """Take the pixels that the noise is measured on."""
        return ReducedPixels(self.clean / 255, self.noisy / 255, self.frame, seed)

    def std_ratios(self, pipeline: Pipeline, seed: int = 0) -> list[float]:
        """Return the std of noise by the scene's ISO over that of the real noise: of all values, then by channel."""
        pixels = self.pixels(seed)
        fake = pixels.simulate(pipeline.rendering, pipeline.numbers(parse_scene(self.scene).iso), pipeline.shape)
        made, real = fake - pixels.clean, pixels.noisy - pixels.clean
        return [float(made.std() / real.std()), *(made.std(0) / real.std(0)).tolist()]


def sample_windows(pairs: Sequence[ImagePair], num_workers: int) -> list[Window]:
    """Read parts of image pairs, evenly spaced over the scenes, and over the files of each."""
    scenes: dict[Path, list[list[ImagePair]]] = {}
    for of_file in by_file(pairs):
        scenes.setdefault(of_file[0].folder, []).append(of_file)
    files = max(1, FILES // len(scenes))
    most = max(1, WINDOWS // len(scenes))
    chosen = [one for of_scene in scenes.values() for one in evenly_spaced(of_scene, files)]

    def varied(samples: list[Sample]) -> list[Sample]:
        for blank in (sample for sample in samples if is_blank(sample.noisy)):
            name_left_out(blank.pair.label)
        return [sample for sample in samples if not is_blank(sample.noisy)]

    def read(of_file: list[ImagePair]) -> list[Window]:
        share = -(-most // min(files, len(scenes[of_file[0].folder])))
        return [
            window
            for sample in varied(read_samples(evenly_spaced(of_file, share)))
            for window in _cut(sample.pair, sample.clean, sample.noisy, -(-share // min(share, len(of_file))))
        ]

    bar = tqdm(
        in_threads(read, chosen, num_workers), total=len(chosen), desc="read", unit="file", leave=False, disable=None
    )
    return [window for of_file in bar for window in of_file]


def read_reduced(
    folder: str | Path | None, camera: str, frame: Sequence[int] | None, held_out: Container[str]
) -> tuple[list[Reduced], list[Reduced]]:
    """Read a camera's reduced frames, one pair of each scene: those to fit to, and those held out.

    folder: None: there are none. frame: height and width of the frames before; None: those of SIDD's phones. Raises
    ValueError for a camera whose frames' size is not known, and for images that cannot be read.
    """
    found: tuple[list[Reduced], list[Reduced]] = ([], [])
    if folder is None:
        return found
    size = tuple(frame) if frame else FRAMES.get(camera)
    if size is None:
        raise ValueError(f"camera {camera}: the size of its frames is not known, expected one of {', '.join(FRAMES)}")
    pairs = {pair.folder: pair for pair in reversed(find_pairs(find_scenes(folder, camera)))}
    for scene, pair in sorted(pairs.items()):
        clean, noisy = read_pair(pair)
        found[scene.name in held_out].append(Reduced(scene.name, planes(clean), planes(noisy), (size[0], size[1])))
    return found


def _cut(pair: ImagePair, clean: np.ndarray, noisy: np.ndarray, most: int) -> list[Window]:
    """Cut windows out of an image, evenly spaced."""
    return [Window(pair, planes(clean[inside]), planes(noisy[inside])) for inside in window_places(clean.shape, most)]


def window_places(shape: Sequence[int], most: int) -> list[tuple[slice, slice]]:
    """Choose windows of an image (H, W, ...), evenly spaced, that begin at even rows and columns."""
    height, width = (min(side, WINDOW) for side in shape[:2])
    corners = [
        (top, left)
        for top in range(0, shape[0] - height + 1, WINDOW)
        for left in range(0, shape[1] - width + 1, WINDOW)
    ]
    return [(slice(top, top + height), slice(left, left + width)) for top, left in evenly_spaced(corners, most)]


def planes(image: np.ndarray) -> Tensor:
    """Turn an image into a tensor: (H, W, C) -> (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def identify(windows: Sequence[Window], num_workers: int) -> Identification:
    """Identify the rendering of windows. Raises ValueError as `noise.identify.find_rendering`."""
    images = [NoisyImage(window.noisy, window.pair.folder.name, window.frame) for window in windows]
    return find_rendering(images, num_workers)


def fit_pipeline(
    camera: str,
    windows: Sequence[Window],
    found: Identification,
    reduced: Sequence[Reduced] = (),
    num_workers: int = 2,
    seed: int = 0,
) -> Pipeline:
    """Fit a camera's pipeline.

    windows: native parts of image pairs, of one or several scenes; found: their rendering, by `identify`. reduced:
    further scenes, which add the noise of their ISO and illuminant.
    """
    rendering = replace(found.rendering, red=max(found.phases, key=found.phases.count))
    rendering = with_white(rendering, [window.noisy for window in windows] + [one.noisy for one in reduced])
    names = list(dict.fromkeys(window.pair.folder.name for window in windows))
    pairs = [
        Pair(window.clean[None] / 255, window.noisy[None] / 255, phase) for window, phase in zip(windows, found.phases)
    ]
    scenes = [names.index(window.pair.folder.name) for window in windows]
    balances = [found.balances.get(name, torch.ones(2)) for name in names]

    def measure(rendering: Rendering, shape: Tensor) -> list[Tensor]:
        def of_scene(scene: int) -> Tensor:
            own = rendering.balanced(balances[scene])
            return estimate_noise(own, [pair for pair, number in zip(pairs, scenes) if number == scene], shape, seed)

        return list(in_threads(of_scene, range(len(names)), num_workers))

    # The shape is fitted at numbers without one; then the numbers are measured with it.
    numbers = torch.stack(measure(rendering, torch.zeros(4, 3, len(SNR_KNOTS))))
    shape, over, out = fit_shape([rendering.balanced(of) for of in balances], pairs, scenes, numbers, seed)
    rendering = replace(rendering, overexposed=over, out_of_gamut=out)
    known = [_scene_noise(*of) for of in zip(names, balances, measure(rendering, shape))]

    def measure_reduced(one: Reduced) -> Tensor:
        return estimate_noise_of_reduced(rendering, one.pixels(seed), shape)

    work = in_threads(measure_reduced, reduced, num_workers)
    bar = tqdm(work, total=len(reduced), desc="reduced", unit="scene", leave=False, disable=None if reduced else True)
    known += [_scene_noise(one.scene, torch.ones(2), of) for one, of in zip(reduced, bar)]
    remark = f"{len(names)} scenes, {len(windows)} windows" + (f", {len(reduced)} reduced frames" if reduced else "")
    return Pipeline(camera, rendering, tuple(known), shape, tuple(found.error.tolist()), remark)


class Seen(NamedTuple):
    """Noise measured on one noisy image: (3, 2) numbers, the first red pixel, (2,) factors of its light."""

    numbers: Tensor
    phase: Phase
    balance: Tensor


def look_at(pipeline: Pipeline, noisy: Tensor, clean: Tensor | None = None) -> Seen:
    """Estimate the noise of a noisy image, with its clean image or without: (3, H, W) in [0, 1].

    Large images are looked at in their middle. Raises ValueError for sides below `LEAST_SIDE` pixels.
    """
    if min(noisy.shape[1:]) < LEAST_SIDE:
        raise ValueError(f"a noisy image of {noisy.shape[1]}x{noisy.shape[2]}, expected {LEAST_SIDE} pixels a side")
    top, left = (max(side - LOOKED_AT, 0) // 4 * 2 for side in noisy.shape[1:])
    middle = (slice(None), slice(top, top + LOOKED_AT), slice(left, left + LOOKED_AT))
    image, rendering = noisy[middle][None], pipeline.rendering
    phase = rendering.find_phase(image)
    balances = torch.tensor([scene.balance for scene in pipeline.scenes])
    balance = torch.ones(2)
    if (balances.amax(0) / balances.amin(0)).max() > SAME_LIGHT:
        patch = patch_of((image[0] * 255).round().long(), NoisyImage((image[0] * 255).byte(), "", ""))
        balance = find_balance(rendering, patch, phase, evenly_spaced(list(balances), 3))
    own = rendering.balanced(balance)
    if clean is None:
        return Seen(estimate_noise_blindly(own, [(image, phase)], pipeline.shape), phase, balance)
    pair = Pair(clean[middle][None], image, phase)
    return Seen(estimate_noise(own, [pair], pipeline.shape), phase, balance)


def _scene_noise(name: str, balance: Tensor, numbers: Tensor) -> SceneNoise:
    scene, (red, blue) = parse_scene(name), balance.tolist()
    return SceneNoise(scene.iso, scene.illuminant, (red, blue), tuple((shot, read) for shot, read in numbers.tolist()))


def with_white(rendering: Rendering, noisy: Sequence[Tensor]) -> Rendering:
    """Find the sensor's white level, at which it gives all colours the same value; guess what levels 0 and 255 mean.

    noisy: (3, H, W) uint8 each. Saturated pixels have one colour, in which one or two channels are clipped and the
    others tell the white level. Without any such colour white is what renders all channels at 255 or more.
    """
    per_white = torch.linalg.inv(rendering.matrix).sum(1)  # linear light of raw (1, 1, 1)
    white = float(rendering.matrix.sum(1).max())
    levels = torch.cat([image.flatten(1) for image in noisy], 1).long()
    levels = levels[:, (levels == 255).any(0) & (levels < 255).any(0)]
    colours, counts = torch.unique(levels[0] * 65536 + levels[1] * 256 + levels[2], return_counts=True)
    if len(counts) and counts.max() >= SATURATED:
        commonest = int(colours[counts.argmax()])
        colour = torch.tensor([commonest >> 16, commonest >> 8 & 255, commonest & 255])
        values = rendering.light[colour] / per_white
        told = values[colour < 255]
        clipped_above = (per_white[colour == 255] * told.mean() >= 1 - AGREE).all()
        agree = told.max() - told.min() <= AGREE * told.mean()
        if len(told) == 1:  # nothing to agree with
            alike = levels[:, ((levels == 255) == (colour == 255)[:, None]).all(0)][colour < 255]
            counts, level = torch.bincount(alike[0], minlength=256), int(colour[colour < 255])
            agree = counts[level] >= SPIKE * counts[max(level - AROUND, 0) : level + AROUND + 1].median()
        if clipped_above and agree:
            white = float(told.mean())
    overexposed = 1 + (per_white * white - 1).clamp(min=0) / 2
    return replace(rendering, white=white, overexposed=overexposed, out_of_gamut=torch.full((3,), OUT_OF_GAMUT))
