"""Judge noise models: their fakes against the real noise of the same images, image by image, in all the metrics.

To add a metric, write its function and a line in `METRICS`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

import metrics
from data.pairs import ImagePair, Sample, by_file, read_samples
from evaluation.noise_models import REAL, fake_noise
from models.noise_models import NoiseModel
from utils.workers import in_threads

EXAMPLE_SIDE = 160  # pixels of the pictures of noise
WHITE_NOISE_TERMS = ", ".join(f"{name}/{scale}" for name, scale in metrics.WHITE_NOISE.items())


class Description(NamedTuple):
    """What the distances and the plots need of one noise."""

    counts: np.ndarray  # (511,) pixels of each grey-level difference
    autocorrelation: np.ndarray  # (3, 9, 9)
    spectrum: np.ndarray  # (3, 32) dB
    channels: np.ndarray  # (3, 3)
    level_sums: np.ndarray  # (3, 3, 16)

    @property
    def levels(self) -> np.ndarray:
        """Return the noise level function, (2, 3, 16)."""
        return metrics.noise_level_function(self.level_sums)


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


class Comparison:
    """Fake noise beside the real one, as every metric takes it: (H, W, 3) each, in grey levels.

    `free` is the fake neither clipped nor rounded; `clipped` and `rounded` are of an image that is one or both.
    """

    def __init__(self, reference: Reference, fake_noise: np.ndarray):
        image = np.clip(reference.clean + fake_noise, 0, 255)
        self.real, self.free, self.clipped = reference.noise, fake_noise, image - reference.clean
        self.rounded = metrics.noise_of(np.rint(image).astype(np.uint8), reference.clean)
        self.described, self.made = reference.description, describe(self.rounded, reference.clean)


class Metric(NamedTuple):
    """A metric of the evaluation: its function, and how the report treats it.

    ranked: the best model is marked; best: its value for the truth; tabulated: it has columns in report and CSV file.
    """

    measure: Callable[[Comparison], float]
    definition: str
    ranked: bool = True
    best: float = 0
    tabulated: bool = True


# kld and kld_naflow, which drop empty bins, are no divergences: a fake without noise can score below a perfect one.
METRICS = {
    "kld": Metric(
        lambda fake: metrics.kld(fake.real, fake.rounded),
        "KL(real || fake) in nats, 66 bins, empty ones dropped (NeCA's protocol); clipped and rounded. No true "
        "divergence: it can be negative, and nothing is ranked by it",
        ranked=False,
    ),
    "kld_naflow": Metric(
        lambda fake: metrics.kld_naflow(fake.real, fake.clipped),
        "the same with 256 bins on [-1, 1]; clipped, not rounded (except for images that are rounded anyway, which fit "
        "its bins worse). Not ranked either",
        ranked=False,
    ),
    "kld_flow": Metric(
        lambda fake: metrics.kld_flow(fake.real, fake.free),
        "the same with bins of 4 grey levels and add-one smoothing; neither clipped nor rounded",
    ),
    "kld_exact": Metric(
        lambda fake: metrics.kld_exact(fake.real, fake.rounded),
        "the same with a bin for every grey-level difference and add-one smoothing; clipped and rounded",
    ),
    "akld": Metric(
        lambda fake: metrics.akld(fake.real, fake.clipped),
        "DANet's KL divergence of local variances; clipped, not rounded. The mean over L draws is AKLD at that L; "
        "two draws of one process score .04 to .08: see the floor's row",
    ),
    "acf": Metric(
        lambda fake: metrics.acf_distance(fake.described.autocorrelation, fake.made.autocorrelation),
        "RMS difference of autocorrelation over lags up to 4 pixels",
    ),
    "psd": Metric(
        lambda fake: metrics.psd_distance(fake.described.spectrum, fake.made.spectrum),
        "RMS difference of the radially averaged power spectra in dB; 32 rings, floored at the power of rounding, 1/12",
    ),
    "xcorr": Metric(
        lambda fake: metrics.xcorr_distance(fake.described.channels, fake.made.channels),
        "largest difference of channel correlations",
    ),
    "nlf": Metric(
        lambda fake: metrics.nlf_distance(fake.described.levels, fake.made.levels),
        "mean relative difference of the noise's std by clean intensity, 16 bins of at least 500 pixels; the real std "
        "counts as at least that of rounding, 0.29",
    ),
    "std": Metric(
        lambda fake: metrics.std(fake.real, fake.rounded), "standard deviation, fake over real; best is 1", best=1
    ),
    "bias": Metric(
        lambda fake: metrics.bias(fake.real, fake.rounded), "largest difference of a channel's mean, grey levels"
    ),
    "nlf_mean": Metric(
        lambda fake: metrics.nlf_mean_distance(fake.described.levels, fake.made.levels),
        "mean difference of the noise's mean by clean intensity, grey levels",
        tabulated=False,
    ),
}
SCORE = (
    f"structure-aware score: mean of {WHITE_NOISE_TERMS}; 0 is the truth, 1 white Gaussian noise of the true std. "
    "Models are sorted by it"
)
COLUMNS = ("image", "camera", "iso", "model", "draw", *(name for name in METRICS if METRICS[name].tabulated))


def measure(fake: Comparison) -> dict[str, float]:
    """Measure fake noise by all of `METRICS`, and by the score that sums them up."""
    values = {name: metric.measure(fake) for name, metric in METRICS.items()}
    return values | {"score": metrics.structure_score(values)}


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
        """Add one image's noise, (H, W, 3) in whole grey levels, and its description."""
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
    """A row per image, model and draw, with `COLUMNS`, nlf_mean and score; the plots' evidence by (ISO, noise)."""

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


def evaluate(pairs: list[ImagePair], models: list[NoiseModel], draws: int, seed: int, num_workers: int) -> Results:
    """Compare the models on all images.

    Reading and measuring are done in threads, the models run in this one (they may use a GPU); a few images are in
    memory at a time. Raises ValueError for an image that cannot be read and for a model that gives numbers that are
    not finite.
    """
    results = Results()
    with_other = any(model.name == "real" for model in models)

    def read(windows: list[ImagePair]) -> list[tuple[Sample, Reference]]:
        return [(sample, Reference(sample.clean, sample.noisy)) for sample in read_samples(windows, with_other)]

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
    scene, reference, comparison = fake.sample.scene, fake.reference, Comparison(fake.reference, fake.noise)
    row = {"image": fake.sample.pair.label, "camera": scene.camera, "iso": scene.iso}
    row |= {"model": fake.model, "draw": fake.draw} | measure(comparison)
    evidence = [((scene.iso, REAL), reference.description, reference.noise)] if fake.is_first else []
    return row, [*evidence, ((scene.iso, fake.model), comparison.made, comparison.rounded)], fake.is_first
