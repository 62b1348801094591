"""The plots of an evaluation of noise models."""

import numpy as np

from evaluation.noise import REAL, Evidence, pooled
from evaluation.noise_models import shown_name
from evaluation.noise_summary import is_ranked
from metrics import noise_level_function, spectrum_frequencies
from metrics.structure import NLF_BINS
from utils import charts
from utils.plots import magnified_noise, panel

PANEL_STD = 40  # grey levels to which the real noise of the panel is magnified
LABEL = 24  # letters of a name above its noise
CAPTIONS = {
    "scores": "Structure-aware score of the ranked models with the spread between images (one standard deviation).",
    "noises": "Noise of one image per ISO, its middle, around grey; all noises of a row magnified alike.",
    "autocorrelation": "Autocorrelation of the noise, mean of channels, images and ISOs; the middle, lag (0, 0), is 1.",
    "spectra": "Radial power spectra, mean of channels and images.",
    "noise_levels": "Noise level functions: standard deviation by clean intensity. The coloured and the "
    "heteroscedastic model are fitted to the same one.",
    "histograms": "Histograms of the noise, channels pooled.",
}


def draw_scores(summary: dict[str, dict]) -> np.ndarray:
    """Draw the scores of a summary's ranked models: -> (H, W, 3) uint8."""
    intervals = {}
    for name, values in summary.items():
        mean, spread = values["score"]["mean"], np.nan_to_num(values["score"]["over_images"])
        intervals[shown_name(name)] = (mean, mean - spread, mean + spread)
    ranked = {shown_name(name): intervals[shown_name(name)] for name in summary if is_ranked(summary[name])}
    return charts.scores([REAL, *intervals], ranked or intervals)


def draw_pictures(evidence: dict[tuple[int, str], Evidence], models: list[str]) -> dict[str, np.ndarray]:
    """Draw the plots: -> {name: (H, W, 3) uint8}. The real noise comes first in each."""
    isos = sorted({iso for iso, _ in evidence})

    def by_iso(value) -> dict[str, dict[str, np.ndarray]]:
        return {
            f"ISO {iso}": {
                shown_name(name): value(evidence[iso, name]) for name in (REAL, *models) if (iso, name) in evidence
            }
            for iso in isos
        }

    maps = {}
    for name in (REAL, *models):
        parts = list(pooled(evidence, name))
        maps[shown_name(name)] = sum(part.autocorrelation for part in parts) / sum(part.images for part in parts)
    intensity = (np.arange(NLF_BINS) + 0.5) * (256 / NLF_BINS)
    return {
        "autocorrelation": charts.autocorrelation_maps(maps),
        "spectra": charts.spectra(spectrum_frequencies(), by_iso(lambda part: part.spectrum / part.images)),
        "noise_levels": charts.noise_level_functions(
            intensity, by_iso(lambda part: noise_level_function(part.level_sums)[1])
        ),
        "histograms": charts.histograms(by_iso(lambda part: part.counts)),
        "noises": _noise_panel(evidence, isos, models),
    }


def _noise_panel(evidence: dict[tuple[int, str], Evidence], isos: list[int], models: list[str]) -> np.ndarray:
    chosen = [isos[index] for index in sorted({0, len(isos) // 2, len(isos) - 1})]
    rows = []
    for iso in chosen:
        factor = max(1, round(PANEL_STD / max(evidence[iso, REAL].example.std(), 1)))
        tiles = [(name, evidence[iso, name].example) for name in (REAL, *models) if (iso, name) in evidence]
        first = f"ISO {iso}, x{factor}\n"
        labels = [(first if name == REAL else "\n") + shown_name(name)[:LABEL] for name, _ in tiles]
        rows.append([(label, magnified_noise(noise, factor)) for label, (_, noise) in zip(labels, tiles)])
    return panel(rows)
