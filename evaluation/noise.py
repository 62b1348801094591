"""Judge noise models: their fakes against the real noise of the same images, image by image, in all the metrics."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from data.pairs import ImagePair, Sample, by_file, read_samples
from evaluation.c2st import TwoSampleTests, large_enough, two_sample_tests
from evaluation.noise_metrics import METRICS, Comparison, Reference, measure
from evaluation.noise_models import fake_noise
from evaluation.noise_pictures import REAL, Evidence
from noise.interface import NoiseModel
from utils.workers import in_threads

COLUMNS = ("image", "camera", "iso", "model", "draw", *(name for name in METRICS if METRICS[name].tabulated))


@dataclass
class Results:
    """A row per image, model and draw, with `COLUMNS`, nlf_mean and score; the plots' evidence by (ISO, noise).

    c2st: of all models, if it was asked for. failures: a line for each image or model that failed and was left out.
    remarks: for the report. cause: what has ended the two-sample tests.
    """

    rows: list[dict] = field(default_factory=list)
    evidence: dict[tuple[int, str], Evidence] = field(default_factory=dict)
    c2st: TwoSampleTests | None = None
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    cause: BaseException | None = None

    def require_whole(self) -> None:
        """Raise what has ended the two-sample tests, and ValueError if anything else failed."""
        if self.cause:
            raise self.cause
        if self.failures:
            raise ValueError("; ".join(self.failures))


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
    memory at a time. An image that cannot be read and a model that fails, or gives numbers that are not finite, are
    left out and named in the result. Raises ValueError if nothing is left.
    """
    results = Results()
    broken: dict[str, str] = {}  # models and why
    with_other = any(model.name == "real" for model in models)

    def read(windows: list[ImagePair]) -> list[tuple[Sample, Reference]]:
        try:
            samples = read_samples(windows, with_other)
        except ValueError as error:
            results.failures.append(str(error))
            return []
        return [
            (sample, Reference(sample.clean, sample.noisy, sample.pair.origin, sample.pair.is_cut))
            for sample in samples
        ]

    with tqdm(total=len(pairs), desc="evaluate", unit="image", disable=None) as bar:
        samples = (sample for batch in in_threads(read, by_file(pairs), num_workers) for sample in batch)
        fakes = _fakes(samples, models, draws, seed, broken)
        for row, evidence, is_first in in_threads(_measure_fake, fakes, num_workers):
            results.rows.append(row)
            for key, description, noise in evidence:
                results.evidence.setdefault(key, Evidence()).add(description, noise)
            bar.update(is_first)
    results.failures += broken.values()
    results.rows = [row for row in results.rows if row["model"] not in broken]
    results.evidence = {key: evidence for key, evidence in results.evidence.items() if key[1] not in broken}
    if not results.rows and results.failures:
        raise ValueError("; ".join(results.failures))
    if not results.rows:
        raise ValueError(f"{', '.join(model.name for model in models)}: no noise for any of the images")
    return results


def add_two_sample_tests(
    results: Results,
    pairs: list[ImagePair],
    models: list[NoiseModel],
    seed: int,
    num_workers: int,
    device: torch.device,
) -> None:
    """Add two-sample tests to results. Note a failure there and go on, so that the report is written."""
    if unfit := len(pairs) - len(large_enough(pairs)):
        few = f"{unfit} of {len(pairs)} images, which are too small for patches"
        results.remarks.append(f"Two-sample tests without {few}.")
    try:
        results.c2st = two_sample_tests(pairs, models, seed, num_workers, device)
        results.failures += results.c2st.failures
    except (Exception, KeyboardInterrupt) as error:
        results.failures.append(f"two-sample tests ({str(error) or type(error).__name__})")
        results.cause = error


def _fakes(
    samples: Iterable[tuple[Sample, Reference]], models: list[NoiseModel], draws: int, seed: int, broken: dict[str, str]
) -> Iterator[Fake]:
    """Make all fakes; name models that fail in `broken` and go on without them."""
    for sample, reference in samples:
        is_first = True
        for model in models:
            for draw in range(draws if model.is_random else 1):
                if model.name in broken:
                    break
                try:
                    noise = _finite_noise(model, sample, seed, draw)
                except (ValueError, MemoryError, torch.OutOfMemoryError) as error:
                    broken[model.name] = str(error) or f"{model.name}: out of memory"
                    break
                if noise is None:
                    continue
                yield Fake(sample, reference, is_first, model.name, draw, noise)
                is_first = False


def _finite_noise(model: NoiseModel, sample: Sample, seed: int, draw: int) -> np.ndarray | None:
    noise = fake_noise(model, sample, seed, draw)
    if noise is not None and not np.isfinite(noise).all():
        raise ValueError(f"{model.name} gives noise that is not finite on {sample.pair.label}")
    return noise


def _measure_fake(fake: Fake) -> tuple[dict, list[tuple], bool]:
    """Return the row, what the plots take of the fake and once of the real noise, and `is_first`."""
    scene, reference, comparison = fake.sample.pair.scene, fake.reference, Comparison(fake.reference, fake.noise)
    row = {"image": fake.sample.pair.label, "camera": scene.camera, "iso": scene.iso}
    row |= {"model": fake.model, "draw": fake.draw} | measure(comparison)
    evidence = [((scene.iso, REAL), reference.description, reference.noise)] if fake.is_first else []
    return row, [*evidence, ((scene.iso, fake.model), comparison.made, comparison.rounded)], fake.is_first
