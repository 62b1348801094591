"""Rows of an evaluation of denoisers to a summary: means, spreads over seeds, PGap."""

import numpy as np
import pandas as pd

from evaluation.denoising import METRICS
from evaluation.report import Statistics, summarise

Summary = dict[str, Statistics]
SHOWN_DIGITS = {"psnr": 2, "ssim": 4}  # equal to the reader, equally good


def summarise_denoisers(rows: pd.DataFrame, trained: list[str], pgap_of: str | None) -> Summary:
    """Average rows by denoiser (`summarise`), best PSNR first.

    "pgap" is there for the denoisers of `trained` that have a run with the same seed as one of `pgap_of`: the mean of
    `pgaps`. PSNRs of outputs without any error are infinite and left out.
    """
    summary = {}
    for name, own in rows.groupby("denoiser", sort=False):
        summary[name] = summarise(own, METRICS, "seed")
        if pgap_of is not None and name in trained:
            gaps = pgaps(rows[rows["denoiser"] == pgap_of], own)
            if len(gaps):
                summary[name]["pgap"] = {"mean": float(gaps.mean()), "over_seeds": float(gaps.std())}
    return {name: summary[name] for name in sorted(summary, key=lambda name: -np.nan_to_num(_psnr(summary, name)))}


def _psnr(summary: Summary, name: str) -> float:
    return summary[name]["psnr"]["mean"]


def pgaps(real: pd.DataFrame, own: pd.DataFrame) -> pd.Series:
    """Compare the runs trained on real noise with those of the same seeds: -> PSNR of the one minus the other's each.

    Only images count on which both are finite.
    """
    keys = ["seed", "image"]
    both = real[[*keys, "psnr"]].merge(own[[*keys, "psnr"]], on=keys, suffixes=("", "_own"))
    gaps = (both["psnr"] - both["psnr_own"]).replace([np.inf, -np.inf], np.nan)
    return gaps.groupby(both["seed"], dropna=False).mean().dropna()


def best_denoisers(summary: Summary, metric: str) -> list[str]:
    """Denoisers with the highest mean: usually one, several when they are equal."""
    shown = {name: round(values[metric]["mean"], SHOWN_DIGITS[metric]) for name, values in summary.items()}
    known = [value for value in shown.values() if np.isfinite(value)]
    return [name for name, value in shown.items() if known and value == max(known)]
