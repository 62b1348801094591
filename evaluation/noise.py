"""Judge noise models: their fakes against the real noise of the same images, image by image, in all the metrics."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from data.pairs import ImagePair, Sample, by_file, read_samples
from evaluation.c2st import TwoSampleTests
from evaluation.noise_metrics import METRICS, Comparison, Reference, measure
from evaluation.noise_models import fake_noise
from evaluation.noise_pictures import REAL, Evidence
from noise.interface import NoiseModel
from utils.workers import in_threads

COLUMNS = ("image", "camera", "iso", "model", "draw", *(name for name in METRICS if METRICS[name].tabulated))


@dataclass
class Results:
    """A row per image, model and draw, with `COLUMNS`, nlf_mean and score; the plots' evidence by (ISO, noise).

    c2st: of all models, if it was asked for.
    """

    rows: list[dict] = field(default_factory=list)
    evidence: dict[tuple[int, str], Evidence] = field(default_factory=dict)
    c2st: TwoSampleTests | None = None


class Fake(NamedTuple):
    """One fake to be measured."""

    sample: Sample
    reference: Reference
    is_first: bool  # of its sample
    model: str
    draw: int
    noise: np.ndarray  # (H, W, C) in grey levels, not clipped


def evaluate(pairs: list[ImagePair], models: list[NoiseModel], draws: int, seed: int, num_workers: int) -> Results:
    """Compare the models on all images.

    Reading and measuring are done in threads, the models run in this one (they may use a GPU); a few images are in
    memory at a time. Raises ValueError for an image that cannot be read and for a model that gives numbers that are
    not finite.
    """
    results = Results()
    with_other = any(model.name == "real" for model in models)

    def read(windows: list[ImagePair]) -> list[tuple[Sample, Reference]]:
        return [
            (sample, Reference(sample.clean, sample.noisy, sample.pair.origin, sample.pair.is_cut))
            for sample in read_samples(windows, with_other)
        ]

    with tqdm(total=len(pairs), desc="evaluate", unit="image", disable=None) as bar:
        samples = (sample for batch in in_threads(read, by_file(pairs), num_workers) for sample in batch)
        for row, evidence, is_first in in_threads(_measure_fake, _fakes(samples, models, draws, seed), num_workers):
            results.rows.append(row)
            for key, description, noise in evidence:
                results.evidence.setdefault(key, Evidence()).add(description, noise)
            bar.update(is_first)
    if not results.rows:
        raise ValueError(f"{', '.join(model.name for model in models)}: no noise for any of the images")
    return results


def _fakes(
    samples: Iterable[tuple[Sample, Reference]], models: list[NoiseModel], draws: int, seed: int
) -> Iterator[Fake]:
    for sample, reference in samples:
        is_first = True
        for model in models:
            for draw in range(draws if model.is_random else 1):
                noise = fake_noise(model, sample, seed, draw)
                if noise is None:
                    continue
                if not np.isfinite(noise).all():
                    raise ValueError(f"{model.name} gives noise that is not finite on {sample.pair.label}")
                yield Fake(sample, reference, is_first, model.name, draw, noise)
                is_first = False


def _measure_fake(fake: Fake) -> tuple[dict, list[tuple], bool]:
    """Return the row, what the plots take of the fake and once of the real noise, and `is_first`."""
    scene, reference, comparison = fake.sample.pair.scene, fake.reference, Comparison(fake.reference, fake.noise)
    row = {"image": fake.sample.pair.label, "camera": scene.camera, "iso": scene.iso}
    row |= {"model": fake.model, "draw": fake.draw} | measure(comparison)
    evidence = [((scene.iso, REAL), reference.description, reference.noise)] if fake.is_first else []
    return row, [*evidence, ((scene.iso, fake.model), comparison.made, comparison.rounded)], fake.is_first
