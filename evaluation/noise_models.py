"""Make the noise models of an evaluation, with references and fakes from folders, and say which are absent and why."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.boxes import Box
from data.mosaic import Origins, files_by_iso
from data.pairs import ImagePair, Sample, by_file
from data.sidd import parse_scene
from evaluation.noise_pictures import REAL
from inference.pretrained import MissingWeightsError
from noise.camera import AbsentError
from noise.copula import CopulaFit
from noise.copula_fit import fit_copula
from noise.fitting import Fit, fit_noise, read_windows
from noise.interface import Images, NoiseModel, constant
from noise.kinds import KINDS, Sources
from utils.command import printable
from utils.files import sha256_of
from utils.image import png_size, read_image


@dataclass(frozen=True, eq=False)
class OtherFrame(NoiseModel):
    """The noise of another frame of the same scene: what a perfect model would score."""

    is_random = False

    def noise(self, images: Images, white: Tensor) -> Tensor | None:
        """Return the other frame's noise; None if there is no such frame."""
        return images.other_noise


@dataclass(frozen=True, eq=False)
class FromFolder(NoiseModel):
    """Fake noisy images that somebody else has made: 8-bit, so rounded already; files and boxes by image."""

    files: Mapping[str, Path]
    boxes: Mapping[str, Box]
    channels: int
    read = staticmethod(lru_cache(maxsize=4)(read_image))  # a whole frame gives many images
    is_random = False

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Subtract the clean images from the fakes."""
        fakes = [self.boxes[name].of(self.read(self.files[name], self.channels)) for name in images.names]
        return to_tensor(np.stack(fakes)) - images.clean


@dataclass(frozen=True)
class ModelChoice:
    """Choice of the noise models to make, and what they are made from.

    names: of `judged_models`; None: all that can be had. noise_level: of NeCA-S in grey levels; None: each image's true
    std. training: scenes that the Gaussian references are fitted on, `fit_images` crops of each ISO (0: all), with
    `num_workers` threads. origins: of images that are not cut from frames, by `data.mosaic.find_origins`.
    """

    camera: str
    names: Sequence[str] | None
    pretrain_dir: str | Path
    noise_level: float | None
    training: Sequence[Path]
    fit_images: int
    num_workers: int
    origins: Origins


@dataclass
class NoiseModels:
    """Noise models to compare, the hashes of the weights by file, and remarks for the report."""

    models: list[NoiseModel] = field(default_factory=list)
    weights: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


@dataclass
class _Training:
    """The fits to the training scenes, each made once, and what they were made of."""

    choice: ModelChoice
    channels: int
    remarks: list[str]

    @cached_property
    def pairs(self) -> tuple[dict[int, list[list[ImagePair]]], str]:
        """Find the training images by ISO and file, and say how many there are."""
        if not self.choice.training:
            camera = self.choice.camera
            raise AbsentError(f"there are no scenes of {camera} in the training list that are not evaluated on")
        folders = self.choice.training
        found = files_by_iso(folders, self.choice.fit_images, self.choice.origins, self.channels)
        scenes = Counter(parse_scene(folder.name).iso for folder in folders)
        counts = [f"{sum(map(len, of))} of ISO {iso} ({scenes[iso]} scenes)" for iso, of in found.items()]
        return found, ", ".join(counts)

    def fits(self) -> Mapping[int, Fit]:
        """Fit Gaussian noise."""
        found, _ = self.pairs
        return fit_noise(found, read_windows, self.choice.num_workers)

    def copula(self) -> CopulaFit:
        """Fit a copula."""
        found, _ = self.pairs
        return fit_copula(found, read_windows, self.choice.num_workers, self.choice.camera)


class JudgedModel(NamedTuple):
    """A noise model that an evaluation knows by name: what it is, and how many values of the noisy image it gets."""

    description: str
    seen: int


FLOOR = JudgedModel("real noise of another frame of the same scene: the floor that no model can get below", 0)


def judged_models() -> dict[str, JudgedModel]:
    """List the models in the order of reports: all of `KINDS`, and the floor."""
    return {kind.name: JudgedModel(kind.description, kind.seen) for kind in KINDS.values()} | {"real": FLOOR}


def make_noise_models(
    choice: ModelChoice, pairs: list[ImagePair], fakes: Sequence[NoiseModel], device: torch.device
) -> NoiseModels:
    """Make the noise models for images of a camera; fakes: others to compare with them, such as `find_fakes` gives.

    Unless they were asked for by name, models that lack something are left out, and a remark says why. Raises
    ValueError for them otherwise, and always for what is damaged.
    """
    found = NoiseModels()
    absent: dict[str, list[str]] = {}  # models by what they lack
    training = _Training(choice, pairs[0].channels, found.remarks)
    sources = Sources(choice.pretrain_dir, choice.camera, device, pairs[0].channels, training.fits, training.copula)
    by_name = {kind.name: kind for kind in KINDS.values()}
    fitted = []
    for name in [name for name in judged_models() if name in (choice.names or judged_models())]:
        try:
            if name == "real":
                found.models.append(_other_frame(pairs))
                continue
            noise = by_name[name].make(sources)
        except (AbsentError, MissingWeightsError) as error:
            if choice.names:
                raise
            absent.setdefault(str(error), []).append(name)
            continue
        strength = by_name[name].strength(noise)
        if name == KINDS["neca-s"].name and choice.noise_level is not None:
            strength = constant(choice.noise_level / 255)
        found.models.append(replace(noise.model(strength), name=name))
        found.weights |= {str(path): sha256_of([path]) for path in noise.files.values()}
        if by_name[name].needs == "images" and not noise.files:
            fitted.append(name)
    if fitted:
        found.remarks.append(f"{', '.join(fitted)}: fitted on training crops, {training.pairs[1]}.")
    found.remarks += [f"Without {', '.join(names)}: {reason}." for reason, names in absent.items()]
    found.models.extend(fakes)
    if not found.models:
        raise ValueError("no noise model can be had: " + " ".join(found.remarks))
    return found


def _other_frame(pairs: list[ImagePair]) -> NoiseModel:
    if not any(pair.other for pair in pairs):
        raise AbsentError("no scene to evaluate on has a second frame, whose noise it takes")
    return OtherFrame(name="real")


def split_name(given: str) -> tuple[str, str]:
    """Split NAME=DIR or DIR into (name, folder); a folder that exists may have "=" in its name."""
    if "=" in given and not os.path.exists(given):
        name, _, folder = given.partition("=")
        return name, folder
    return Path(given).resolve().name, given


def find_fakes(given: Sequence[str], pairs: list[ImagePair]) -> list[NoiseModel]:
    """Find the fakes of all images in folders, given as DIR or NAME=DIR, before the work begins.

    They have the names of the real noisy images, as <folder>/<scene>/noisy/<name>, <folder>/<scene>/<name> or, unless
    two scenes have a file of that name, <folder>/<name>. Raises ValueError for what is no folder, for names that are
    empty or taken, for a fake that is missing, saying where it has looked, and for one of another size.
    """
    found: dict[str, NoiseModel] = {}
    for words in given:
        name, folder = split_name(words)
        if not os.path.isdir(folder):
            raise ValueError(f"{words}: {folder or 'nothing'} is no folder; expected DIR or NAME=DIR")
        if not printable(name).strip() or name in (*judged_models(), REAL) or printable(name) in found:
            raise ValueError(f"{words}: {name!r} cannot be its name or is taken; expected another, as NAME=DIR")
        found[printable(name)] = _from_folder(printable(name), Path(folder), pairs)
    return list(found.values())


def _from_folder(name: str, folder: Path, pairs: list[ImagePair]) -> FromFolder:
    scenes: dict[str, set[str]] = {}
    for pair in pairs:
        scenes.setdefault(pair.noisy.name, set()).add(pair.folder.name)
    files: dict[str, Path] = {}
    for of_file in by_file(pairs):
        file = _find_fake(folder, of_file[0], len(scenes[of_file[0].noisy.name]) == 1)
        files |= {pair.label: file for pair in of_file}
    return FromFolder(files, {pair.label: pair.box for pair in pairs}, pairs[0].channels, name=name)


def _find_fake(folder: Path, pair: ImagePair, flat: bool) -> Path:
    file, scene = pair.noisy.name, pair.folder.name
    places = [folder / scene / "noisy", folder / scene, *([folder] if flat else [])]
    found = next((place / file for place in places if (place / file).is_file()), None)
    if found is None:
        beside = " or in the folder itself" if flat else "; several scenes have a file of this name"
        raise ValueError(f"{folder}: has no {file} of scene {scene}; expected it in {scene}/{beside}")
    size = png_size(found)
    if size != pair.size:
        shown = "no whole PNG" if size is None else f"{size[0]}x{size[1]} pixels"
        raise ValueError(f"{found}: {shown}, but the real noisy image has {pair.size[0]}x{pair.size[1]} pixels")
    return found


def fake_noise(model: NoiseModel, sample: Sample, seed: int, draw: int) -> np.ndarray | None:
    """Make a model's noise for an image, (H, W, C) in grey levels, not clipped; None if it has none for it.

    It follows from the seed, the image's name and the number of the draw alone.
    """
    images = Images(
        to_tensor(sample.clean[None]),
        [sample.pair.scene.camera],
        [sample.pair.scene.iso],
        to_tensor(sample.noisy[None]),
        names=[sample.pair.label],
        other_noise=None if sample.other_noise is None else to_tensor(sample.other_noise[None]),
        origins=[sample.pair.origin],
        illuminants=[sample.pair.scene.illuminant],
    )
    height, width, channels = sample.clean.shape
    white = model.white_noise(height, width, seed, f"{sample.pair.label.replace('/', ' ')} {draw}", channels)
    noise = model.noise(images, white)
    if noise is None:
        return None
    grey_levels = noise[0].permute(1, 2, 0).contiguous().numpy() * 255
    return grey_levels if model.is_random else np.rint(grey_levels).astype(np.int16)  # files hold whole grey levels


def to_tensor(images: np.ndarray) -> Tensor:
    """Turn images in grey levels into floats in [0, 1] units: (N, H, W, C) -> (N, C, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div(255)
