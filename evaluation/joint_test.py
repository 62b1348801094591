"""The test that runs during joint training."""

import json
import math
import random
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from data.loading import batches_of
from data.sidd import parse_scene
from evaluation.noise import REAL, Evidence, describe
from evaluation.noise_pictures import draw_pictures
from models.model_joint import JointModel
from models.networks import GENERATORS
from utils import metrics
from utils.atomic import write_json
from utils.checkpoints import save_checkpoint
from utils.image import to_uint8
from utils.metrics import noise_of
from utils.plots import magnified_noise, panel

PANEL_GAIN = 4  # magnification of the noise in the pictures
BEST_RECORD = "best.json"


def measure_joint(
    model: JointModel, loader: DataLoader, seed: int, with_plots: bool = False
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Measure the model on whole test images -> mean metrics, and pictures of the first image, (H, W, 3) uint8.

    psnr: of the denoiser on the real noisy image, in dB; the others see `compare`, with `_ema` behind the name for the
    averaged weights; values that are unknown (nlf of small images, psnr of equal ones) are left out of the means. The
    white noise of an image follows from (seed, its number), so tests of one run are comparable. Pictures: `panel`, and
    `with_plots` those of the evaluation (`draw_pictures`).
    """
    rows, pictures = [], {}
    bar = {"desc": "test", "unit": "image", "position": 2, "leave": False, "disable": None}
    with batches_of(loader) as batches:
        for number, batch in enumerate(tqdm(batches, total=len(loader), **bar)):
            generator = torch.Generator().manual_seed(random.Random(f"{seed} test {number}").getrandbits(63))
            z = torch.randn(batch["clean"].shape, generator=generator).to(model.device)
            row, tiles, fakes = _measure_image(model, batch, z)
            rows.append(row)
            if number == 0:
                pictures = {"panel": _panel(*tiles)}
                pictures |= _plots(batch["name"][0], *tiles[:2], fakes) if with_plots else {}
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    known = {name: value[np.isfinite(value)] for name, value in values.items()}
    return {name: float(value.mean()) for name, value in known.items() if value.size}, pictures


def _measure_image(model: JointModel, batch: dict, z: torch.Tensor) -> tuple[dict[str, float], tuple, dict]:
    """Measure one image -> metrics, the images of its panel (of the averaged weights, if any), all fake images."""
    clean, noisy = (_to_hwc(batch[name]) for name in ("clean", "noisy"))
    images = model.to_float(batch["clean"]), model.to_float(batch["noisy"])
    denoised = to_uint8(_to_hwc(model.denoise(images[1])))
    row, fakes = {"psnr": metrics.psnr(denoised, clean)}, {}
    for averaged in (False, True) if model.averages else (False,):
        synthesis = model.synthesize(*images, z, averaged)
        fake = to_uint8(_to_hwc(synthesis.fake))
        values = compare(clean, noise_of(noisy, clean), noise_of(fake, clean))
        row |= {name + "_ema" * averaged: value for name, value in values.items()}
        fakes["fake, averaged weights" if averaged else "fake"] = fake
    sdnu, sdnc = (_to_hwc(noise) * 255 for noise in (synthesis.sdnu, synthesis.sdnc))
    return row, (clean, noisy, fake, denoised, sdnu, sdnc), fakes


def compare(clean: np.ndarray, real: np.ndarray, fake: np.ndarray) -> dict[str, float]:
    """Set fake noise beside the real one, both (H, W, 3) in whole grey levels, of a clean image (H, W, 3) uint8.

    kld, kld_exact, acf, xcorr, nlf, std: as `utils.metrics` defines them, std being fake over real; lag1: fake minus
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


def _to_hwc(image: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) on any device -> (H, W, 3)."""
    return image[0].permute(1, 2, 0).cpu().numpy()


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

    `values` are what `measure_joint` has found at this step. With averaged weights the better of the two are taken;
    best.json says which, and their metrics. It is written last, so an interrupted change is made good by the next test.
    """
    suffix = min(("", "_ema") if model.averages else ("",), key=lambda suffix: values["score" + suffix])
    try:
        lowest = float(json.loads((folder / BEST_RECORD).read_text())["score"])
    except (OSError, ValueError, KeyError, TypeError):
        lowest = math.inf
    if values["score" + suffix] >= lowest:  # nan, of a damaged record, is no bar
        return False
    files = model.network_files(epoch)
    for letter in GENERATORS:
        content = files[("ema/" if suffix else "") + f"checkpoint_{letter}"]
        save_checkpoint(folder / f"checkpoint_{letter}.pth", content | {"step": step})
    chosen = {
        name.removesuffix(suffix): value for name, value in values.items() if name.endswith("_ema") == bool(suffix)
    }
    record = {"step": step, "epoch": epoch, "weights": "averaged" if suffix else "raw"}
    write_json(folder / BEST_RECORD, record | chosen)
    return True
