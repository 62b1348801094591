"""Noise models under one interface, so that all of them are judged alike: the generator, references, other people's."""

import random
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from data.image_sets import Frame, Sample
from metrics import noise_of
from models.generator import NoiseGenerator
from models.noise_models import Gaussian
from synthesis.fitting import Baselines, nearest_iso
from utils.image import png_size, read_image

FITTED = {
    "AWGN-ISO": "awgn",
    "heteroscedastic": "heteroscedastic",
    "coloured": "coloured",
}  # name -> field of Baselines
NECA = ("NeCA-W", "NeCA-S")
MODEL_NAMES = (*NECA, "coloured", "heteroscedastic", "AWGN-ISO", "AWGN-image", "real")

DESCRIPTIONS = {
    "NeCA-W": "the generator, with the gain that GENet estimates from the real noisy image",
    "NeCA-S": "the generator's signal-independent noise; before NCNet it has the real noise's std, or --noise_level",
    "coloured": "Gaussian noise with mean and std by intensity, spatial and channel covariance of the training images "
    "of the ISO",
    "heteroscedastic": "independent Gaussian noise with mean and std by intensity of the training images of the ISO",
    "AWGN-ISO": "white Gaussian noise with the std of the training images of the ISO",
    "AWGN-image": "white Gaussian noise with the true std of this very image",
    "real": "real noise of another frame of the same scene: the floor that no model can get below",
}


def shown_name(model: str) -> str:
    """What tables and plots call a model: `real` beside the real noise itself would confuse."""
    return "real (floor)" if model == "real" else model


class NoiseModel(Protocol):
    """A named source of fake noise; `random` when it has a new one for every draw."""

    name: str
    random: bool

    def noise(self, sample: Sample, draw: int) -> np.ndarray | None:
        """Make noise for a clean image: -> (H, W, 3) in grey levels, not clipped; None: there is none for it."""


class Neca:
    """The generator: NeCA-W with GENet's gain, or NeCA-S at a level in grey levels (None: the real noise's std)."""

    random = True

    def __init__(self, generator: NoiseGenerator, neca_type: str, seed: int, noise_level: float | None = None):
        self.name = f"NeCA-{neca_type}"
        self.generator, self.seed, self.noise_level = generator, seed, noise_level
        self.strength = self._gain if neca_type == "W" else self._level
        self.last: tuple[Sample | None, dict[str, float]] = (None, {})  # the draws of a sample share its strength

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        if self.last[0] is not sample:
            self.last = (sample, self.strength(sample))
        key = f"{sample.scene.name} {sample.name} {draw}"
        made = self.generator.synthesize(sample.clean, **self.last[1], seed=self.seed, key=key, maps=True)
        return made.sdnc * 255

    def _gain(self, sample: Sample) -> dict[str, float]:
        return {"gain": self.generator.estimate_gain(sample.noisy)}

    def _level(self, sample: Sample) -> dict[str, float]:
        level = self.noise_level
        return {"noise_level": float(noise_of(sample.noisy, sample.clean).std()) if level is None else level}


class Fitted:
    """A reference model fitted on training images, the one of the image's ISO or of the nearest there is."""

    random = True

    def __init__(self, name: str, fitted: dict[int, Baselines], seed: int):
        self.name, self.fitted, self.seed = name, fitted, seed

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        baselines = self.fitted[nearest_iso(self.fitted, sample.scene.iso)]
        return _drawn(getattr(baselines, FITTED[self.name]), sample, f"{self.seed} {self.name}", draw)


class GaussianOfImage:
    """White Gaussian noise of the real noise's std, which only an oracle knows."""

    name, random = "AWGN-image", True

    def __init__(self, seed: int):
        self.seed = seed

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        std = float(noise_of(sample.noisy, sample.clean).std()) / 255
        return _drawn(Gaussian(std), sample, f"{self.seed} {self.name}", draw)


def _drawn(model, sample: Sample, stream: str, draw: int) -> np.ndarray:
    source = random.Random(f"{stream} {sample.scene.name} {sample.name} {draw}")
    generator = torch.Generator().manual_seed(source.getrandbits(63))
    clean = torch.from_numpy(sample.clean).permute(2, 0, 1)[None].float().div(255)
    return model.noise(clean, generator)[0].permute(1, 2, 0).numpy() * 255


class OtherFrame:
    """The noise of another frame of the same scene: what a perfect model would score."""

    name, random = "real", False

    def noise(self, sample: Sample, draw: int) -> np.ndarray | None:
        return sample.other_noise


class FromFolder:
    """Fake noisy images that somebody else has made, named as the real noisy ones: 8-bit, so rounded already.

    They are looked for as <folder>/<scene>/noisy/<name>, <folder>/<scene>/<name> and, unless two scenes have a file of
    that name, <folder>/<name>: all of them, before the work begins. Raises ValueError that says where it has looked,
    and for an image of another size.
    """

    random = False

    def __init__(self, name: str, folder: str | Path, frames: list[Frame]):
        self.name, self.folder = name, Path(folder)
        scenes: dict[str, set[str]] = {}
        for frame in frames:
            scenes.setdefault(frame.pair[1].name, set()).add(frame.scene.name)
        self.files = {frame.pair[1]: self._find(frame, len(scenes[frame.pair[1].name]) == 1) for frame in frames}
        self.last: tuple[Path | None, np.ndarray | None] = (None, None)  # a whole frame gives many samples

    def _find(self, frame: Frame, flat: bool) -> Path:
        file, scene = frame.pair[1].name, frame.scene.name
        places = [self.folder / scene / "noisy", self.folder / scene, *([self.folder] if flat else [])]
        found = next((place / file for place in places if (place / file).is_file()), None)
        if found is None:
            raise ValueError(
                f"{self.folder}: has no {file} of scene {scene}; expected it in {scene}/"
                + (" or in the folder itself" if flat else "; several scenes have a file of this name")
                + "; make it, or change --fake_dir, --split or --max_images"
            )
        sizes = [png_size(path) for path in (found, frame.pair[1])]
        if sizes[0] != sizes[1]:
            shown = ["no whole PNG" if size is None else f"{size[0]}x{size[1]} pixels" for size in sizes]
            raise ValueError(f"{found}: {shown[0]}, but the real noisy image has {shown[1]}; change --fake_dir")
        return found

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        path = self.files[sample.noisy_file]
        if self.last[0] != path:
            self.last = (path, read_image(path))
        image = self.last[1] if sample.box is None else self.last[1][sample.box]
        return noise_of(image, sample.clean)
