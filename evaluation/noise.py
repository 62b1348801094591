"""Judge noise models: their fakes against the real noise of the same images, image by image, in all the metrics."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import metrics
from data.image_sets import Frame, Sample, read_samples
from evaluation.noise_models import REAL, fake_noise
from models.noise_models import NoiseModel
from utils.workers import in_threads

METRICS = ("kld", "kld_naflow", "kld_flow", "kld_exact", "akld", "acf", "psd", "xcorr", "nlf", "std", "bias")
COLUMNS = ("image", "camera", "iso", "model", "draw", *METRICS)
EXAMPLE_SIDE = 160  # pixels of the pictures of noise


class Description(NamedTuple):
    """What the distances and the plots need of one noise."""

    counts: np.ndarray  # (511,) pixels of each grey-level difference
    autocorrelation: np.ndarray  # (3, 9, 9)
    spectrum: np.ndarray  # (3, 32) dB
    channels: np.ndarray  # (3, 3)
    level_sums: np.ndarray  # (3, 3, 16)


def describe(noise: np.ndarray, clean_uint8: np.ndarray) -> Description:
    """Describe noise in whole grey levels, (H, W, 3)."""
    return Description(
        metrics.count_levels(noise),
        metrics.autocorrelation(noise),
        metrics.spectrum(noise),
        metrics.channel_correlation(noise),
        metrics.noise_level_sums(noise, clean_uint8),
    )


class Reference:
    """The real noise of an image pair, (H, W, 3) uint8 each, and its description, which all fakes share."""

    def __init__(self, clean: np.ndarray, noisy: np.ndarray):
        self.clean = clean
        self.noise = metrics.noise_of(noisy, clean)
        self.description = describe(self.noise, self.clean)


def measure(reference: Reference, fake_noise: np.ndarray) -> tuple[dict[str, float], Description, np.ndarray]:
    """Measure fake noise by all metrics: (H, W, 3) in grey levels, of an image that is neither clipped nor rounded.

    Every metric takes it clipped and rounded as its definition says. -> values of `METRICS` and nlf_mean, a
    description of the fake as an 8-bit image has it, and that noise in whole grey levels.
    """
    real, clean, described = reference.noise, reference.clean, reference.description
    image = np.clip(clean + fake_noise, 0, 255)
    clipped = image - clean
    rounded = metrics.noise_of(np.rint(image).astype(np.uint8), clean)
    made = describe(rounded, clean)
    level_functions = [metrics.noise_level_function(each.level_sums) for each in (described, made)]
    values = (
        metrics.kld(real, rounded),
        metrics.kld_naflow(real, clipped),
        metrics.kld_flow(real, fake_noise),
        metrics.kld_exact(real, rounded),
        metrics.akld(real, clipped),
        metrics.acf_distance(described.autocorrelation, made.autocorrelation),
        metrics.psd_distance(described.spectrum, made.spectrum),
        metrics.xcorr_distance(described.channels, made.channels),
        metrics.nlf_distance(*level_functions),
        metrics.std(real, rounded),
        metrics.bias(real, rounded),
    )
    return dict(zip(METRICS, values)) | {"nlf_mean": metrics.nlf_mean_distance(*level_functions)}, made, rounded


@dataclass
class Evidence:
    """Sums over images that the plots are drawn from, of one noise at one ISO."""

    images: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(511, np.int64))
    autocorrelation: np.ndarray = field(default_factory=lambda: np.zeros((9, 9)))  # channels' mean
    spectrum: np.ndarray = field(default_factory=lambda: np.zeros(metrics.spectrum_frequencies().shape))  # same, dB
    level_sums: np.ndarray = field(default_factory=lambda: np.zeros((3, 3, 16)))
    example: np.ndarray | None = None  # the first image's noise, its middle, (h, w, 3) in grey levels

    def add(self, description: Description, noise: np.ndarray) -> None:
        self.images += 1
        self.counts += description.counts
        self.autocorrelation += description.autocorrelation.mean(axis=0)
        self.spectrum += description.spectrum.mean(axis=0)
        self.level_sums += description.level_sums
        if self.example is None:
            top, left = (max(0, side - EXAMPLE_SIDE) // 2 for side in noise.shape[:2])
            self.example = noise[top : top + EXAMPLE_SIDE, left : left + EXAMPLE_SIDE].copy()


@dataclass
class Results:
    """A row per image, model and draw, with `COLUMNS` and nlf_mean; and the plots' evidence by (ISO, noise)."""

    rows: list[dict] = field(default_factory=list)
    evidence: dict[tuple[int, str], Evidence] = field(default_factory=dict)


class Fake(NamedTuple):
    """One fake to be measured."""

    sample: Sample
    reference: Reference
    is_first: bool  # of its sample
    model: str
    draw: int
    noise: np.ndarray  # (H, W, 3) in grey levels, not clipped


def evaluate(frames: list[Frame], models: list[NoiseModel], draws: int, seed: int, num_workers: int) -> Results:
    """Compare the models on all samples of the frames.

    Reading and measuring are done in threads, the models run in this one (they may use a GPU); a few images are in
    memory at a time. Raises ValueError for an image that cannot be read and for a model that gives numbers that are
    not finite.
    """
    results = Results()
    with_other = any(model.name == "real" for model in models)

    def read(frame: Frame) -> list[tuple[Sample, Reference]]:
        return [(sample, Reference(sample.clean, sample.noisy)) for sample in read_samples(frame, with_other)]

    total = sum(frame.count for frame in frames)
    with tqdm(total=total, desc="evaluate", unit="image", disable=None) as bar:
        samples = (sample for batch in in_threads(read, frames, num_workers) for sample in batch)
        for row, evidence, is_first in in_threads(_measure_fake, _fakes(samples, models, draws, seed), num_workers):
            results.rows.append(row)
            for key, description, noise in evidence:
                results.evidence.setdefault(key, Evidence()).add(description, noise)
            bar.update(is_first)
    if not results.rows:
        raise ValueError(f"{', '.join(model.name for model in models)}: no noise for any of the images; add --models")
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
                    raise ValueError(f"{model.name} gives noise that is not finite on {sample.noisy_file}")
                yield Fake(sample, reference, is_first, model.name, draw, noise)
                is_first = False


def _measure_fake(fake: Fake) -> tuple[dict, list[tuple], bool]:
    """-> the row; what the plots take: the fake's description, and once that of the real noise; `is_first`."""
    scene, reference = fake.sample.scene, fake.reference
    values, made, noise = measure(reference, fake.noise)
    name = f"{scene.name}/{fake.sample.name}"
    row = {"image": name, "camera": scene.camera, "iso": scene.iso, "model": fake.model, "draw": fake.draw} | values
    evidence = [((scene.iso, REAL), reference.description, reference.noise)] if fake.is_first else []
    return row, [*evidence, ((scene.iso, fake.model), made, noise)], fake.is_first


def pooled(evidence: dict[tuple[int, str], Evidence], noise: str) -> Iterator[Evidence]:
    """The evidence of one noise at every ISO."""
    return (found for (_, name), found in evidence.items() if name == noise)
