"""Report on a camera's fit: a picture, and a table of scores by ISO."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data.pairs import ImagePair, Sample, read_pair
from evaluation.noise import evaluate
from evaluation.noise_models import fake_noise
from noise.blind_fit import Level
from noise.interface import NoiseModel
from noise.kinds import PipelineNoise, load_fit
from noise.pipeline import Pipeline
from noise.pipeline_fit import Reduced
from utils.charts import CHANNELS, make_panels, to_pixels
from utils.panels import Tile, magnified_noise, panel
from utils.randomness import evenly_spaced
from utils.report import Table

INKS = ("#d55e00", "#009e73", "#0072b2")  # red, green, blue: Okabe, Ito 2008
SIDE, SHOWN = 192, 3  # pixels of the pictures' sides, and images
NOISE_STD = 40  # grey levels to which the noise shown is magnified


def report_of_fit(
    path: Path, pairs: Sequence[ImagePair], seed: int, num_workers: int
) -> tuple[Table | None, np.ndarray | None]:
    """Test a fit on image pairs: -> a table by ISO and a picture of the fit, None where there is nothing to show."""
    noise, table, pictures = load_fit(path), None, []
    if isinstance(noise, PipelineNoise):
        pictures.append(draw_pipeline(noise.pipeline))
    if pairs:
        model = noise.model(noise.of_iso())
        table = table_by_iso(evaluate(list(pairs), [model], 1, seed, num_workers).rows)
        pictures.append(draw_examples(evenly_spaced(pairs, SHOWN), model, seed))
    return table, stacked(pictures) if pictures else None


def table_by_iso(rows: Sequence[dict]) -> Table:
    """Tabulate medians over the test images by ISO: score (0 is the truth, 1 white noise) and std, fake over real."""
    found = pd.DataFrame(rows).groupby("iso")[["score", "std", "bias"]].median()
    images = pd.DataFrame(rows).groupby("iso").size()
    lines = [
        [str(iso), str(images[iso]), f"{of['score']:.3f}", f"{of['std']:.2f}", f"{of['bias']:.2f}"]
        for iso, of in found.iterrows()
    ]
    caption = "Medians. score: 0 the truth, 1 white noise; std: fake over real; bias in grey levels."
    return Table.from_rows(["ISO", "images", "score", "std", "bias"], lines, caption)


def table_of_reduced(pipeline: Pipeline, reduced: Sequence[Reduced], seed: int) -> Table:
    """Tabulate the std of the noise by ISO alone over that of real reduced frames: medians over the scenes."""
    ratios = np.array([one.std_ratios(pipeline, seed) for one in reduced])
    rows = [[str(len(reduced)), *(f"{value:.2f}" for value in np.median(ratios, 0))]]
    names = ["scenes", "std", *(f"std {channel}" for channel in CHANNELS[3])]
    return Table.from_rows(
        names, rows, "Held-out reduced frames, noise by their ISO alone: medians of the std, fake over real."
    )


def table_of_levels(levels: Sequence[Level]) -> Table:
    """Tabulate how strong the noise of each ISO was found to be, with intervals of 90 %."""
    rows = [
        [str(one.iso), str(one.images), f"{one.std:.2f}", "{:.2f} to {:.2f}".format(*one.interval)] for one in levels
    ]
    caption = f"std: of the noise on grey level {levels[0].grey}, in grey levels, with an interval of 90 %."
    return Table.from_rows(["ISO", "scenes", "std", "interval"], rows, caption)


def draw_pipeline(pipeline: Pipeline) -> np.ndarray:
    """Draw a pipeline: tone curve, matrix, and the noise by raw value at up to three ISOs: -> (H, W, 3) uint8."""
    isos = pipeline.isos
    shown = list(dict.fromkeys((isos[0], isos[len(isos) // 2], isos[-1])))
    titles = ["tone curve", "camera colours of sRGB", *(f"raw noise, ISO {iso}" for iso in shown)]
    figure, axes = make_panels(f"Pipeline of {pipeline.camera}", titles, "", "", len(titles), (2.7, 2.6))
    rendering, levels = pipeline.rendering, np.arange(256)
    axes[0].plot(rendering.light.numpy(), levels, color="black")
    axes[0].set(xlabel="linear light", ylabel="grey level")
    matrix = rendering.matrix.numpy()
    axes[1].imshow(matrix, "RdBu_r", vmin=-1, vmax=1)
    axes[1].grid(False)
    axes[1].set(xticks=range(3), yticks=range(3), xticklabels=list("RGB"), yticklabels=["raw R", "raw G", "raw B"])
    for (row, column), value in np.ndenumerate(matrix):
        ink = "white" if abs(value) > 0.6 else "black"
        axes[1].text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
    raw = torch.linspace(0, rendering.white, 65)
    for axis, iso in zip(axes[2:], shown):
        for (shot, read), ink, name in zip(pipeline.numbers(iso).tolist(), INKS, CHANNELS[3]):
            axis.plot(raw, 100 * (shot * raw + read).sqrt(), color=ink, label=name)
        axis.set(xlabel="raw value", ylabel="noise std (% of 1)" if axis is axes[2] else "", ylim=(0, None))
    axes[2].legend(fontsize=8, frameon=False)
    return to_pixels(figure)


def draw_examples(pairs: Sequence[ImagePair], model: NoiseModel, seed: int) -> np.ndarray:
    """Show clean, real and fake images side by side, and both noises, magnified: -> (H, W, 3) uint8."""
    rows: list[list[Tile]] = []
    for pair in pairs:
        clean, noisy = read_pair(pair)
        sample = Sample(pair, clean, noisy)
        noise = fake_noise(model, sample, seed, 0)
        if noise is None:
            continue
        fake = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
        top, left = (max(side - SIDE, 0) // 4 * 2 for side in clean.shape[:2])
        inside = slice(top, top + SIDE), slice(left, left + SIDE)
        real_noise, fake_noise_ = (image.astype(np.int16) - clean for image in (noisy, fake))
        gain = NOISE_STD / max(float(real_noise.std()), 1)
        tiles = (clean, noisy, fake, magnified_noise(real_noise, gain), magnified_noise(fake_noise_, gain))
        labels = f"clean, ISO {pair.scene.iso}", "real", "fake", f"real noise x {gain:.1f}", f"fake noise x {gain:.1f}"
        rows.append([(label, tile[inside]) for label, tile in zip(labels, tiles)])
    return panel(rows)


def stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures below each other, on white: (H, W, 3) uint8 each."""
    width = max(picture.shape[1] for picture in pictures)
    padded = [np.pad(one, ((0, 0), (0, width - one.shape[1]), (0, 0)), constant_values=255) for one in pictures]
    return np.concatenate(padded)
