"""The test that runs during joint training."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

import metrics
from data.sidd import parse_scene
from evaluation.noise import REAL, Evidence, describe
from evaluation.noise_report import draw_pictures
from metrics import noise_of
from models.model_joint import JointModel
from models.networks import GENERATORS
from synthesis.whole_images import mean_over_images, to_hwc
from utils.best import keep_if_best
from utils.charts import magnified_noise, panel
from utils.image import to_uint8

PANEL_GAIN = 4  # magnification of the noise in the pictures


def measure_joint(
    model: JointModel, loader: DataLoader, seed: int, with_plots: bool = False
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Measure the model on whole test images -> mean metrics, and pictures of the first image, (H, W, 3) uint8.

    psnr: of the denoiser on the real noisy image, in dB; the others see `compare`, with `_ema` behind the name for the
    averaged weights. The white noise of an image follows from (seed, its number), so tests of one run are comparable.
    Pictures: `panel`, and `with_plots` those of the evaluation (`draw_pictures`).
    """
    pictures: dict[str, np.ndarray] = {}

    def measure(number: int, batch: dict[str, Any]) -> dict[str, float]:
        generator = torch.Generator().manual_seed(random.Random(f"{seed} test {number}").getrandbits(63))
        z = torch.randn(batch["clean"].shape, generator=generator).to(model.device)
        row, tiles, fakes = _measure_image(model, batch, z)
        if number == 0:
            pictures["panel"] = _panel(*tiles)
            pictures.update(_plots(batch["name"][0], *tiles[:2], fakes) if with_plots else {})
        return row

    return mean_over_images(loader, measure), pictures


def _measure_image(model: JointModel, batch: dict, z: torch.Tensor) -> tuple[dict[str, float], tuple, dict]:
    """Measure one image -> metrics, the images of its panel (of the averaged weights, if any), all fake images."""
    clean, noisy = (to_hwc(batch[name]) for name in ("clean", "noisy"))
    images = model.to_float(batch["clean"]), model.to_float(batch["noisy"])
    denoised = to_uint8(to_hwc(model.denoise(images[1])))
    row, fakes = {"psnr": metrics.psnr(denoised, clean)}, {}
    for averaged in (False, True) if model.averages else (False,):
        synthesis = model.synthesize(*images, z, averaged)
        fake = to_uint8(to_hwc(synthesis.fake))
        values = compare(clean, noise_of(noisy, clean), noise_of(fake, clean))
        row |= {name + "_ema" * averaged: value for name, value in values.items()}
        fakes["fake, averaged weights" if averaged else "fake"] = fake
    sdnu, sdnc = (to_hwc(noise) * 255 for noise in (synthesis.sdnu, synthesis.sdnc))
    return row, (clean, noisy, fake, denoised, sdnu, sdnc), fakes


def compare(clean: np.ndarray, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Set fake noise beside the real one, both (H, W, 3) in whole grey levels, of a clean image (H, W, 3) uint8.

    kld, kld_exact, acf, xcorr, nlf, std: as `metrics` defines them, std being fake over real; lag1: fake minus
    real autocorrelation between neighbours, mean of both directions and the channels; score: `structure_score`.
    """
    lags = [metrics.autocorrelation(noise) for noise in (real, fake)]  # (3, 9, 9)
    middle = lags[0].shape[1] // 2
    values = {
        "kld": metrics.kld(real, fake),
        "kld_exact": metrics.kld_exact(real, fake),
        "acf": metrics.acf_distance(*lags),
        "xcorr": metrics.xcorr(real, fake),
        "nlf": metrics.nlf(real, fake, clean),
        "std": metrics.std(real, fake),
        "lag1": float(np.mean((lags[1] - lags[0])[:, [middle, middle + 1], [middle + 1, middle]])),
    }
    return values | {"score": metrics.structure_score(values)}


def _panel(clean, noisy, fake, denoised, sdnu, sdnc) -> np.ndarray:
    images = [("clean", clean), ("noisy", noisy), ("fake", fake), ("denoised noisy", denoised)]
    noises = [("noise", noise_of(noisy, clean)), ("sdnu", sdnu), ("sdnc", sdnc)]
    return panel([images, [(f"{name} x{PANEL_GAIN}", magnified_noise(noise, PANEL_GAIN)) for name, noise in noises]])


def _plots(name: str, clean: np.ndarray, noisy: np.ndarray, fakes: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The evaluation's plots of one image, called as its noisy file."""
    iso = parse_scene(Path(name).parent.parent.name).iso  # <scene>/noisy/<file>
    evidence = {}
    for label, image in ({REAL: noisy} | fakes).items():
        noise = noise_of(image, clean)
        evidence[iso, label] = Evidence()
        evidence[iso, label].add(describe(noise, clean), noise)
    return draw_pictures(evidence, list(fakes))


def keep_best(model: JointModel, folder: Path, values: dict[str, float], step: int, epoch: int) -> bool:
    """Write the generators to `folder` if they score better than what lies there (`structure_score`): -> whether.

    `values` are what `measure_joint` has found at this step.
    """
    files = {file: content for file, content in model.network_files(epoch).items() if file.endswith(GENERATORS)}
    return keep_if_best(folder, files, values, "score", {"step": step, "epoch": epoch})
