"""Rows of an evaluation of denoisers to a summary: means, spreads over seeds, PGap."""

import numpy as np

from evaluation.denoising import METRICS
from evaluation.summary import mean, spread

Summary = dict[str, dict[str, dict[str, float]]]
SHOWN_DIGITS = {"psnr": 2, "ssim": 4}  # equal to the reader, equally good


def summarise(rows: list[dict], trained: list[str], pgap_of: str | None) -> Summary:
    """Average rows by denoiser, best PSNR first: -> {denoiser: {metric: {"mean", "over_images", "over_seeds"}}}.

    The mean is over images, then over seeds; over_images: standard deviation between images, of the mean over seeds;
    over_seeds: between seeds, of the mean over images; nan where there is only one. "pgap" is there for the denoisers
    of `trained` that have a run with the same seed as one of `pgap_of`: the mean of `pgaps`. PSNRs of outputs without
    any error are infinite and left out.
    """
    summary = {}
    for name in dict.fromkeys(row["denoiser"] for row in rows):
        own = _of(rows, name)
        summary[name] = {
            metric: {
                "mean": mean([mean([row[metric] for row in of_seed]) for of_seed in _by_seed(own).values()]),
                "over_images": spread(own, metric, "image"),
                "over_seeds": spread(own, metric, "seed"),
            }
            for metric in METRICS
        }
        if pgap_of is not None and name in trained and (gaps := pgaps(_of(rows, pgap_of), own)):
            over_seeds = float(np.std(gaps, ddof=1)) if len(gaps) > 1 else float("nan")
            summary[name]["pgap"] = {"mean": float(np.mean(gaps)), "over_seeds": over_seeds}
    return {name: summary[name] for name in sorted(summary, key=lambda name: -np.nan_to_num(_psnr(summary, name)))}


def _psnr(summary: Summary, name: str) -> float:
    return summary[name]["psnr"]["mean"]


def _of(rows: list[dict], name: str) -> list[dict]:
    return [row for row in rows if row["denoiser"] == name]


def _by_seed(rows: list[dict]) -> dict[int | None, list[dict]]:
    return {seed: [row for row in rows if row["seed"] == seed] for seed in dict.fromkeys(row["seed"] for row in rows)}


def pgaps(real: list[dict], own: list[dict]) -> list[float]:
    """Compare the runs trained on real noise with those of the same seeds: -> PSNR of the one minus the other's each.

    Only images count on which both are finite.
    """
    gaps, reference = [], _by_seed(real)
    for seed, rows in _by_seed(own).items():
        values = {row["image"]: row["psnr"] for row in reference.get(seed, ())}
        differences = [values[row["image"]] - row["psnr"] for row in rows if row["image"] in values]
        finite = [value for value in differences if np.isfinite(value)]
        gaps += [float(np.mean(finite))] if finite else []
    return gaps


def best_denoisers(summary: Summary, metric: str) -> list[str]:
    """Denoisers with the highest mean: usually one, several when they are equal."""
    shown = {name: round(values[metric]["mean"], SHOWN_DIGITS[metric]) for name, values in summary.items()}
    known = [value for value in shown.values() if np.isfinite(value)]
    return [name for name, value in shown.items() if known and value == max(known)]
