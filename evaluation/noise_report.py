"""Write down an evaluation of noise models: report.md, report.html, results.csv, results.json and the pictures."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.pairs import ImagePair
from data.splits import published_split
from evaluation.c2st import STEADY, TwoSampleTests
from evaluation.noise import COLUMNS, Results
from evaluation.noise_metrics import METRICS, SCORE, WHITE_NOISE_TERMS
from evaluation.noise_models import judged_models
from evaluation.noise_pictures import REAL, draw_pictures, shown_name
from evaluation.report import (
    SEEN_SCENES,
    Statistics,
    appendix,
    difference_table,
    differences,
    summarise,
    without_nan,
    write_csv,
    write_pages,
)
from utils import charts
from utils.files import write_json
from utils.image import write_image
from utils.panels import magnified_noise, panel
from utils.report import Picture, Sections, Table

SHOWN = ("score", *(name for name, metric in METRICS.items() if metric.tabulated))
RANKED = ("score", *(name for name, metric in METRICS.items() if metric.ranked))
COMPARED = ("score", *(name for name, metric in METRICS.items() if metric.compared))
BEST_ABOVE_0 = ", ".join(f"{name}, whose best is {metric.best}" for name, metric in METRICS.items() if metric.best)
# A fake whose std is further off than this is not ranked in anything: one without noise has little bias.
STD_RANGE = (0.5, 2.0)
ZOOM = 4  # of the patches that classifiers are surest of
SHOWN_DIGITS = 3  # models that look equal to the reader are equally good
FROM_FOLDER = "fake images from a folder", "unknown"
CAPTIONS = {
    "scores": "Structure-aware score of the ranked models with the spread between images (one standard deviation).",
    "noises": "Noise of one image per ISO, its middle, around grey; all noises of a row magnified alike.",
    "autocorrelation": "Autocorrelation of the noise, mean of channels, images and ISOs; the middle, lag (0, 0), is 1.",
    "phases": "Variance of the noise by position in the 2x2 Bayer mosaic, over its mean; mean of images and ISOs.",
    "spectra": "Radial power spectra, mean of channels and images.",
    "noise_levels": "Noise level functions: standard deviation by clean intensity. The coloured and the "
    "heteroscedastic model are fitted to the same one.",
    "histograms": "Histograms of the noise, channels pooled.",
}

Summary = dict[str, Statistics]  # by model


def write_report(
    folder: Path, results: Results, title: str, remarks: list[str], made_with: dict[str, Any], seed: int, html: bool
) -> Table:
    """Write everything into `folder`, the numbers first, and return the summary table, for the terminal.

    `made_with` is the run's `provenance`; `seed` is that of the bootstrap.
    """
    write_csv(folder / "results.csv", results.rows, COLUMNS)
    rows = pd.DataFrame(results.rows)
    summary = summarise_models(rows)
    by_iso = {int(iso): summarise_models(part) for iso, part in rows.groupby("iso")}
    usable = [name for name in ("NeCA-W", *summary) if name in summary and name != "real" and is_ranked(summary[name])]
    reference = usable[0] if usable else next(iter(summary))
    known = [metric for metric in COMPARED if rows[metric].notna().any()]
    found = {metric: differences(rows, reference, metric, seed) for metric in known}
    remarks = [*(f"Failed and left out: {failure}." for failure in results.failures), *remarks, *_counts(rows)]
    definitions = {"score": SCORE} | {name: metric.definition for name, metric in METRICS.items()}

    content: dict[str, Any] = {"title": title, "remarks": remarks, "provenance": made_with, "summary": summary}
    content |= {"by_iso": by_iso, "differences": {"reference": reference, **found}, "definitions": definitions}
    write_json(folder / "results.json", without_nan(content))
    images = draw_pictures(results.evidence, list(summary)) | {"scores": draw_scores(summary)}
    for name, image in images.items():
        write_image(folder / f"{name}.png", image)
    table = summary_table(
        summary,
        f"Means over images and draws; nearest to 0 is best, but for {BEST_ABOVE_0}. Score: mean of "
        f"{WHITE_NOISE_TERMS}; 0 is the truth, 1 white Gaussian noise.",
    )
    sections = _sections(folder, remarks, table, summary, by_iso)
    sections[""] += verdict(summary, results.c2st)
    sections["Spread and differences"] = [_spread_table(summary)]
    if any(found.values()):
        sections["Spread and differences"].append(difference_table(found, list(summary), reference, "model", "worse"))
    judged = judged_models()
    described = [[name, *(map(str, judged[name]) if name in judged else FROM_FOLDER)] for name in summary]
    sections["Models"] = [Table.from_rows(["model", "what it is", "values of the noisy image it has seen"], described)]
    for name in ("c2st.csv", "c2st.png"):
        (folder / name).unlink(missing_ok=True)  # of an earlier evaluation
    if results.c2st and results.c2st.tests:
        sections |= _c2st_sections(folder, results.c2st, list(summary))
    write_pages(folder, title, sections | appendix(definitions, made_with), html)
    return table


def _sections(folder: Path, remarks: list[str], table: Table, summary: Summary, by_iso: dict[int, Summary]) -> Sections:
    pictures = {name: Picture(folder / f"{name}.png", caption) for name, caption in CAPTIONS.items()}
    unranked = [name for name, values in summary.items() if not is_ranked(values)]
    low, high = STD_RANGE
    reason = f"since the median std is not within {low} to {high} times the real one's"
    not_ranked = [f"Not ranked, {reason}: {', '.join(unranked)}."] if unranked else []
    sections: Sections = {
        "": [],
        "What was measured": [*remarks],
        "Summary": [table, *not_ranked, pictures["scores"]],
        "Noise, magnified": [pictures["noises"]],
        "Structure": [pictures["autocorrelation"], pictures["phases"], pictures["spectra"]],
        "Intensity and histogram": [pictures["noise_levels"], pictures["histograms"]],
    }
    if len(by_iso) > 1:
        sections["By ISO"] = [summary_table(part, f"ISO {iso}") for iso, part in by_iso.items()]
    return sections


def verdict(summary: Summary, found: TwoSampleTests | None = None) -> list[str]:
    """Say in words which model is closest to the real noise, by the score and by classifiers."""
    ranked = [name for name, values in summary.items() if name != "real" and is_ranked(values)]
    if not ranked:
        return ["No model is ranked: the std of each is off by a factor of more than 2."]
    scores, judged = {name: summary[name]["score"]["mean"] for name in ranked}, judged_models()
    best, blind = ranked[0], [name for name in ranked if name in judged and judged[name][1] == 0]
    said = [
        f"By the score {best} is closest to the real noise: {scores[best]:.3f}, where 0 is the truth and 1 white noise."
        f" Its std is {summary[best]['std']['median']:.2f} times the real one's."
        + "".join(f" Next is {name}: {scores[name]:.3f}." for name in ranked[1:2])
    ]
    if blind and best in judged and best != blind[0]:
        said.append(
            f"{best} gets {judged[best][1]} of the values of the very image that it is compared with. Among models "
            f"that get none, {blind[0]} is closest: {scores[blind[0]]:.3f}."
        )
    if found and found.tests:
        said.append(_verdict_of_classifiers(found, best))
    return said


def _verdict_of_classifiers(found: TwoSampleTests, best: str) -> str:
    tests = pd.DataFrame([(test.model, test.patch, test.auc) for test in found.tests])
    tests.columns = pd.Index(["model", "patch", "auc"])
    medians = tests.groupby(["model", "patch"])["auc"].median().unstack()
    models = medians.drop(index=found.floor, errors="ignore")
    if models.empty:
        return "No model was given to the classifiers."

    def told(name: str) -> str:
        parts = [
            f"with patches of {side} pixels it {_can(auc)} (AUC {auc:.2f})" for side, auc in medians.loc[name].items()
        ]
        return f" {shown_name(name)}: {', '.join(parts)}."

    hardest = str(models.sub(0.5).abs().mean(axis=1).idxmin())
    names = [name for name in dict.fromkeys((hardest, best, found.floor)) if name in medians.index]
    question = f"Can a small classifier tell fake from real noise? The hardest for it is {hardest}."
    return question + "".join(map(told, names))


def _can(auc: float) -> str:
    limits = {0.55: "cannot", 0.75: "sometimes can", 0.95: "often can"}
    return next((words for limit, words in limits.items() if auc < limit), "nearly always can")


def remarks_on(
    pairs: list[ImagePair], scenes: int, data_dir: str, split: str, draws: int, seed: int, camera: str
) -> list[str]:
    """Say on which images the models are judged, and how."""
    remarks = [
        f"Images: {len(pairs)}, of {scenes} scenes of {data_dir}, split {split}; draws of each random model: {draws}; "
        f"seed: {seed}. Fakes are clipped and rounded to 8 bit, unless a metric's definition says otherwise; those "
        "from a folder and those called real are rounded for all."
    ]
    if found := Counter(pair.origin for pair in pairs if not pair.is_cut):
        places = ", ".join(f"{origin} {count}" for origin, count in sorted(found.items()))
        remarks.append(
            f"{found.total()} images are no crops of a frame. Where they begin in the camera's mosaic was found by the "
            f"noise (row, column and number of images: {places}), and phase is that of the best of four alignments."
        )
    if published_split(camera):
        remarks.append(SEEN_SCENES)
    return remarks


def _counts(rows: pd.DataFrame) -> list[str]:
    """Remark on models that have no noise for some of the images."""
    total, images = rows["image"].nunique(), rows.groupby("model", sort=False)["image"].nunique()
    return [f"{model} has noise for {count} of {total} images." for model, count in images.items() if count < total]


def summarise_models(rows: pd.DataFrame) -> Summary:
    """Average rows by model, best score first.

    Models that are not ranked (`is_ranked`) come last, by how far their std is off.
    """
    metrics = ("score", *METRICS)
    summary = {model: summarise(own, metrics, "draw") for model, own in rows.groupby("model", sort=False)}
    return dict(sorted(summary.items(), key=lambda item: _rank(item[1])))


def _rank(model: Statistics) -> tuple[bool, float]:
    if is_ranked(model):
        return False, model["score"]["mean"]
    median = model["std"]["median"]
    return True, abs(np.log(max(median, 1e-9))) if np.isfinite(median) else np.inf


def is_ranked(model: Statistics) -> bool:
    """Return whether a model's noise is strong enough, and not too strong, for a comparison to mean anything.

    By the median std over images: crops that are nearly free of noise have wild ratios.
    """
    low, high = STD_RANGE
    return low <= model["std"]["median"] <= high


def best_models(summary: Summary, metric: str) -> list[str]:
    """Return the models with the best mean, `real` and those not ranked aside: usually one, several if equal."""
    if metric not in RANKED:
        return []
    best = METRICS[metric].best if metric in METRICS else 0
    distance = {
        model: round(abs(values[metric]["mean"] - best), SHOWN_DIGITS)
        for model, values in summary.items()
        if model != "real" and is_ranked(values) and np.isfinite(values[metric]["mean"])
    }
    return [model for model in distance if distance[model] == min(distance.values())]


def summary_table(summary: Summary, caption: str = "") -> Table:
    """Tabulate the means of all metrics, a row per model, with the best ones marked."""
    rows = []
    for name, values in summary.items():
        label = shown_name(name) if is_ranked(values) else f"{shown_name(name)} (not ranked)"
        rows.append([label, *(_number(values[metric]["mean"]) for metric in SHOWN)])
    best = {metric: best_models(summary, metric) for metric in SHOWN}
    return Table.from_rows(["model", *SHOWN], rows, caption, best)


def _c2st_sections(folder: Path, found: TwoSampleTests, models: list[str]) -> Sections:
    """Write c2st.csv and c2st.png and return the section on the two-sample tests."""
    columns = ("model", "patch", "seed", "auc", "steps", "tested")
    rows = pd.DataFrame([dict(zip(columns, test)) for test in found.tests])
    write_csv(folder / "c2st.csv", rows.to_dict("records"), columns)
    names = [name for name in dict.fromkeys((*models, found.floor)) if name in set(rows["model"])]
    of_model = rows.groupby(["model", "patch"])["auc"].agg(["median", "min", "max"])
    sides = sorted(rows["patch"].unique())
    cells = [[name, *("{:.3f} [{:.3f}, {:.3f}]".format(*of_model.loc[name, side]) for side in sides)] for name in names]
    tested = ", ".join(f"{side}: {rows.loc[rows['patch'] == side, 'tested'].max()}" for side in sides)
    caption = (
        "AUC at which a small network tells a model's noise from real noise, by the patches' side: median and range "
        f"over {rows['seed'].nunique()} seeds; .5: it cannot, 1: it always can. Floor: {found.floor}. Trained on every "
        f"other {found.split_by}, tested on the rest (patches of each kind, by side: {tested})."
    )
    table = Table.from_rows(["model", *(f"{side} pixels" for side in sides)], cells, caption)
    wide = [f"{name}, {side} pixels" for name, side in of_model[of_model["max"] - of_model["min"] >= STEADY].index]
    remark = (
        f"Not steady, a range of {STEADY} or more: {'; '.join(wide)}. Between .5 and 1 the short trainings do not all "
        "find the same difference, and the AUC itself has a standard error of up to .41 / sqrt(patches)."
    )
    first = {test.model: test for test in found.tests if test.patch == max(sides) and test.seed == found.tests[0].seed}
    panels = [
        [
            (label, magnified_noise(noise, 40).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1))
            for label, noise in (
                (f"real, beside {shown_name(name)}", first[name].real),
                (shown_name(name), first[name].fake),
            )
        ]
        for name in names
    ]
    write_image(folder / "c2st.png", panel(panels))
    picture = Picture(
        folder / "c2st.png",
        f"Noise of the patches that the first classifier was surest of, x{ZOOM}: on the left real ones, on the right "
        "fakes of the model.",
    )
    return {"Two-sample tests": [table, *([remark] if wide else []), picture]}


def _spread_table(summary: Summary) -> Table:
    def cell(value: dict[str, float]) -> str:
        draws = "" if math.isnan(value["over_draws"]) else f" / {_number(value['over_draws'])}"
        return _number(value["over_images"]) + draws

    rows = [[name, *(cell(summary[name][metric]) for metric in SHOWN)] for name in summary]
    caption = "Standard deviation between images / between draws, where there are several."
    return Table.from_rows(["model", *SHOWN], rows, caption)


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.{SHOWN_DIGITS}f}" if abs(value) < 99.9995 else f"{value:.0f}"


def draw_scores(summary: Summary) -> np.ndarray:
    """Draw the scores of a summary's ranked models: (H, W, 3) uint8."""
    intervals = {}
    for name, values in summary.items():
        mean, spread = values["score"]["mean"], np.nan_to_num(values["score"]["over_images"])
        intervals[shown_name(name)] = (mean, mean - spread, mean + spread)
    ranked = {shown_name(name): intervals[shown_name(name)] for name in summary if is_ranked(summary[name])}
    return charts.scores([REAL, *intervals], ranked or intervals)
