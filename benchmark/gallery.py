"""Draw the pictures of the documents: python -m benchmark.gallery PICTURE OUTPUT INPUT ...

runs/gallery.sh makes them all. What a picture takes as INPUT is in the docstring of its function.
"""

import argparse
import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from data.sidd import parse_scene
from evaluation.c2st import MIRRORED
from evaluation.denoising_report import pgaps
from noise import load_noise
from synthesis.curves import measure_curve
from utils.charts import COLOURS, INTENSITY, LEVEL, NORMAL, SMALL, make_panels, to_pixels
from utils.command import run_command
from utils.image import jpeg_encoding, read_image, write_image
from utils.panels import Tile, magnified_noise, panel

CAMERAS = {"G4": "LG G4", "GP": "Google Pixel", "IP": "iPhone 7", "N6": "Nexus 6", "S6": "Galaxy S6"}
ISOS = 100, 800, 3200
CURVES = 100, 200, 400, 800, 1600, 3200, 6400
SIDE, SMALLER_SIDE = 148, 122  # pixels of a tile; five or six fit the 800 pixels that GitHub gives a page
LOUD = 2  # how much noise is magnified beside its image
QUALITY = 75  # of JPEG files
GUESSED = 0.5  # AUC of a classifier that guesses
FLOOR = "real against real"
TIME = "%Y-%m-%d %H:%M:%S,%f"
LOG_LINE = re.compile(r"^([\d-]+ [\d:,]+) INFO (?:(camera )|\w+  epoch \d+  step (\d+))")
FIT = re.compile(r"([^=]+)=([\d.]+),([\d.]+)")
Values = dict[str, list[float]]  # by name


def draw_noise(inputs: list[str]) -> np.ndarray:
    """Show clean, real and fake images and both noises. Inputs: a clean and a noisy SIDD file, ISO, row, column."""
    clean, real = (read_image(path) for path in inputs[:2])
    iso, top, left = map(int, inputs[2:5])
    scene = parse_scene(Path(inputs[0]).parent.name)
    fake = load_noise(scene.camera).synthesize(clean, iso, key=Path(inputs[0]).name)  # as a folder of them gets it
    here = slice(top, top + SIDE), slice(left, left + SIDE)
    images = [image[here] for image in (clean, real, fake)]
    heads = f"clean\nSIDD, scene {scene.instance}", f"real\n{CAMERAS[scene.camera]}", f"fit\nby the ISO alone, {iso}"
    noises = [image.astype(np.int16) - images[0] for image in images[1:]]
    tiles = [
        (f"{what} x {LOUD}\nstd {noise.std():.1f} grey levels", magnified_noise(noise, LOUD))
        for what, noise in zip(("real noise", "fit's noise"), noises)
    ]
    return panel([[*zip(heads, images), *tiles]])


def draw_phones(inputs: list[str]) -> np.ndarray:
    """Show one photograph with the noise of each phone by ISO. Inputs: a clean file, row and column of a part of it."""
    clean, (top, left) = read_image(inputs[0]), map(int, inputs[1:3])
    clean = clean[top : top + SMALLER_SIDE, left : left + SMALLER_SIDE]
    rows: list[list[Tile]] = []
    for iso in ISOS:
        tiles = [("clean", clean)]
        for camera, name in CAMERAS.items():
            noise = load_noise(camera)
            beyond = "" if min(noise.isos) <= iso <= max(noise.isos) else " *"
            tiles.append((f"{name}\nISO {iso}{beyond}", noise.synthesize(clean, iso, key=camera)))
        rows.append(tiles)
    return panel(rows)


def draw_levels(inputs: list[str]) -> np.ndarray:
    """Draw the std of each camera's noise by clean intensity and ISO, within the measured ISOs. Inputs: cameras."""
    titles = [f"{CAMERAS.get(camera, 'camera')} ({camera})" for camera in inputs]
    title = "Noise by clean intensity, mean of the channels"
    figure, axes = make_panels(title, titles, INTENSITY, LEVEL, 3, (2.4, 2.3))
    from matplotlib import colormaps  # here, for its import takes a second

    colours = colormaps["viridis"](np.linspace(0.95, 0, len(CURVES)))
    for axis, camera in zip(axes, inputs):
        noise = load_noise(camera)
        for iso, colour in zip(CURVES, colours):
            if min(noise.isos) <= iso <= max(noise.isos):
                stds = measure_curve(noise, iso).reshape(32, 8, -1).mean(axis=(1, 2))
                axis.plot(np.arange(4, 256, 8), stds, color=colour, label=f"ISO {iso}", linewidth=1.8)
        axis.set(xlim=(0, 255), ylim=(0, None), xticks=(0, 64, 128, 192))
    handles = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels())}
    figure.legend(
        handles.values(), handles, loc="lower right", bbox_to_anchor=(0.85, 0.1), fontsize=NORMAL, frameon=False
    )
    return to_pixels(figure)


def draw_judged(inputs: list[str]) -> np.ndarray:
    """Draw score and c2st of noise models, median and range. Inputs: folders of `main_eval.py noise --c2st`.

    Folders of one camera share a row of panels; values of one model in several folders are one range. NAME=FOLDER
    gives the model of a folder another name.
    """
    found: dict[str, dict[str, Values]] = {}  # by camera and column
    for given in inputs:
        name, _, folder = given.rpartition("=")
        results = json.loads((Path(folder) / "results.json").read_text())
        columns = found.setdefault(results["provenance"]["options"]["cam_name"], {})
        for model, metrics in results["summary"].items():
            columns.setdefault("score", {}).setdefault(name or model, []).append(metrics["score"]["mean"])
        for (model, side), rows in pd.read_csv(Path(folder) / "c2st.csv").groupby(["model", "patch"]):
            model = FLOOR if model in (MIRRORED, "real") else name or model
            columns.setdefault(f"c2st, {side} pixels", {}).setdefault(model, []).extend(rows["auc"])
    panels = {f"{camera}: {column}": values for camera, columns in found.items() for column, values in columns.items()}
    return _draw_dots("Noise models beside real noise", panels, len(next(iter(found.values()))), GUESSED, "c2st", 3)


def draw_denoisers(inputs: list[str]) -> np.ndarray:
    """Draw PGap of denoisers, a dot for each seed. Inputs: folders of `main_eval.py denoise` with a row `real`.

    ROW=NAME among the inputs gives a row another name.
    """
    found: dict[str, Values] = {}
    names = dict(given.split("=", 1) for given in inputs if "=" in given)
    for folder in [given for given in inputs if "=" not in given]:
        for camera, rows in pd.read_csv(Path(folder) / "results.csv").groupby("camera"):
            real = rows[rows["denoiser"] == "real"]
            for name, own in rows.groupby("denoiser", sort=False):
                if name not in ("real", "noisy"):
                    values = found.setdefault(f"{camera}: PGap (dB)", {}).setdefault(names.get(name, name), [])
                    values.extend(pgaps(real, own))
    return _draw_dots("PSNR lost by training on fake noise in place of real noise", found, len(found), 0, "PGap", 2)


def draw_training(inputs: list[str]) -> np.ndarray:
    """Draw the score of trainings by time. Inputs: NAME=FOLDER of a run, NAME=SECONDS,SCORE of a fit beside it."""
    figure, (axis,) = make_panels("Score of NeCA in training", [""], "minutes of the clock", "score (0: the truth)")
    colours = iter(COLOURS)
    for given in inputs:
        if fit := FIT.fullmatch(given):
            name, seconds, score = fit[1], float(fit[2]), float(fit[3])
            axis.plot(seconds / 60, score, "*", color="black", markersize=13, label=f"{name}, {score:g}")
            axis.axhline(score, color="black", linewidth=0.8, linestyle="dotted")
            continue
        name, _, folder = given.rpartition("=")
        tests, seconds_at, colour = _tests_of(Path(folder)), _seconds_of(Path(folder)), next(colours)
        minutes = [seconds_at[step] / 60 for step in tests.index]
        axis.plot(minutes, tests["score"], ".-", color=colour, label=f"{name}, {tests.index[-1]:,} steps")
        if "score_ema" in tests:
            axis.plot(minutes, tests["score_ema"], ".--", color=colour, label=f"{name}, averaged weights")
    axis.axhline(1, color="0.45", linewidth=0.8, linestyle="dashed")
    axis.text(0.99, 1, "white noise", transform=axis.get_yaxis_transform(), ha="right", va="bottom", size=SMALL)
    axis.set_yscale("log", subs=(2, 5))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.tick_params(which="minor", labelsize=SMALL)
    figure.legend(loc="outside lower center", ncols=2, fontsize=SMALL, frameon=False)
    return to_pixels(figure)


def _tests_of(folder: Path) -> pd.DataFrame:
    """Read the tests of a training run, by step. Raise ValueError if there is none yet."""
    rows = [json.loads(line) for line in (folder / "logs" / "metrics.jsonl").read_text().splitlines()]
    tests = [row for row in rows if row["kind"] == "test"]
    if not tests:
        raise ValueError(f"{folder}: no test has been recorded yet; wait for one")
    return pd.DataFrame(tests).groupby("step").last()


def _seconds_of(folder: Path) -> dict[int, float]:
    """Return by step how long a training had run, without the time between two commands."""
    seconds, last, found = 0.0, None, {0: 0.0}
    for line in (folder / "logs" / "train.log").read_text().splitlines():
        if match := LOG_LINE.match(line):
            now = datetime.strptime(match[1], TIME)
            if last is not None and not match[2]:  # a line that begins with the camera is a command's first
                seconds += (now - last).total_seconds()
            last = now
            if match[3]:
                found[int(match[3])] = seconds
    return found


def _draw_dots(title: str, panels: dict[str, Values], columns: int, origin: float, at: str, digits: int) -> np.ndarray:
    """Draw median, range and values of each name, a panel for each group; a line at `origin` where `at` is named."""
    names = list(dict.fromkeys(name for values in panels.values() for name in values))
    size = (min(7 / columns, 3), 0.4 + 0.26 * len(names))
    figure, axes = make_panels(title, panels, "", "", columns, size, sharex="col", sharey="row")
    for number, (axis, (group, values)) in enumerate(zip(axes, panels.items())):
        for row, name in enumerate(names):
            if found := values.get(name):
                colour = "black" if name == FLOOR else COLOURS[0]
                axis.plot([min(found), max(found)], [row, row], color=colour, linewidth=2)
                axis.plot(found, [row] * len(found), "o", color=colour, markersize=3, alpha=0.5)
                median = float(np.median(found))
                axis.plot(median, row, "o", color=colour, markersize=6)
                place = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "size": SMALL - 1}
                axis.annotate(f"{median:.{digits}f}", (median, row), **place)
        if at in group:
            axis.axvline(origin, color="0.3", linewidth=1)
        axis.margins(x=0.12)
        axis.tick_params(labelbottom=True)
        if not number % columns:
            axis.set_yticks(range(len(names)), names, size=NORMAL)
            axis.set_ylim(len(names) - 0.5, -0.8)
    return to_pixels(figure)


def draw_same(inputs: list[str]) -> np.ndarray:
    """Take a picture of a report as it is. Input: its file."""
    return read_image(inputs[0])


PICTURES: dict[str, Callable[[list[str]], np.ndarray]] = {
    "noise": draw_noise,
    "phones": draw_phones,
    "levels": draw_levels,
    "judged": draw_judged,
    "denoisers": draw_denoisers,
    "training": draw_training,
    "same": draw_same,
}


def main(arguments: list[str] | None = None) -> None:
    """Draw one picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", choices=PICTURES)
    parser.add_argument("output", type=Path, help="file, .png or .jpg")
    parser.add_argument("inputs", nargs="*")
    args = parser.parse_args(arguments)
    picture = PICTURES[args.picture](args.inputs)
    smallest = jpeg_encoding(QUALITY) if args.output.suffix == ".jpg" else (cv2.IMWRITE_PNG_COMPRESSION, 9)
    write_image(args.output, picture, encoding=smallest)
    print(f"{args.output}: {picture.shape[1]} x {picture.shape[0]}, {args.output.stat().st_size // 1000} kB")


if __name__ == "__main__":
    run_command(main)
