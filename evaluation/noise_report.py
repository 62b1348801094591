"""Write down an evaluation of noise models: report.md, report.html, results.csv, results.json and the plots."""

import math
from pathlib import Path
from typing import Any

from evaluation.noise import COLUMNS, METRICS, Results
from evaluation.noise_models import DESCRIPTIONS, shown_name
from evaluation.noise_pictures import CAPTIONS, draw_pictures, draw_scores
from evaluation.noise_summary import STD_RANGE, best_models, is_ranked, summarise
from evaluation.report import appendix, difference_table, without_nan, write_csv, write_pages
from evaluation.summary import differences
from metrics.score import WHITE_NOISE
from utils.files import write_json
from utils.image import write_image
from utils.report import Block, Heading, Picture, Table, Text

SHOWN = ("score", *METRICS)
DIFFERENCES = ("score", "kld_exact", "akld", "acf", "xcorr", "nlf")

WHITE_NOISE_TERMS = ", ".join(f"{name}/{scale}" for name, scale in WHITE_NOISE.items())

DEFINITIONS = {
    "score": f"structure-aware score: mean of {WHITE_NOISE_TERMS}"
    "; 0 is the truth, 1 white Gaussian noise of the true std. Models are sorted by it",
    "kld": "KL(real || fake) in nats, 66 bins, empty ones dropped (NeCA's protocol); clipped and rounded. No true "
    "divergence: it can be negative, and nothing is ranked by it",
    "kld_naflow": "the same with 256 bins on [-1, 1]; clipped, not rounded (but images that are rounded "
    "anyway, which fit its bins worse). Not ranked either",
    "kld_flow": "the same with bins of 4 grey levels and add-one smoothing; neither clipped nor rounded",
    "kld_exact": "the same with a bin for every grey-level difference and add-one smoothing; clipped and rounded",
    "akld": "DANet's KL divergence of local variances; clipped, not rounded. The mean over L draws is AKLD at that L; "
    "two draws of one process score .04 to .08: see the floor's row",
    "acf": "RMS difference of autocorrelation over lags up to 4 pixels",
    "psd": "RMS difference of the radially averaged power spectra in dB; 32 rings, floored at the power of "
    "rounding, 1/12",
    "xcorr": "largest difference of channel correlations",
    "nlf": "mean relative difference of the noise's std by clean intensity, 16 bins of at least 500 "
    "pixels; the real std counts as at least that of rounding, 0.29",
    "std": "standard deviation, fake over real; best is 1",
    "bias": "largest difference of a channel's mean, grey levels",
    "nlf_mean": "mean difference of the noise's mean by clean intensity, grey levels",
}


def summary_table(summary: dict[str, dict], caption: str = "") -> Table:
    """Means of all metrics, a row per model, the best ones marked."""
    names = list(summary)
    best = {
        (row, 1 + column)
        for column, metric in enumerate(SHOWN)
        for row, name in enumerate(names)
        if name in best_models(summary, metric)
    }
    rows = [[_label(name, summary), *(_number(summary[name][metric]["mean"]) for metric in SHOWN)] for name in names]
    return Table(["model", *SHOWN], rows, caption, best)


def _label(name: str, summary: dict[str, dict]) -> str:
    return shown_name(name) if is_ranked(summary[name]) else f"{shown_name(name)} (not ranked)"


def _spread_table(summary: dict[str, dict]) -> Table:
    def cell(value: dict[str, float]) -> str:
        draws = "" if math.isnan(value["over_draws"]) else f" / {_number(value['over_draws'])}"
        return _number(value["over_images"]) + draws

    rows = [[name, *(cell(summary[name][metric]) for metric in SHOWN)] for name in summary]
    return Table(["model", *SHOWN], rows, "Standard deviation between images / between draws, where there are several.")


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 99.9995 else f"{value:.0f}"


def write_report(results: Results, info: dict[str, Any], folder: Path, seed: int, html: bool) -> Table:
    """Write everything into `folder`, the numbers first: -> the summary table, for the terminal.

    info: what to record of the run, plain values: title, remarks (a list of lines), provenance (a dict).
    """
    rows = results.rows
    summary = summarise(rows)
    usable = [name for name in ("NeCA-W", *summary) if name in summary and name != "real" and is_ranked(summary[name])]
    reference = usable[0] if usable else next(iter(summary))
    found = {metric: differences(rows, reference, metric, seed) for metric in DIFFERENCES}
    by_iso = {
        iso: summarise([row for row in rows if row["iso"] == iso]) for iso in sorted({row["iso"] for row in rows})
    }
    info = info | {"remarks": [*info["remarks"], *_counts(rows)]}
    images = draw_pictures(results.evidence, list(summary)) | {"scores": draw_scores(summary)}

    write_csv(folder / "results.csv", rows, COLUMNS)
    content = {"summary": summary, "by_iso": by_iso, "differences": {"reference": reference, **found}}
    write_json(folder / "results.json", without_nan(info | content | {"definitions": DEFINITIONS}))
    for name, image in images.items():
        write_image(folder / f"{name}.png", image)
    pictures = {name: Picture(folder / f"{name}.png", caption) for name, caption in CAPTIONS.items()}
    table = summary_table(
        summary,
        "Means over images and draws; lower is better, but for std, whose best is 1. Score: "
        "mean of " + WHITE_NOISE_TERMS + "; 0 is the truth, 1 white Gaussian noise.",
    )
    blocks = _blocks(info, table, pictures, summary, by_iso)
    blocks += [Heading("Spread and differences"), _spread_table(summary)]
    if any(found.values()):
        blocks.append(difference_table(found, list(summary), reference, "model", "worse"))
    blocks += [Heading("Models"), _described(summary), *appendix(DEFINITIONS, info["provenance"])]
    write_pages(folder, info["title"], blocks, html)
    return table


def _counts(rows: list[dict]) -> list[str]:
    """Remark on models that have no noise for some of the images."""
    models = dict.fromkeys(row["model"] for row in rows)
    images = {model: len({row["image"] for row in rows if row["model"] == model}) for model in models}
    total = len({row["image"] for row in rows})
    return [f"{model} has noise for {count} of {total} images." for model, count in images.items() if count < total]


def _blocks(info: dict, table: Table, pictures: dict[str, Picture], summary: dict, by_iso: dict) -> list[Block]:
    blocks: list[Block] = [Heading(info["title"], 1), *(Text(line) for line in info["remarks"])]
    blocks += [Heading("Summary"), table]
    if unranked := [name for name, values in summary.items() if not is_ranked(values)]:
        low, high = STD_RANGE
        reason = f"since the median std is not within {low} to {high} times the real one's"
        blocks.append(Text(f"Not ranked, {reason}: {', '.join(unranked)}."))
    blocks += [pictures["scores"], Heading("Noise, magnified"), pictures["noises"]]
    blocks += [Heading("Structure"), pictures["autocorrelation"], pictures["spectra"]]
    blocks += [Heading("Intensity and histogram"), pictures["noise_levels"], pictures["histograms"]]
    if len(by_iso) > 1:
        blocks += [Heading("By ISO"), *(summary_table(part, f"ISO {iso}") for iso, part in by_iso.items())]
    return blocks


def _described(summary: dict[str, dict]) -> Table:
    unknown = "fake images from a folder (--fake_dir)"
    return Table(["model", "what it is"], [[name, DESCRIPTIONS.get(name, unknown)] for name in summary])
