"""Write down an evaluation of denoisers: report.md, report.html, results.csv, results.json and the pictures."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from data.splits import published_split
from evaluation.denoising import COLUMNS, DETAIL, METRICS, DenoisingResults, Example, Run
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
from utils.charts import bars
from utils.files import write_json
from utils.image import write_image
from utils.panels import panel
from utils.report import Picture, Sections, Table

BOOTSTRAP_SEED = 0
SHOWN_DIGITS = {"psnr": 2, "ssim": 4}  # equal to the reader, equally good
TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}
DEFINITIONS = {
    "psnr": "peak signal-to-noise ratio in dB, peak 255, of the output clipped and rounded to 8 bit; the mean of the "
    "images' values. Outputs without any error, whose value is infinite, are left out",
    "ssim": "structural similarity (Wang et al. 2004), Gaussian window of 11 pixels, sigma 1.5, data range 255, mean "
    "of the channels, of the same output",
    "pgap": "PSNR of the denoiser trained on real noise minus that of this one, the same recipe on other noise, seed "
    "by seed: what the synthetic noise costs; negative: it is better than real noise",
}
COMPARABLE = (
    "These figures resemble those of SIDD's older server, from which the published tables are, but that has images of "
    "its own: validation is not the benchmark. They do not compare with Kaggle's, whose SSIM lies far below the older "
    "server's for the same images. What others reach by training on real noise differs by 0.8 dB, so compare the gap "
    "to a run on real noise by the same recipe."
)

ZOOM = 3
TILE_SIDE = ZOOM * DETAIL  # pixels
MOST_COLUMNS = 6
LABEL_LENGTH = 24  # letters above a tile
BRIGHT, MOST_GAIN = 160, 5  # details darker than this grey level are shown brighter, by this factor at most
FRAME_COLOURS = ((255, 255, 255), (220, 30, 30))  # seen on dark and on bright images
CAPTIONS = {
    "quality": "Means over the images, best PSNR on top. Bars begin at the noisy image's; black lines: one standard "
    "deviation between seeds, where there are several. Grey: no training.",
    "examples": f"The square with the most detail of some images, x{ZOOM}, and the PSNR of the whole image; of several "
    "seeds the first. Dark ones are shown brighter.",
}

Summary = dict[str, Statistics]  # by denoiser


def remarks_on(images: str, cameras: list[str]) -> list[str]:
    """Say which images were denoised and how to read the figures; `cameras` are those of scenes."""
    remarks = [f"Images: {images}. Outputs are clipped and rounded to 8 bit.", COMPARABLE]
    if any(published_split(camera) for camera in cameras):
        remarks.append(SEEN_SCENES)
    return remarks


def write_report(
    folder: Path,
    results: DenoisingResults,
    runs: list[Run],
    pgap_of: str | None,
    title: str,
    remarks: list[str],
    made_with: dict[str, Any],
    html: bool,
) -> Table:
    """Write everything into `folder`, the numbers first, and return the summary table, for the terminal.

    `pgap_of` is the denoiser that PGap is measured from, if there is one; `made_with` the run's `provenance`.
    """
    rows, denoisers = pd.DataFrame(results.rows), {run.denoiser.name: run.denoiser for run in runs}
    trained = [name for name, denoiser in denoisers.items() if not denoiser.classic]
    summary = summarise_denoisers(rows, trained, pgap_of)
    parts = {
        key: {value: summarise_denoisers(part, trained, pgap_of) for value, part in rows.groupby(key)}
        for key in ("camera", "iso")
    }
    reference = pgap_of or next(iter(summary))
    found = {metric: differences(rows, reference, metric, BOOTSTRAP_SEED, by="denoiser") for metric in METRICS}
    remarks = [*remarks, *_perfect(rows)]
    identities = {name: [run.denoiser.identity for run in runs if run.denoiser.name == name] for name in denoisers}

    write_csv(folder / "results.csv", results.rows, COLUMNS)
    content: dict[str, Any] = {"title": title, "remarks": remarks, "provenance": made_with, "summary": summary}
    content |= {f"by_{key}": part for key, part in parts.items()} | {"denoisers": identities}
    content |= {"differences": {"reference": reference, **found}, "definitions": DEFINITIONS}
    write_json(folder / "results.json", without_nan(content))
    noisy = next(name for name, denoiser in denoisers.items() if denoiser.is_noisy)
    write_image(
        folder / "quality.png", draw_quality(summary, noisy, [name for name in denoisers if name not in trained])
    )
    write_image(folder / "examples.png", draw_examples(list(results.examples.values()), list(reversed(summary))))
    pictures = {name: Picture(folder / f"{name}.png", caption) for name, caption in CAPTIONS.items()}

    table = summary_table(summary, {name: len(texts) for name, texts in identities.items()})
    sections: Sections = {
        "": [*verdict(summary, noisy, pgap_of)],
        "What was measured": [*remarks],
        "Summary": [table, pictures["quality"]],
        "Before and after": [pictures["examples"]],
    }
    for heading, part in (("By camera", parts["camera"]), ("By ISO", parts["iso"])):
        if len(part) > 1:
            sections[heading] = [_group_table(part, list(summary))]
    sections["Spread and differences"] = [_spread_table(summary)]
    if any(found.values()):
        sections["Spread and differences"] += [difference_table(found, list(summary), reference, "denoiser", "better")]
    described = [[name, text] for name, texts in identities.items() for text in texts]
    sections["Denoisers"] = [Table.from_rows(["denoiser", "what it is"], described)]
    write_pages(folder, title, sections | appendix(DEFINITIONS, made_with), html)
    return table


def verdict(summary: Summary, noisy: str, pgap_of: str | None) -> list[str]:
    """Say in words which denoiser is best, and what synthetic noise costs beside real noise."""
    means = {name: values["psnr"]["mean"] for name, values in summary.items()}
    best = next(iter(summary))
    said = [f"The best PSNR is that of {best}: {means[best]:.2f} dB. The noisy images have {means[noisy]:.2f} dB."]
    gaps = {name: values["pgap"]["mean"] for name, values in summary.items() if "pgap" in values and name != pgap_of}
    if gaps:
        least = min(gaps, key=lambda name: gaps[name])
        change = "costs" if gaps[least] >= 0 else "gains"
        said.append(
            f"Among the noises beside {pgap_of}, {least} is the best to train on: it {change} "
            f"{abs(gaps[least]):.2f} dB in place of {pgap_of} (PGap)."
        )
    return said


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
    return dict(sorted(summary.items(), key=lambda item: -np.nan_to_num(item[1]["psnr"]["mean"])))


def pgaps(real: pd.DataFrame, own: pd.DataFrame) -> pd.Series:
    """Return for each seed the PSNR of the run trained on real noise minus that of the other one.

    Only images count on which both are finite.
    """
    keys = ["seed", "image"]
    both = real[[*keys, "psnr"]].merge(own[[*keys, "psnr"]], on=keys, suffixes=("", "_own"))
    gaps = (both["psnr"] - both["psnr_own"]).replace([np.inf, -np.inf], np.nan)
    return gaps.groupby(both["seed"], dropna=False).mean().dropna()


def best_denoisers(summary: Summary, metric: str) -> list[str]:
    """List the denoisers with the highest mean: usually one, several when they are equal to the reader."""
    shown = {name: round(values[metric]["mean"], SHOWN_DIGITS[metric]) for name, values in summary.items()}
    known = [value for value in shown.values() if np.isfinite(value)]
    return [name for name, value in shown.items() if known and value == max(known)]


def summary_table(summary: Summary, runs: dict[str, int]) -> Table:
    """Tabulate the means of all denoisers, the best ones marked, their spread over seeds, and the numbers of runs."""
    best = {TITLES[metric]: best_denoisers(summary, metric) for metric in METRICS}
    has_pgap = any("pgap" in values for values in summary.values())
    rows = []
    for name, values in summary.items():
        cells = [_spread_cell(values[metric], SHOWN_DIGITS[metric]) for metric in METRICS]
        cells += [_spread_cell(values["pgap"], 2) if "pgap" in values else "-"] * has_pgap
        rows.append([name, *cells, str(runs[name])])
    caption = "Means over the images; after ± the standard deviation between seeds, where there are several."
    return Table.from_rows(["denoiser", *TITLES.values(), *["PGap (dB)"] * has_pgap, "runs"], rows, caption, best)


def _spread_cell(value: dict[str, float], digits: int) -> str:
    spread = "" if math.isnan(value["over_seeds"]) else f" ± {value['over_seeds']:.{digits}f}"
    return _number(value["mean"], digits) + spread


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


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
    return Table.from_rows(["denoiser", *TITLES.values()], rows, caption)


def _perfect(rows: pd.DataFrame) -> list[str]:
    """Remark on outputs without any error."""
    counts = rows[np.isinf(rows["psnr"])].groupby("denoiser", sort=False).size()
    return [f"{name}: {count} outputs equal the clean image, their PSNR is left out." for name, count in counts.items()]


def draw_quality(summary: Summary, noisy: str, classic: list[str]) -> np.ndarray:
    """Draw PSNR and SSIM of a summary: (H, W, 3) uint8. `noisy` is the name of the noisy image's row."""
    groups = {
        title: {name: (values[metric]["mean"], values[metric]["over_seeds"]) for name, values in summary.items()}
        for metric, title in TITLES.items()
    }
    return bars(groups, noisy, "Denoised images", classic)


def draw_examples(examples: list[Example], names: list[str]) -> np.ndarray:
    """Draw images before and after, denoisers in the order of `names`: (H, W, 3) uint8."""
    rows = []
    for example in examples:
        image, detail = example.image, example.image.clean[example.window]
        gain = round(float(np.clip(BRIGHT / max(np.percentile(detail, 99), 1), 1, MOST_GAIN)), 1)
        known = image.camera if image.iso is None else f"{image.camera}, ISO {image.iso}"
        name = image.name if len(image.name) <= LABEL_LENGTH else image.name.partition("/")[0][:LABEL_LENGTH]
        brighter = f"all x{gain:g} brighter" if gain > 1 else ""
        tiles = [(f"{known}\n{name}", _overview(example)), (f"clean\n{brighter}", _zoomed(detail, gain))]
        for name in names:
            output, psnr = example.details[name]
            tiles.append((f"{name[:LABEL_LENGTH]}\n{psnr:.2f} dB", _zoomed(output, gain)))
        columns = -(-len(tiles) // -(-len(tiles) // MOST_COLUMNS))  # rows as even as can be
        rows += [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    return panel(rows)


def _zoomed(detail: np.ndarray, gain: float) -> np.ndarray:
    shown = np.clip(np.rint(gain * detail), 0, 255).astype(np.uint8)
    return shown.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _overview(example: Example) -> np.ndarray:
    """Shrink the clean image to a tile's size and draw a frame around the detail."""
    clean, (rows, columns) = example.image.clean, example.window
    factor = TILE_SIDE / max(clean.shape[:2])
    size = [max(1, round(factor * side)) for side in clean.shape[1::-1]]
    coloured = clean.repeat(3 // clean.shape[2], axis=2)  # for the frame
    small = cv2.resize(coloured, size, interpolation=cv2.INTER_AREA)
    first, last = (
        (round(factor * x), round(factor * y)) for x, y in ((columns.start, rows.start), (columns.stop, rows.stop))
    )
    for width, colour in zip((4, 2), FRAME_COLOURS):
        cv2.rectangle(small, first, last, colour, width)
    return small
