"""Rows of an evaluation to a summary: means, spreads, ranks, and differences between models with their intervals."""

from collections import defaultdict

import numpy as np

from evaluation.noise import METRICS, Results
from utils.metrics import structure_score

SUMMARISED = ("score", *METRICS, "nlf_mean")
# By these the best model is marked. kld and kld_naflow, which drop empty bins, are no divergences: a fake without
# noise can score below a perfect one.
MARKED = ("score", "kld_flow", "kld_exact", "akld", "acf", "psd", "xcorr", "nlf", "std", "bias", "nlf_mean")
# A fake whose std is further off than this is not ranked in anything: one without noise has little bias.
STD_RANGE = (0.5, 2.0)
SHOWN_DIGITS = 3  # equal to the reader, equally good
RESAMPLES = 10_000
CONFIDENCE = 0.95


def add_scores(results: Results) -> None:
    """Give every row its `score`."""
    for row in results.rows:
        row["score"] = structure_score(row)


def summarise(rows: list[dict]) -> dict[str, dict[str, dict[str, float]]]:
    """Average rows by model: -> {model: {metric: {"mean", "over_images", "over_draws"}}}, best score first.

    over_images: standard deviation between images, of the mean over draws; over_draws: between draws, of the mean over
    images; nan where there is only one. std has a "median" too, over images and draws. Models that are not ranked
    (`is_ranked`) come last, by how far their std is off.
    """
    summary = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        summary[model] = {
            metric: {
                "mean": _mean([row[metric] for row in own]),
                "over_images": _spread(own, metric, "image"),
                "over_draws": _spread(own, metric, "draw"),
            }
            for metric in SUMMARISED
        }
        stds = [row["std"] for row in own if np.isfinite(row["std"])]
        summary[model]["std"]["median"] = float(np.median(stds)) if stds else float("nan")
    return {model: summary[model] for model in sorted(summary, key=lambda model: _rank(summary[model]))}


def _rank(model: dict[str, dict[str, float]]) -> tuple[bool, float]:
    if is_ranked(model):
        return False, model["score"]["mean"]
    median = model["std"]["median"]
    return True, abs(np.log(max(median, 1e-9))) if np.isfinite(median) else np.inf


def _spread(rows: list[dict], metric: str, by: str) -> float:
    groups = defaultdict(list)
    for row in rows:
        groups[row[by]].append(row[metric])
    means = [mean for mean in map(_mean, groups.values()) if np.isfinite(mean)]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def is_ranked(model: dict[str, dict[str, float]]) -> bool:
    """Whether a model's noise is strong enough, and not too strong, for a comparison to mean anything.

    By the median std over images: crops that are nearly free of noise have wild ratios.
    """
    low, high = STD_RANGE
    return low <= model["std"]["median"] <= high


def best_models(summary: dict[str, dict], metric: str) -> list[str]:
    """Models with the best mean, `real` and those not ranked aside: usually one, several when they are equal."""
    if metric not in MARKED:
        return []
    distance = {
        model: round(abs(values[metric]["mean"] - (metric == "std")), SHOWN_DIGITS)
        for model, values in summary.items()
        if model != "real" and is_ranked(values) and np.isfinite(values[metric]["mean"])
    }
    return [model for model in distance if distance[model] == min(distance.values())]


def differences(rows: list[dict], reference: str, metric: str, seed: int) -> dict[str, dict[str, float]]:
    """Differences of means, each model minus `reference`: -> {model: {"difference", "low", "high", "scenes"}}.

    A paired bootstrap with percentile intervals of 95 % (Efron & Tibshirani 1993): whole scenes are drawn again and
    again, since images of one scene are alike, and only images that both models have count.
    """
    values = {model: _by_image(rows, model, metric) for model in dict.fromkeys(row["model"] for row in rows)}
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


def _by_image(rows: list[dict], model: str, metric: str) -> dict[str, float]:
    """-> {image: mean over draws}."""
    draws = defaultdict(list)
    for row in rows:
        if row["model"] == model:
            draws[row["image"]].append(row[metric])
    means = {image: _mean(values) for image, values in draws.items()}
    return {image: mean for image, mean in means.items() if np.isfinite(mean)}


def _bootstrap(scenes: list[list[float]], seed: int) -> dict[str, float]:
    sums, counts = (np.array([f(values) for values in scenes], float) for f in (sum, len))
    drawn = np.random.default_rng(seed).integers(0, len(scenes), (RESAMPLES, len(scenes)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail]) if len(scenes) > 1 else (np.nan, np.nan)
    return {"difference": float(sums.sum() / counts.sum()), "low": low, "high": high, "scenes": len(scenes)}
