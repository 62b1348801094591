"""The gain bank of a camera, gains.json: GENet's gains on training images, by ISO, for noise without a noisy image."""

import json
import logging
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from inference import load_neca
from inference.pretrained import find_checkpoints, hash_weights
from models.networks import GENERATORS
from utils.files import web_page, write_text
from utils.workers import in_threads

BANK = "gains.json"
BANK_FORMAT = 1
REMEDY = "make it from the camera's training images with main_export.py gains"
IMAGES_PER_ISO = 200
IMAGES_PER_RUN_ISO = 50  # at the end of a training, which nobody should have to wait for

NamedGain = tuple[str, float]  # the image, and its gain


class GainEstimator(Protocol):
    """A `inference.generator.NoiseGenerator`, or anything that can do the same; `channels` of its images."""

    channels: int

    def estimate_gain(self, noisy: Any) -> float:
        """Estimate the gain of a noisy image."""


class GainBank(NamedTuple):
    """Gains of a camera by ISO. `genet`: SHA-256 of the file of the GENet that estimated them, empty if not known."""

    camera: str
    genet: str
    gains: dict[int, list[NamedGain]]

    def of_iso(self, iso: int | None) -> list[NamedGain]:
        """Return the gains of one ISO, None: of all. Raises ValueError for an ISO that is not there."""
        if iso is None:
            return [gain for level in self.gains.values() for gain in level]
        if iso not in self.gains:
            known = ", ".join(map(str, self.gains))
            raise ValueError(f"ISO {iso}: camera {self.camera} has gains of ISO {known}")
        return self.gains[iso]

    def summary(self) -> list[str]:
        """Describe the bank, one line per ISO."""
        lines = []
        for iso, named in self.gains.items():
            low, middle, high = np.quantile([gain for _, gain in named], [0, 0.5, 1])
            lines.append(f"ISO {iso}: {len(named)} images, gain {middle:.4f} (median), {low:.4f} to {high:.4f}")
        return lines


def rounded_gain(gain: float) -> float:
    """Keep six digits of a gain, so that files which name it are exact and the same on every device."""
    return float(f"{gain:.6g}")


def gain_or_fail(estimator: GainEstimator, noisy: np.ndarray, name: Any) -> float:
    """Estimate the gain of an image, (H, W, C) -> within [0, 1]. Raises ValueError, naming it, for any other."""
    try:
        gain = rounded_gain(estimator.estimate_gain(noisy))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if not 0 <= gain <= 1:
        raise ValueError(f"{name}: GENet gives the gain {gain:g}, expected 0 to 1; are these weights of its camera?")
    return gain


def measure_scenes(
    estimator: GainEstimator,
    folders: Iterable[Path],
    camera: str,
    genet: str = "",
    images_per_iso: int = IMAGES_PER_ISO,
    num_workers: int = 2,
) -> GainBank:
    """Estimate gains of scene folders' crops, evenly spaced over those of each ISO (0: all) -> bank.

    Images of one colour are left out and named. Raises ValueError that names an image that is damaged or that GENet
    gives no possible gain.
    """
    # Here, for reading a bank needs no images, nor what reads them.
    from tqdm import tqdm

    from data.likeness import is_blank, name_left_out
    from data.pairs import by_file, pairs_by_iso, read_samples

    pairs = list(chain.from_iterable(pairs_by_iso(folders, images_per_iso, estimator.channels).values()))
    if not pairs:
        raise ValueError("no images to measure gains of")
    gains: dict[int, list[NamedGain]] = {}
    with tqdm(by_file(pairs), desc="gains", unit="frame", leave=False, disable=None) as progress:
        for sample in chain.from_iterable(in_threads(read_samples, progress, num_workers)):
            name = sample.pair.label
            if is_blank(sample.noisy):
                name_left_out(name)
                continue
            gains.setdefault(sample.pair.scene.iso, []).append((name, gain_or_fail(estimator, sample.noisy, name)))
    if not gains:
        raise ValueError(f"{pairs[0].label}: black, white or of one colour, as all images; expected some with noise")
    return GainBank(camera, genet, dict(sorted(gains.items())))


def write_run_banks(
    run_models: Path,
    folders: list[Path],
    camera: str,
    device: torch.device,
    num_workers: int,
    log: logging.Logger,
) -> None:
    """Write the banks of a finished training: of its newest generators, and of its averaged and best ones.

    Those that exist already, of the same GENet, are kept.
    """
    for weights in (run_models, run_models / "ema", run_models / "best"):
        if not find_checkpoints(weights, GENERATORS):
            continue
        path, genet = bank_path(weights), _genet_hash(weights)
        if path.exists() and read_bank(path).genet == genet:
            continue
        generator = load_neca(weights, device=device)
        try:
            write_bank(path, measure_scenes(generator, folders, camera, genet, IMAGES_PER_RUN_ISO, num_workers))
        except ValueError as error:  # of a training that was too short, for instance: no reason to fail at its end
            log.warning("no gain bank %s: %s", path, error)
        else:
            log.info("gains of the training images: %s", path)


def _genet_hash(weights: str | Path) -> str:
    return hash_weights(find_checkpoints(weights, ("E",)))


def bank_path(weights: str | Path) -> Path:
    """Return the place of the bank of a folder of weights: in it, or in the training run whose models/ it is."""
    weights = Path(weights)
    return (weights.parent if weights.name == "models" else weights) / BANK


def write_bank(path: str | Path, bank: GainBank) -> None:
    """Write a bank as JSON, one image per line."""
    levels = []
    for iso, named in bank.gains.items():
        lines = ",\n".join(f"    {json.dumps([name, gain])}" for name, gain in named)
        levels.append(f'  "{iso}": [\n{lines}\n  ]')
    head = json.dumps({"version": BANK_FORMAT, "camera": bank.camera, "genet_sha256": bank.genet})[:-1]
    body = ",\n".join(levels)
    write_text(path, f'{head}, "gains": {{\n{body}\n}}}}\n')


def read_bank(path: str | Path) -> GainBank:
    """Read a bank. Raises ValueError that names the file, and the command that makes it."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path}: the camera has no gain bank; {REMEDY}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != BANK_FORMAT:
            raise ValueError(f"version {content['version']}, expected {BANK_FORMAT}")
        gains = {
            int(iso): [(str(name), float(gain)) for name, gain in named] for iso, named in content["gains"].items()
        }
        if not gains or not all(gains.values()):
            raise ValueError("an ISO without gains")
        for name, gain in (named for level in gains.values() for named in level):
            if not 0 <= gain <= 1:
                raise ValueError(f"gain {gain} of {name}")
        return GainBank(str(content["camera"]), str(content["genet_sha256"]), gains)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged or no gain bank ({web_page(path) or error}); {REMEDY}") from None


def bank_note(weights: str | Path, camera: str) -> str:
    """Note that a bank is another camera's or was measured by another GENet; empty if it was not, or nobody knows."""
    path = bank_path(weights)
    bank = read_bank(path)
    if bank.camera != camera:
        return f"{path} has the gains of camera {bank.camera}, not {camera}"
    if not bank.genet or not find_checkpoints(weights, ("E",)) or bank.genet == _genet_hash(weights):
        return ""
    return f"{path} was measured by other weights; main_export.py gains makes it anew"


def copy_bank(weights: str | Path, target: str | Path) -> Path | None:
    """Copy the gain bank from one folder of weights to another with the same GENet; return it, None without one.

    The copy's GENet may be another file, such as one in half precision; its hash is entered.
    """
    if not bank_path(weights).exists():
        return None
    path = bank_path(target)
    write_bank(path, read_bank(bank_path(weights))._replace(genet=_genet_hash(target)))
    return path
