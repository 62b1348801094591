"""What all evaluations make of their rows: means, spreads, differences with their intervals."""

from collections import defaultdict

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95


def mean(values: list[float]) -> float:
    """Mean of the values that are finite; nan without any."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def spread(rows: list[dict], metric: str, by: str) -> float:
    """Standard deviation of the means of rows with the same `by`; nan for a single one."""
    groups = defaultdict(list)
    for row in rows:
        groups[row[by]].append(row[metric])
    means = [value for value in map(mean, groups.values()) if np.isfinite(value)]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def differences(
    rows: list[dict], reference: str, metric: str, seed: int, by: str = "model"
) -> dict[str, dict[str, float]]:
    """Differences of means, each model minus `reference`: -> {model: {"difference", "low", "high", "scenes"}}.

    A paired bootstrap with percentile intervals of 95 % (Efron & Tibshirani 1993): whole scenes are drawn again and
    again, since images of one scene are alike, and only images that both models have count. `by` is the column that
    names the model; of its rows of one image the mean is taken.
    """
    values = {model: _by_image(rows, by, model, metric) for model in dict.fromkeys(row[by] for row in rows)}
    found = {}
    for model, own in values.items():
        common = sorted(own.keys() & values[reference].keys())
        if model == reference or not common:
            continue
        by_scene = defaultdict(list)
        for image in common:
            by_scene[image.split("/")[0]].append(own[image] - values[reference][image])
        found[model] = _bootstrap(list(by_scene.values()), seed)
    return found


def _by_image(rows: list[dict], by: str, model: str, metric: str) -> dict[str, float]:
    """-> {image: mean over draws, or seeds}."""
    draws = defaultdict(list)
    for row in rows:
        if row[by] == model:
            draws[row["image"]].append(row[metric])
    means = {image: mean(values) for image, values in draws.items()}
    return {image: value for image, value in means.items() if np.isfinite(value)}


def _bootstrap(scenes: list[list[float]], seed: int) -> dict[str, float]:
    sums, counts = (np.array([f(values) for values in scenes], float) for f in (sum, len))
    drawn = np.random.default_rng(seed).integers(0, len(scenes), (RESAMPLES, len(scenes)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail]) if len(scenes) > 1 else (np.nan, np.nan)
    return {"difference": float(sums.sum() / counts.sum()), "low": low, "high": high, "scenes": len(scenes)}
