"""Noise models under one interface, so that all of them are judged alike: the generator, references, other people's."""

import random
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from data.image_sets import Sample
from evaluation.fitting import Baselines, nearest_iso
from evaluation.quick_test import draw_z, estimate_gain, synthesize
from models.baselines import Gaussian
from utils.image import read_image
from utils.metrics import noise_of

FITTED = {
    "AWGN-ISO": "awgn",
    "heteroscedastic": "heteroscedastic",
    "coloured": "coloured",
}  # name -> field of Baselines
NECA = ("NeCA-W", "NeCA-S")
MODEL_NAMES = (*NECA, "coloured", "heteroscedastic", "AWGN-ISO", "AWGN-image", "real")

DESCRIPTIONS = {
    "NeCA-W": "the generator, with the gain that GENet estimates from the real noisy image",
    "NeCA-S": "the generator's signal-independent noise, at the real noise's std or --noise_level",
    "coloured": "Gaussian noise with mean and std by intensity, spatial and channel covariance of the training images "
    "of the ISO",
    "heteroscedastic": "independent Gaussian noise with mean and std by intensity of the training images of the ISO",
    "AWGN-ISO": "white Gaussian noise with the std of the training images of the ISO",
    "AWGN-image": "white Gaussian noise with the true std of this very image",
    "real": "real noise of another frame of the same scene: the floor that no model can get below",
}


class NoiseModel(Protocol):
    """A named source of fake noise; `random` when it has a new one for every draw."""

    name: str
    random: bool

    def noise(self, sample: Sample, draw: int) -> np.ndarray | None:
        """Make noise for a clean image: -> (H, W, 3) in grey levels, not clipped; None: there is none for it."""


class Neca:
    """The generator: NeCA-W with GENet's gain, or NeCA-S at a level in grey levels (None: the real noise's std)."""

    random = True

    def __init__(self, networks: dict[str, nn.Module], neca_type: str, seed: int, noise_level: float | None = None):
        self.name = f"NeCA-{neca_type}"
        self.networks, self.seed, self.noise_level = networks, seed, noise_level
        self.needs_gain = neca_type == "W"

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        gain, level = None, self.noise_level
        if self.needs_gain:
            gain = estimate_gain(self.networks["E"], sample.noisy)
        elif level is None:
            level = float(noise_of(sample.noisy, sample.clean).std())
        z = draw_z(*sample.clean.shape[:2], self.seed, f"{sample.scene.name} {sample.name} {draw}")
        return synthesize(self.networks, sample.clean, z, gain, level).sdnc[0].permute(1, 2, 0).cpu().numpy() * 255


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

    They are looked for as <folder>/<scene>/noisy/<name>, <folder>/<scene>/<name> and <folder>/<name>.
    """

    random = False

    def __init__(self, name: str, folder: str | Path):
        self.name, self.folder = name, Path(folder)
        if not self.folder.is_dir():
            raise ValueError(f"{self.folder}: no such folder; change --fake_dir")

    def find(self, sample: Sample) -> Path:
        """Locate the fake of an image. Raises ValueError that says where it was looked for."""
        file = sample.noisy_file.name
        places = [self.folder / sample.scene.name / "noisy", self.folder / sample.scene.name, self.folder]
        for place in places:
            if (place / file).is_file():
                return place / file
        raise ValueError(
            f"{self.folder}: has no {file} (scene {sample.scene.name}); expected it there, in {places[1].name}/ or in "
            f"{places[1].name}/noisy/; make it, or change --fake_dir, --split or --max_images"
        )

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        path = self.find(sample)
        image = read_image(path)
        if sample.box is not None:
            image = image[sample.box]
        if image.shape != sample.clean.shape:
            sizes = [f"{shape[0]}x{shape[1]}" for shape in (image.shape, sample.clean.shape)]
            raise ValueError(f"{path}: {sizes[0]} pixels, but {sample.noisy_file.name} has {sizes[1]}")
        return noise_of(image, sample.clean)
