"""Plots of the noise of several models beside the real one, from the sums of `Evidence`."""

from collections.abc import Callable

import numpy as np

from evaluation.evidence import REAL, Evidence
from metrics import noise_level_function, spectrum_frequencies
from metrics.structure import NLF_BINS
from utils import charts
from utils.panels import magnified_noise, panel

PANEL_STD = 40  # grey levels to which the real noise of the panel is magnified
LABEL = 24  # letters of a name above its noise


def shown_name(model: str) -> str:
    """Return what tables and plots call a model: `real` beside the real noise itself would confuse."""
    return "real (floor)" if model == "real" else model


def draw_pictures(evidence: dict[tuple[int, str], Evidence], models: list[str]) -> dict[str, np.ndarray]:
    """Draw the plots: {name: (H, W, 3) uint8}. The real noise comes first in each."""
    isos, names = sorted({iso for iso, _ in evidence}), (REAL, *models)

    def by_iso(value: Callable[[Evidence], np.ndarray]) -> charts.Curves:
        return {
            f"ISO {iso}": {shown_name(name): value(evidence[iso, name]) for name in names if (iso, name) in evidence}
            for iso in isos
        }

    maps, phases = {}, {}
    for name in names:
        parts = [part for (_, noise), part in evidence.items() if noise == name]
        images = sum(part.images for part in parts)
        maps[shown_name(name)] = np.asarray(sum(part.autocorrelation for part in parts)) / images
        phases[shown_name(name)] = 1 + np.asarray(sum(part.phases[:, 0] for part in parts)) / images
    intensity = (np.arange(NLF_BINS) + 0.5) * (256 / NLF_BINS)
    levels = by_iso(lambda part: noise_level_function(part.level_sums)[1])
    return {
        "autocorrelation": charts.autocorrelation_maps(maps),
        "phases": charts.mosaic_tiles(phases),
        "spectra": charts.spectra(spectrum_frequencies(), by_iso(lambda part: part.spectrum / part.images)),
        "noise_levels": charts.noise_level_functions(intensity, levels),
        "histograms": charts.histograms(by_iso(lambda part: part.counts)),
        "noises": _noise_panel(evidence, isos, models),
    }


def _noise_panel(evidence: dict[tuple[int, str], Evidence], isos: list[int], models: list[str]) -> np.ndarray:
    rows = []
    for iso in [isos[index] for index in sorted({0, len(isos) // 2, len(isos) - 1})]:
        factor = max(1, round(PANEL_STD / max(evidence[iso, REAL].example.std(), 1)))
        tiles = []
        for name in (REAL, *models):
            if (iso, name) in evidence:
                label = f"ISO {iso}, x{factor}" if name == REAL else ""
                noise = magnified_noise(evidence[iso, name].example, factor)
                tiles.append((f"{label}\n{shown_name(name)[:LABEL]}", noise))
        rows.append(tiles)
    return panel(rows)
