"""The noise of a demo data set in numbers, measured on its files."""

from pathlib import Path

import numpy as np

from data.demo.options import read_options
from data.demo.scenes import FRAMES, all_scenes
from metrics import autocorrelation, channel_correlation, noise_of
from utils.image import read_image

COLUMNS = ("std", "lag-1 h", "lag-1 v", "lag-2", "lag-(1,1)", "rg", "gb", "rb", "bias")


def noise_statistics(noise: np.ndarray) -> dict[str, float]:
    """Describe noise in grey levels, (H, W, 3): `COLUMNS` -> value.

    std and bias are in grey levels over all channels; autocorrelations are means of the channels, lag-2 and lag-(1,1)
    also of both directions; rg, gb, rb are the channels' correlations.
    """
    lags = autocorrelation(noise, max_lag=2).mean(axis=0)  # (5, 5), lag (0, 0) in the middle
    channels = channel_correlation(noise)
    values = (
        noise.std(),
        lags[2, 3],
        lags[3, 2],
        (lags[2, 4] + lags[4, 2]) / 2,
        (lags[3, 3] + lags[3, 1]) / 2,
        channels[0, 1],
        channels[1, 2],
        channels[0, 2],
        noise.mean(),
    )
    return {column: float(value) for column, value in zip(COLUMNS, values)}


def measure(folder: str | Path) -> dict[int, dict[str, float]]:
    """Average the statistics of each ISO level's scenes, first frame, from the files: -> {ISO: {column: value}}."""
    options = read_options(folder)
    rows = {iso: [] for iso in options.iso}
    for scene in all_scenes(options):
        noisy, clean = (read_image(scene.path(folder, kind, FRAMES[0])) for kind in ("NOISY", "GT"))
        rows[scene.iso].append(noise_statistics(noise_of(noisy, clean)))
    return {
        iso: {column: float(np.mean([row[column] for row in of])) for column in COLUMNS} for iso, of in rows.items()
    }


def as_markdown(table: dict[int, dict[str, float]]) -> str:
    """Print what `measure` returns as a Markdown table."""
    lines = ["| ISO | " + " | ".join(COLUMNS) + " |", "|---:" * (len(COLUMNS) + 1) + "|"]
    for iso, row in sorted(table.items()):
        lines.append(f"| {iso} | " + " | ".join(f"{row[column]:.2f}" for column in COLUMNS) + " |")
    return "\n".join(lines)
