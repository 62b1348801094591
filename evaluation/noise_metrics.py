"""Metrics of fake noise against the real one, by name.

To add a metric, write its function in `metrics` and a line in `METRICS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import metrics

WHITE_NOISE_TERMS = ", ".join(f"{name}/{scale}" for name, scale in metrics.WHITE_NOISE.items())


class Description(NamedTuple):
    """Statistics of one noise that the distances and the plots need; spectrum and phases are empty in a brief one."""

    counts: np.ndarray  # (511,) pixels of each grey-level difference
    autocorrelation: np.ndarray  # (C, 9, 9)
    spectrum: np.ndarray  # (C, 32) dB
    channels: np.ndarray  # (C, C)
    level_sums: np.ndarray  # (3, C, 16)
    phases: np.ndarray  # (C, 3, 2, 2), from the mosaic's first position on

    @property
    def levels(self) -> np.ndarray:
        """Return the noise level function, (2, C, 16)."""
        return metrics.noise_level_function(self.level_sums)


def describe(
    noise: np.ndarray, clean_uint8: np.ndarray, origin: tuple[int, int] = (0, 0), is_brief: bool = False
) -> Description:
    """Describe noise in whole grey levels, (H, W, C); origin: where it begins in the 2x2 mosaic."""
    return Description(
        metrics.count_levels(noise),
        metrics.autocorrelation(noise),
        np.empty(0) if is_brief else metrics.spectrum(noise),
        metrics.channel_correlation(noise),
        metrics.noise_level_sums(noise, clean_uint8),
        np.empty(0) if is_brief else np.roll(metrics.phase_profile(noise), origin, (2, 3)),
    )


class Reference:
    """The real noise of an image pair, (H, W, C) uint8 each, and its description, which all fakes share.

    origin: where the images begin in the 2x2 mosaic; is_cut: whether that is known for sure (`ImagePair`). is_brief:
    whether to leave out what takes half the time, for metrics and plots that are not wanted.
    """

    def __init__(
        self,
        clean: np.ndarray,
        noisy: np.ndarray,
        origin: tuple[int, int] = (0, 0),
        is_cut: bool = True,
        is_brief: bool = False,
    ):
        self.clean, self.origin, self.is_cut, self.is_brief = clean, origin, is_cut, is_brief
        self.noise = metrics.noise_of(noisy, clean)
        self.description = describe(self.noise, self.clean, origin, is_brief)


class Comparison:
    """Fake noise beside the real one, as every metric takes it: (H, W, C) each, in grey levels.

    `free` is the fake neither clipped nor rounded; `clipped` and `rounded` are of an image that is one or both.
    """

    def __init__(self, reference: Reference, fake_noise: np.ndarray):
        image = np.clip(reference.clean + fake_noise, 0, 255)
        self.real, self.free, self.clipped = reference.noise, fake_noise, image - reference.clean
        self.rounded = metrics.noise_of(np.rint(image).astype(np.uint8), reference.clean)
        self.described = reference.description
        self.made = describe(self.rounded, reference.clean, reference.origin, reference.is_brief)
        self.is_aligned = reference.is_cut


class Metric(NamedTuple):
    """A metric of the evaluation: its function, and how the report treats it.

    ranked: the best model is marked, whose mean is nearest to `best`, the truth's value; tabulated: it has columns in
    report and CSV file; compared: the report has its differences between models.
    """

    measure: Callable[[Comparison], float]
    definition: str
    ranked: bool = True
    best: float = 0
    tabulated: bool = True
    compared: bool = False


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
        "KL(real || fake) with 256 bins on [-1, 1], empty ones dropped; clipped, not rounded (except for images that "
        "are rounded anyway, which fit its bins worse). Not ranked either",
        ranked=False,
    ),
    "kld_flow": Metric(
        lambda fake: metrics.kld_flow(fake.real, fake.free),
        "KL(real || fake) with bins of 4 grey levels and add-one smoothing; neither clipped nor rounded",
    ),
    "kld_exact": Metric(
        lambda fake: metrics.kld_exact(fake.real, fake.rounded),
        "KL(real || fake) with a bin for every grey-level difference and add-one smoothing; clipped and rounded",
        compared=True,
    ),
    "akld": Metric(
        lambda fake: metrics.akld(fake.real, fake.clipped),
        "DANet's KL divergence of local variances; clipped, not rounded. The mean over L draws is AKLD at that L; "
        "two draws of one process score .04 to .08: see the floor's row",
        compared=True,
    ),
    "acf": Metric(
        lambda fake: metrics.acf_distance(fake.described.autocorrelation, fake.made.autocorrelation),
        "RMS difference of autocorrelation over lags up to 4 pixels",
        compared=True,
    ),
    "psd": Metric(
        lambda fake: metrics.psd_distance(fake.described.spectrum, fake.made.spectrum),
        "RMS difference of the radially averaged power spectra in dB; 32 rings, floored at the power of rounding, 1/12",
    ),
    "xcorr": Metric(
        lambda fake: metrics.xcorr_distance(fake.described.channels, fake.made.channels),
        "largest difference of channel correlations; not defined for images of one channel, whose score leaves it out",
        compared=True,
    ),
    "nlf": Metric(
        lambda fake: metrics.nlf_distance(fake.described.levels, fake.made.levels),
        "mean relative difference of the noise's std by clean intensity, 16 bins of at least 500 pixels; the real std "
        "counts as at least that of rounding, 0.29",
        compared=True,
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
    "phase": Metric(
        lambda fake: metrics.phase_distance(fake.described.phases, fake.made.phases, fake.is_aligned),
        "RMS difference of the noise's variance and lag-1 covariances at the four positions of the 2x2 Bayer mosaic, "
        "each minus its mean over them and over the mean variance; the best of four alignments for images that are no "
        "crops of a frame",
        compared=True,
    ),
}
SCORE = (
    f"structure-aware score: mean of {WHITE_NOISE_TERMS}; 0 is the truth, 1 white Gaussian noise of the true std. "
    "Models are sorted by it"
)


def measure(fake: Comparison) -> dict[str, float]:
    """Measure fake noise by all of `METRICS`, and by the score that sums them up."""
    values = {name: metric.measure(fake) for name, metric in METRICS.items()}
    return values | {"score": metrics.structure_score(values)}
