"""The test that runs during joint training."""

import random

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from data.loading import batches_of
from models.model_joint import JointModel
from utils.image import to_uint8
from utils.metrics import autocorrelation, channel_correlation, kld, noise_of, psnr
from utils.plots import magnified_noise, panel

PANEL_GAIN = 4  # magnification of the noise in the pictures


def measure_joint(model: JointModel, loader: DataLoader, seed: int) -> tuple[dict[str, float], np.ndarray]:
    """Measure the model on whole test images -> mean metrics, and a panel of the first image, (H, W, 3) uint8.

    psnr: of the denoiser on the real noisy image, in dB; the others see `compare`, with `_ema` behind the name for the
    averaged weights. The white noise of an image follows from (seed, its number), so tests of one run are comparable.
    """
    rows, picture = [], None
    bar = {"desc": "test", "unit": "image", "position": 2, "leave": False, "disable": None}
    with batches_of(loader) as batches:
        for number, batch in enumerate(tqdm(batches, total=len(loader), **bar)):
            generator = torch.Generator().manual_seed(random.Random(f"{seed} test {number}").getrandbits(63))
            z = torch.randn(batch["clean"].shape, generator=generator).to(model.device)
            row, tiles = _measure_image(model, batch, z)
            rows.append(row)
            picture = picture if picture is not None else _panel(*tiles)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}, picture


def _measure_image(model: JointModel, batch: dict, z: torch.Tensor) -> tuple[dict[str, float], tuple[np.ndarray, ...]]:
    """Measure one image -> metrics, and the images of its panel; with averaged weights, these make the pictures."""
    clean, noisy = (_to_hwc(batch[name]) for name in ("clean", "noisy"))
    images = model.to_float(batch["clean"]), model.to_float(batch["noisy"])
    denoised = to_uint8(_to_hwc(model.denoise(images[1])))
    row = {"psnr": psnr(denoised, clean)}
    for averaged in (False, True) if model.averages else (False,):
        synthesis = model.synthesize(*images, z, averaged)
        fake = to_uint8(_to_hwc(synthesis.fake))
        metrics = compare(noise_of(noisy, clean), noise_of(fake, clean))
        row |= {name + "_ema" * averaged: value for name, value in metrics.items()}
    sdnu, sdnc = (_to_hwc(noise) * 255 for noise in (synthesis.sdnu, synthesis.sdnc))
    return row, (clean, noisy, fake, denoised, sdnu, sdnc)


def compare(real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Set fake noise beside the real one, both (H, W, 3) in whole grey levels.

    kld: NeCA's KL divergence; std: standard deviation, fake over real; lag1: fake minus real autocorrelation between
    neighbours, mean of both directions and the channels; xcorr: largest difference of the channels' correlations.
    """
    lags = [autocorrelation(noise, max_lag=1).mean(axis=0) for noise in (real, fake)]  # (3, 3)
    channels = [channel_correlation(noise) for noise in (real, fake)]  # (3, 3)
    return {
        "kld": kld(real, fake),
        "std": float(fake.std() / max(real.std(), 1e-6)),
        "lag1": float(np.mean((lags[1] - lags[0])[[1, 2], [2, 1]])),
        "xcorr": float(np.abs(channels[1] - channels[0]).max()),
    }


def _to_hwc(image: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) on any device -> (H, W, 3)."""
    return image[0].permute(1, 2, 0).cpu().numpy()


def _panel(clean, noisy, fake, denoised, sdnu, sdnc) -> np.ndarray:
    images = [("clean", clean), ("noisy", noisy), ("fake", fake), ("denoised noisy", denoised)]
    noises = [("noise", noise_of(noisy, clean)), ("sdnu", sdnu), ("sdnc", sdnc)]
    return panel([images, [(f"{name} x{PANEL_GAIN}", magnified_noise(noise, PANEL_GAIN)) for name, noise in noises]])
