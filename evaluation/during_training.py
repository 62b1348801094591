"""The tests that run during a training, on whole images."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

import metrics
from data.batches import batches_of
from data.sidd import parse_scene
from evaluation.noise_metrics import METRICS, Comparison, Reference
from evaluation.noise_pictures import REAL, Evidence, draw_pictures
from metrics import noise_of
from models.model_denoiser import DenoiserModel
from models.model_joint import JointModel
from models.optimise import to_float
from utils.image import to_uint8
from utils.panels import magnified_noise, panel
from utils.randomness import seed_from
from utils.trainer import Tested
from utils.workers import in_threads

Made = TypeVar("Made")

AVERAGED = "fake, averaged weights"
PANEL_GAIN = 4  # magnification of the noise in the pictures
TESTED = ("kld", "kld_exact", "acf", "xcorr", "nlf", "std")  # of METRICS
# Values that the terminal shows of a test, and what they mean.
SUMMARY = {"score": " (0 truth, 1 white noise)", "std": " of the real noise's", "psnr": " dB"}
DENOISERS = {"psnr": " dB", "ssim": ""}


def measure_joint(
    model: JointModel, loader: DataLoader, seed: int, with_plots: bool, num_workers: int, epoch: int
) -> Tested:
    """Measure the generators and the denoiser of a joint training on whole test images.

    psnr is the denoiser's on the real noisy image, in dB, from the first epoch on that trains it. The others are
    `TESTED`, score, the `structure_score`, and lag1, the fake minus the real autocorrelation between neighbours, mean
    of both directions and the channels; with `_ema` behind the name for the averaged weights. The white noise of an
    image follows from (seed, its number), so that tests of one run are comparable. The pictures are of the first image:
    `panel`, and `with_plots` those of the evaluation. num_workers: threads that measure.
    """
    with_denoiser = epoch >= model.options.joint_start_epoch

    def make(number: int, batch: dict[str, Any]) -> JointImages:
        generator = torch.Generator().manual_seed(seed_from(seed, "test", number))
        z = torch.randn(batch["clean"].shape, generator=generator).to(model.device)
        return _images_of_joint(model, batch, z, with_denoiser)

    values, first = _mean_over_images(loader, make, _measure_image, num_workers)
    pictures = {"panel": _panel(**first.tiles)} | (
        _plots(first.name, first.compared(is_brief=False)) if with_plots else {}
    )
    return Tested(values, pictures, _line(values, SUMMARY))


def measure_denoiser(model: DenoiserModel, loader: DataLoader, num_workers: int, epoch: int) -> Tested:
    """Denoise whole test images, rounded to 8 bit, and return mean psnr (dB) and ssim and a panel of the first image.

    The values of the averaged weights have `_ema` behind the name. Panel: clean, noisy, denoised. num_workers: threads
    that measure.
    """

    def make(number: int, batch: dict[str, Any]) -> dict[str, np.ndarray]:
        tiles = {name: _to_hwc(batch[name]) for name in ("clean", "noisy")}
        for averaged in (False, True) if model.average else (False,):
            denoised = model.denoise(to_float(batch["noisy"], model.device), averaged)
            tiles["denoised, averaged weights" if averaged else "denoised"] = to_uint8(_to_hwc(denoised))
        return tiles

    values, first = _mean_over_images(loader, make, _measure_denoised, num_workers)
    return Tested(values, {"panel": panel([list(first.items())])}, _line(values, DENOISERS))


def _line(values: dict[str, float], meanings: dict[str, str]) -> str:
    """Write values for the terminal, with those of the averaged weights: score .411, averaged .398 (...), std ..."""
    shown = []
    for name in filter(values.__contains__, meanings):
        numbers = ", averaged ".join(f"{values[key]:.4g}" for key in (name, f"{name}_ema") if key in values)
        shown.append(f"{name} {numbers}{meanings[name]}")
    return ", ".join(shown)


def _mean_over_images(
    loader: DataLoader,
    make: Callable[[int, dict[str, Any]], Made],
    measure: Callable[[Made], dict[str, float]],
    num_workers: int,
) -> tuple[dict[str, float], Made]:
    """Return the means of the images' values, and what was made of the first one.

    `make` gets an image's number and batch, and runs in this thread: it may use a GPU, which would wait for `measure`
    most of the time, so that this runs in threads. Values that are unknown (nlf of small images, psnr of equal ones,
    xcorr of one channel) are left out of the means.
    """
    first: list[Made] = []

    def made(bar: Iterable[dict[str, Any]]) -> Iterator[Made]:
        for number, batch in enumerate(bar):
            one = make(number, batch)
            first.extend([one] * (number == 0))
            yield one

    with batches_of(loader) as batches:
        bar = tqdm(batches, "test", len(loader), unit="image", position=2, leave=False, disable=None)
        rows = list(in_threads(measure, made(bar), min(num_workers, os.cpu_count() or 1)))
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    known = {name: value[np.isfinite(value)] for name, value in values.items()}
    return {name: float(value.mean()) for name, value in known.items() if value.size}, first[0]


def _to_hwc(image: torch.Tensor) -> np.ndarray:
    """Bring an image to the CPU, (1, C, H, W) -> (H, W, C)."""
    return image[0].permute(1, 2, 0).cpu().numpy()


class JointImages(NamedTuple):
    """A test image and what a joint training's networks make of it, (H, W, C) each."""

    name: str  # of the noisy file
    tiles: dict[str, np.ndarray]  # of the panel; those of the averaged weights, if there are any
    fakes: dict[str, np.ndarray]  # by title

    def compared(self, is_brief: bool) -> dict[str, Comparison]:
        """Set the fakes' noise beside the real one, which takes longer than the networks on a GPU."""
        clean, noisy = self.tiles["clean"], self.tiles["noisy"]
        reference = Reference(clean, noisy, is_brief=is_brief)
        return {title: Comparison(reference, noise_of(fake, clean)) for title, fake in self.fakes.items()}


def _images_of_joint(model: JointModel, batch: dict, z: torch.Tensor, with_denoiser: bool) -> JointImages:
    images = to_float(batch["clean"], model.device), to_float(batch["noisy"], model.device)
    fakes, tiles = {}, {name: _to_hwc(batch[name]) for name in ("clean", "noisy")}
    if with_denoiser:
        tiles["denoised"] = to_uint8(_to_hwc(model.denoise(images[1])))
    for averaged in (False, True) if model.averages else (False,):
        synthesis = model.synthesize(*images, z, averaged)
        fakes[AVERAGED if averaged else "fake"] = fake = to_uint8(_to_hwc(synthesis.fake))
    sdnu, sdnc = (_to_hwc(noise) * 255 for noise in (synthesis.sdnu, synthesis.sdnc))
    return JointImages(batch["name"][0], tiles | {"fake": fake, "sdnu": sdnu, "sdnc": sdnc}, fakes)


def _measure_image(made: JointImages) -> dict[str, float]:
    clean, denoised = made.tiles["clean"], made.tiles.get("denoised")
    row = {} if denoised is None else {"psnr": metrics.psnr(denoised, clean)}
    for title, compared in made.compared(is_brief=True).items():
        row |= {f"{name}{'_ema' * (title == AVERAGED)}": value for name, value in _test(compared).items()}
    return row


def _measure_denoised(tiles: dict[str, np.ndarray]) -> dict[str, float]:
    row: dict[str, float] = {}
    for title, suffix in (("denoised", ""), ("denoised, averaged weights", "_ema")):
        if title in tiles:
            denoised, clean = tiles[title], tiles["clean"]
            row |= {f"psnr{suffix}": metrics.psnr(denoised, clean), f"ssim{suffix}": metrics.ssim(denoised, clean)}
    return row


def _test(fake: Comparison) -> dict[str, float]:
    values = {name: METRICS[name].measure(fake) for name in TESTED}
    lags = fake.made.autocorrelation - fake.described.autocorrelation  # (C, 9, 9)
    middle = lags.shape[1] // 2
    values["lag1"] = float(np.mean(lags[:, [middle, middle + 1], [middle + 1, middle]]))
    return values | {"score": metrics.structure_score(values)}


def _panel(
    clean: np.ndarray,
    noisy: np.ndarray,
    fake: np.ndarray,
    sdnu: np.ndarray,
    sdnc: np.ndarray,
    denoised: np.ndarray | None = None,
) -> np.ndarray:
    images = [("clean", clean), ("noisy", noisy), ("fake", fake)]
    if denoised is not None:
        images.append(("denoised noisy", denoised))
    noises = [("noise", noise_of(noisy, clean)), ("sdnu", sdnu), ("sdnc", sdnc)]
    return panel([images, [(f"{name} x{PANEL_GAIN}", magnified_noise(noise, PANEL_GAIN)) for name, noise in noises]])


def _plots(name: str, fakes: dict[str, Comparison]) -> dict[str, np.ndarray]:
    """Draw the evaluation's plots of one image, whose noisy file is `name`."""
    iso = parse_scene(Path(name).parent.parent.name).iso  # <scene>/noisy/<file>
    evidence = {(iso, label): Evidence() for label in (REAL, *fakes)}
    for label, fake in fakes.items():
        evidence[iso, label].add(fake.made, fake.rounded)
    evidence[iso, REAL].add(fake.described, fake.real)
    return draw_pictures(evidence, list(fakes))
