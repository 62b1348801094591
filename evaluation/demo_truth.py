"""A generator of the demo camera against the truth: the simulator itself."""

from collections.abc import Iterator

import numpy as np
import torch

from data.demo.options import DemoOptions
from data.demo.scenes import all_scenes
from data.demo.statistics import noise_statistics
from metrics import kld_exact, noise_of
from models.generator import NoiseGenerator
from utils.image import to_uint8

STRUCTURE = ("lag-1 h", "lag-1 v", "lag-(1,1)", "rg", "gb", "rb")


def compare_with_truth(
    generator: NoiseGenerator, options: DemoOptions, seeds: range, side: int | None = None
) -> Iterator[dict]:
    """Synthesise noise on the demo camera's test scenes -> rows {iso, seed, model, std, lag-1 h, ..., kld_exact}.

    Models: `real`, the scene's first frame; `redraw`, another one, the floor of every number; `NeCA-W`; `white`,
    Gaussian noise with the real noise's std. kld_exact is against `real`. `side` cuts the scenes to their middle.
    """
    for scene in all_scenes(options):
        if scene.half != "test":
            continue
        clean, real, redraw = (_middle(image, side) for image in (scene.clean(), scene.noisy(0), scene.noisy(1)))
        gain = generator.estimate_gain(real)
        truth = noise_of(real, clean)
        for seed in seeds:
            fake = generator.synthesize(clean, gain, seed=seed, key=scene.name)
            white = clean / 255 + truth.std() / 255 * torch.randn(clean.shape, generator=_generator(seed)).numpy()
            made = {"real": real, "redraw": redraw, "NeCA-W": fake, "white": to_uint8(white)}
            for model, image in made.items():
                noise = noise_of(image, clean)
                divergence = {"kld_exact": kld_exact(truth, noise)}
                yield {"iso": scene.iso, "seed": seed, "model": model} | noise_statistics(noise) | divergence


def _middle(image: np.ndarray, side: int | None) -> np.ndarray:
    if side is None:
        return image
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mean_of(rows: list[dict], column: str, **wanted) -> float:
    """Average a column over the rows that have all the wanted values."""
    return float(np.mean([row[column] for row in rows if all(row[name] == value for name, value in wanted.items())]))
