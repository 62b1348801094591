"""Write down an evaluation of denoisers: report.md, report.html, results.csv, results.json and the pictures."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.denoising import COLUMNS, METRICS, Results, Run
from evaluation.denoising_pictures import CAPTIONS, draw_examples, draw_quality
from evaluation.denoising_summary import SHOWN_DIGITS, Summary, best_denoisers, summarise_denoisers
from evaluation.report import appendix, difference_table, differences, without_nan, write_csv, write_pages
from utils.files import write_json
from utils.image import write_image
from utils.report import Picture, Sections, Table

BOOTSTRAP_SEED = 0
DEFINITIONS = {
    "psnr": "peak signal-to-noise ratio in dB, peak 255, of the output clipped and rounded to 8 bit; the mean of the "
    "images' values. Outputs without any error, whose value is infinite, are left out",
    "ssim": "structural similarity (Wang et al. 2004), Gaussian window of 11 pixels, sigma 1.5, data range 255, mean "
    "of the channels, of the same output",
    "pgap": "PSNR of the denoiser trained on real noise minus that of this one, the same recipe on other noise, seed "
    "by seed: what the synthetic noise costs; negative: it is better than real noise",
}


def write_report(
    results: Results, runs: list[Run], pgap_of: str | None, info: dict[str, Any], folder: Path, html: bool
) -> Table:
    """Write everything into `folder`, the numbers first: -> the summary table, for the terminal.

    info: what to record of the run, plain values: title, remarks (a list of lines), provenance (a dict).
    """
    rows, denoisers = pd.DataFrame(results.rows), {run.denoiser.name: run.denoiser for run in runs}
    trained = [name for name, denoiser in denoisers.items() if not denoiser.classic]

    def summaries(key: str) -> dict[Any, Summary]:
        return {value: summarise_denoisers(part, trained, pgap_of) for value, part in rows.groupby(key)}

    summary, parts = summarise_denoisers(rows, trained, pgap_of), {key: summaries(key) for key in ("camera", "iso")}
    reference = pgap_of or next(iter(summary))
    found = {metric: differences(rows, reference, metric, BOOTSTRAP_SEED, by="denoiser") for metric in METRICS}
    info = info | {"remarks": [*info["remarks"], *_perfect(rows)]}
    identities = {name: [run.denoiser.identity for run in runs if run.denoiser.name == name] for name in denoisers}

    write_csv(folder / "results.csv", results.rows, COLUMNS)
    content = {"summary": summary} | {f"by_{key}": part for key, part in parts.items()} | {"denoisers": identities}
    content |= {"differences": {"reference": reference, **found}, "definitions": DEFINITIONS}
    write_json(folder / "results.json", without_nan(info | content))
    noisy = next(name for name, denoiser in denoisers.items() if denoiser.is_noisy)
    classic = [name for name in denoisers if name not in trained]
    write_image(folder / "quality.png", draw_quality(summary, noisy, classic))
    write_image(folder / "examples.png", draw_examples(list(results.examples.values()), list(reversed(summary))))
    pictures = {name: Picture(folder / f"{name}.png", caption) for name, caption in CAPTIONS.items()}
    table = summary_table(summary, runs)
    sections = _sections(info["remarks"], table, pictures, parts, summary)
    sections["Spread and differences"] = [_spread_table(summary)]
    if any(found.values()):
        sections["Spread and differences"].append(
            difference_table(found, list(summary), reference, "denoiser", "better")
        )
    sections["Denoisers"] = [_described(identities)]
    write_pages(folder, info["title"], sections | appendix(DEFINITIONS, info["provenance"]), html)
    return table


def _sections(
    remarks: list[str], table: Table, pictures: dict[str, Picture], parts: dict, summary: Summary
) -> Sections:
    sections: Sections = {"": remarks, "Summary": [table, pictures["quality"]]}
    sections["Before and after"] = [pictures["examples"]]
    for title, part in (("By camera", parts["camera"]), ("By ISO", parts["iso"])):
        if len(part) > 1:
            sections[title] = [_group_table(part, list(summary))]
    return sections


def _described(identities: dict[str, list[str]]) -> Table:
    return Table.from_rows(
        ["denoiser", "what it is"], [[name, text] for name, texts in identities.items() for text in texts]
    )


def summary_table(summary: Summary, runs: list[Run]) -> Table:
    """Means of all denoisers, the best ones marked, and their spread over seeds."""
    best = {label: best_denoisers(summary, metric) for label, metric in (("PSNR (dB)", "psnr"), ("SSIM", "ssim"))}
    has_pgap = any("pgap" in values for values in summary.values())
    rows = []
    for name, values in summary.items():
        cells = [_spread_cell(values[metric], SHOWN_DIGITS[metric]) for metric in METRICS]
        cells += [_spread_cell(values["pgap"], 2) if "pgap" in values else "-"] * has_pgap
        rows.append([name, *cells, str(sum(run.denoiser.name == name for run in runs))])
    caption = "Means over the images; after ± the standard deviation between seeds, where there are several."
    return Table.from_rows(["denoiser", "PSNR (dB)", "SSIM", *["PGap (dB)"] * has_pgap, "runs"], rows, caption, best)


def _spread_cell(value: dict[str, float], digits: int) -> str:
    spread = "" if math.isnan(value["over_seeds"]) else f" ± {value['over_seeds']:.{digits}f}"
    return _number(value["mean"], digits) + spread


def _group_table(parts: dict[Any, Summary], names: list[str]) -> Table:
    def cell(part: Summary, name: str) -> str:
        return " / ".join(_number(part[name][metric]["mean"], SHOWN_DIGITS[metric]) for metric in METRICS)

    best = {str(key): best_denoisers(part, "psnr") for key, part in parts.items()}
    rows = [[name, *(cell(part, name) for part in parts.values())] for name in names]
    return Table.from_rows(["denoiser", *map(str, parts)], rows, "PSNR (dB) / SSIM.", best)


def _spread_table(summary: Summary) -> Table:
    def cell(values: dict[str, dict], metric: str) -> str:
        found = [values[metric][over] for over in ("over_images", "over_seeds")]
        return " / ".join(_number(value, SHOWN_DIGITS[metric]) for value in found if not math.isnan(value)) or "-"

    rows = [[name, *(cell(values, metric) for metric in METRICS)] for name, values in summary.items()]
    caption = "Standard deviation between images / between seeds, where there are several."
    return Table.from_rows(["denoiser", "PSNR (dB)", "SSIM"], rows, caption)


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _perfect(rows: pd.DataFrame) -> list[str]:
    """Remark on outputs without any error."""
    counts = rows[np.isinf(rows["psnr"])].groupby("denoiser", sort=False).size()
    return [f"{name}: {count} outputs equal the clean image, their PSNR is left out." for name, count in counts.items()]
