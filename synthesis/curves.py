"""Noise by clean intensity, measured on a chart of all grey levels."""

import numpy as np

from inference import NoiseGenerator
from noise.camera import CameraNoise
from noise.gains import GainBank

SIDE = 32  # pixels of a patch
BORDER = 4  # of them are left out on each side: NPNet sees 3 pixels around, NCNet spreads noise by a few
CHART_DRAWS = 4  # draws of 24 x 24 pixels: the std of a level is known to about 2 %


def intensity_chart(channels: int) -> np.ndarray:
    """Draw all 256 grey levels, each as often: (512, 512, C) uint8, 16 x 16 flat patches in reading order.

    NPNet normalises over the whole image, so a curve belongs to a content; in this one no level has more weight than
    another, and neighbours differ by so little (1 along a row, 16 along a column) that no edge is seen.
    """
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    return levels.repeat(SIDE, axis=0).repeat(SIDE, axis=1)[:, :, None].repeat(channels, axis=2)


def measure_curve(noise: NoiseGenerator | CameraNoise, strength: float, seed: int = 0) -> np.ndarray:
    """Measure the noise's standard deviation by clean intensity and channel: (256, C) in grey levels.

    strength: a gain of NeCA, or the ISO of a camera's fit.
    The chart is noised and rounded to 8 bit as files are, so the curve falls where noise is clipped: near 0 and 255.
    """
    chart = intensity_chart(noise.channels or 3)
    inside = slice(BORDER, SIDE - BORDER)
    noises = []
    for draw in range(CHART_DRAWS):
        fake = noise.synthesize(chart, strength, seed=seed, key=f"intensity chart {draw}")  # type: ignore[arg-type]
        patches = (fake.astype(np.int16) - chart).reshape(16, SIDE, 16, SIDE, -1)[:, inside][:, :, :, inside]
        noises.append(patches.transpose(0, 2, 1, 3, 4).reshape(256, -1, chart.shape[2]))
    return np.concatenate(noises, axis=1).std(axis=1)


def measure_curves(generator: NoiseGenerator, bank: GainBank, seed: int = 0) -> dict[str, np.ndarray]:
    """Measure a curve for the median gain of each ISO, of a single ISO for its low and high ones too (10 %, 90 %).

    Returns {label: (256, C) array}.
    """
    shares = (0.5,) if len(bank.gains) > 1 else (0.1, 0.5, 0.9)
    curves = {}
    for iso, named in bank.gains.items():
        for gain in np.quantile([gain for _, gain in named], shares):
            curves[f"ISO {iso}, gain {gain:.4f}"] = measure_curve(generator, float(gain), seed)
    return curves
