"""Plots of the noise of several models beside the real one, from the sums of `Evidence`."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from evaluation.noise_metrics import Description
from metrics import noise_level_function, spectrum_frequencies
from metrics.structure import NLF_BINS
from utils import charts
from utils.panels import magnified_noise, panel

REAL = "real noise"  # what the fakes are compared with; the model called `real` is another frame of it
EXAMPLE_SIDE = 160  # pixels of the pictures of noise
PANEL_STD = 40  # grey levels to which the real noise of the panel is magnified
LABEL = 32  # letters of a name above its noise


@dataclass
class Evidence:
    """Sums over images that the plots are drawn from, of one noise at one ISO."""

    images: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(511, np.int64))
    autocorrelation: np.ndarray = field(default_factory=lambda: np.zeros((9, 9)))  # channels' mean
    spectrum: np.ndarray = field(default_factory=lambda: np.zeros(spectrum_frequencies().shape))  # same, dB
    level_sums: np.ndarray = field(default_factory=lambda: np.zeros(()))  # (3, C, 16), of no image one 0
    phases: np.ndarray = field(default_factory=lambda: np.zeros(()))  # (C, 3, 2, 2), the same
    # The middle of the first image's noise, (h, w, C) in grey levels.
    example: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3)))

    def add(self, description: Description, noise: np.ndarray) -> None:
        """Add one image's noise, (H, W, C) in whole grey levels, and its description."""
        if not self.images:
            top, left = (max(0, side - EXAMPLE_SIDE) // 2 for side in noise.shape[:2])
            self.example = noise[top : top + EXAMPLE_SIDE, left : left + EXAMPLE_SIDE].copy()
        self.images += 1
        self.counts += description.counts
        self.autocorrelation += description.autocorrelation.mean(axis=0)
        self.spectrum += description.spectrum.mean(axis=0)
        self.level_sums = self.level_sums + description.level_sums
        self.phases = self.phases + description.phases


def shown_name(model: str) -> str:
    """Return the name of a model in tables and plots, where `real` stands beside the real noise itself."""
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
