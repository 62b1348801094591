"""Parts that the reports of all evaluations share: summaries, differences with intervals, provenance, files."""

import csv
import io
import json
import math
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from utils.files import write_text
from utils.report import Sections, Table, to_html, to_markdown

RESAMPLES = 10_000
CONFIDENCE = 0.95
SEEN_SCENES = "In SIDD's published split every test scene is also seen in training, under another exposure."
PACKAGES = ("torch", "numpy", "scipy", "opencv-python", "opencv-python-headless", "scikit-image", "matplotlib", "bm3d")

Statistics = dict[str, dict[str, float]]  # by metric and name of the statistic


def summarise(rows: pd.DataFrame, metrics: Sequence[str], repeats: str) -> Statistics:
    """Average the rows of one model: {metric: {"mean", "median", "over_images", "over_<repeats>s"}}.

    The mean is over images, then over the repeats, which are draws or seeds; the median over all. over_images is the
    standard deviation between images, of the mean over the repeats; the other one that between repeats, of the mean
    over images; nan where there is only one. Values that are not finite are left out.
    """
    values = rows[list(metrics)].astype(float).replace([np.inf, -np.inf], np.nan)
    by_image, by_repeat = (values.groupby(rows[column], dropna=False).mean() for column in ("image", repeats))
    found = {"mean": by_repeat.mean(), "median": values.median()}
    found |= {"over_images": by_image.std(), f"over_{repeats}s": by_repeat.std()}
    return pd.DataFrame(found).to_dict("index")


def differences(
    rows: pd.DataFrame, reference: str, metric: str, seed: int, by: str = "model"
) -> dict[str, dict[str, float]]:
    """Compare means, each model minus `reference`: {model: {"difference", "low", "high", "scenes"}}.

    A paired bootstrap with percentile intervals of 95 % (Efron & Tibshirani 1993): whole scenes are drawn again and
    again, since images of one scene are alike, and only images that both models have count. `by` is the column that
    names the model; of its rows of one image the mean is taken.
    """
    finite = rows[np.isfinite(rows[metric].astype(float))]
    means = finite.groupby(["image", by])[metric].mean().unstack().reindex(columns=rows[by].unique())
    found = {}
    for model in means.columns.drop(reference):
        delta = (means[model] - means[reference]).dropna()
        if len(delta):
            by_scene = delta.groupby(delta.index.str.partition("/").get_level_values(0)).agg(["sum", "count"])
            found[model] = _bootstrap(by_scene["sum"].to_numpy(), by_scene["count"].to_numpy(), seed)
    return found


def _bootstrap(sums: np.ndarray, counts: np.ndarray, seed: int) -> dict[str, float]:
    """Resample scenes, given each one's sum and number of differences."""
    scenes, tail = len(sums), 100 * (1 - CONFIDENCE) / 2
    drawn = np.random.default_rng(seed).integers(0, scenes, (RESAMPLES, scenes))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [tail, 100 - tail]).tolist() if scenes > 1 else (math.nan, math.nan)
    return {"difference": float(sums.sum() / counts.sum()), "low": low, "high": high, "scenes": scenes}


def difference_table(
    found: dict[str, dict[str, dict]], models: list[str], reference: str, kind: str, positive: str
) -> Table:
    """Tabulate `differences` by metric; kind: what a model is called; positive: "better" or "worse"."""

    def cell(metric: str, model: str) -> str:
        value = found[metric].get(model)
        if value is None:
            return "-"
        interval = "" if math.isnan(value["low"]) else f" [{value['low']:+.3f}, {value['high']:+.3f}]"
        return f"{value['difference']:+.3f}{interval}"

    rows = [[model, *(cell(metric, model) for metric in found)] for model in models if model != reference]
    caption = (
        f"Difference to {reference}, positive: {positive} than it; in brackets its {CONFIDENCE:.0%} interval, a paired "
        "bootstrap over scenes (none for a single scene). An interval that contains 0 decides nothing."
    )
    return Table.from_rows([kind, *found], rows, caption)


def check_apart(output_dir: Path, inputs: Sequence[str | Path]) -> None:
    """Raise ValueError if the results would come to lie among the images that are read."""
    for folder in inputs:
        if output_dir.resolve().is_relative_to(Path(folder).resolve()):
            raise ValueError(f"{output_dir}: lies in {folder}, which is read; the results need another folder")


def provenance(options: dict[str, Any], weights: dict[str, str]) -> dict[str, Any]:
    """Record where the numbers of a run come from; `weights` are SHA-256 hashes by file."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    command = shlex.join(["python", *sys.argv])
    options = {name: value for name, value in options.items() if name != "command"}
    return {"command": command, "options": options, "weights (SHA-256)": weights, "versions": versions}


def appendix(definitions: dict[str, str], made_with: dict[str, Any]) -> Sections:
    """Make the sections on the metrics' definitions and on the `provenance`."""
    rows = [[name, value if isinstance(value, str) else json.dumps(value)] for name, value in made_with.items()]
    return {
        "Definitions": [Table.from_rows(["name", "definition"], [list(item) for item in definitions.items()])],
        "Provenance": [Table.from_rows(["what", "value"], rows)],
    }


def write_pages(folder: Path, title: str, sections: Sections, html: bool) -> None:
    """Write report.md and, with `html`, report.html."""
    write_text(folder / "report.md", to_markdown(title, sections))
    if html:
        write_text(folder / "report.html", to_html(title, sections))
    else:
        (folder / "report.html").unlink(missing_ok=True)  # of an earlier evaluation


def write_csv(path: Path, rows: list[dict], columns: Sequence[str]) -> None:
    """Write these columns of the rows and leave out the others."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def without_nan(content: Any) -> Any:
    """Replace numbers that are not finite by None, for JSON has no nan."""
    if isinstance(content, dict):
        return {str(key): without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
