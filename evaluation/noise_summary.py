"""Rows of an evaluation of noise models to a summary: means, spreads, ranks."""

import numpy as np

from evaluation.noise import METRICS, Results
from evaluation.summary import mean, spread
from metrics import structure_score

SUMMARISED = ("score", *METRICS, "nlf_mean")
# By these the best model is marked. kld and kld_naflow, which drop empty bins, are no divergences: a fake without
# noise can score below a perfect one.
MARKED = ("score", "kld_flow", "kld_exact", "akld", "acf", "psd", "xcorr", "nlf", "std", "bias", "nlf_mean")
# A fake whose std is further off than this is not ranked in anything: one without noise has little bias.
STD_RANGE = (0.5, 2.0)
SHOWN_DIGITS = 3  # equal to the reader, equally good


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
                "mean": mean([row[metric] for row in own]),
                "over_images": spread(own, metric, "image"),
                "over_draws": spread(own, metric, "draw"),
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
