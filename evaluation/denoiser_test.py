"""The test that runs during the training of a denoiser."""

from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

import metrics
from models.model_denoiser import DenoiserModel
from synthesis.whole_images import mean_over_images, to_hwc
from utils.best import keep_if_best
from utils.charts import panel
from utils.image import to_uint8


def measure_denoiser(model: DenoiserModel, loader: DataLoader) -> tuple[dict[str, float], np.ndarray]:
    """Denoise whole test images, rounded to 8 bit -> mean psnr (dB) and ssim, and a panel of the first image.

    With `_ema` behind the name for the averaged weights, if there are. Panel: clean, noisy, denoised, uint8.
    """
    pictures: list[np.ndarray] = []

    def measure(number: int, batch: dict[str, Any]) -> dict[str, float]:
        clean, noisy = (to_hwc(batch[name]) for name in ("clean", "noisy"))
        tiles, row = [("clean", clean), ("noisy", noisy)], {}
        for averaged in (False, True) if model.average else (False,):
            suffix = "_ema" * averaged
            denoised = to_uint8(to_hwc(model.denoise(model.to_float(batch["noisy"]), averaged)))
            row |= {f"psnr{suffix}": metrics.psnr(denoised, clean), f"ssim{suffix}": metrics.ssim(denoised, clean)}
            tiles.append(("denoised, averaged weights" if averaged else "denoised", denoised))
        if number == 0:
            pictures.append(panel([tiles]))
        return row

    return mean_over_images(loader, measure), pictures[0]


def keep_best(model: DenoiserModel, folder: Path, values: dict[str, float], step: int, epoch: int) -> bool:
    """Write the denoiser to `folder` if its PSNR is higher than that of what lies there: -> whether.

    `values` are what `measure_denoiser` has found at this step.
    """
    return keep_if_best(
        folder, model.network_files(epoch), values, "psnr", {"step": step, "epoch": epoch}, highest=True
    )
