"""The gain bank of a camera, gains.json: GENet's gains on training images, by ISO, for noise without a noisy image."""

import hashlib
import json
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from tqdm import tqdm

from data.image_sets import Frame, Sample, find_frames, read_samples
from data.sidd import parse_scene
from models.generator import NoiseGenerator
from models.networks import GENERATORS
from models.pretrained import find_checkpoints, load_generators
from utils.files import write_text
from utils.workers import in_threads

BANK = "gains.json"
VERSION = 1
IMAGES_PER_ISO = 200
IMAGES_PER_RUN_ISO = 50  # at the end of a training, which nobody should have to wait for

NamedGain = tuple[str, float]  # the image, and its gain


class GainEstimator(Protocol):
    """A `models.generator.NoiseGenerator`, or what does as it."""

    def estimate_gain(self, noisy: Any) -> float: ...


class GainBank(NamedTuple):
    """Gains of a camera by ISO. `genet`: SHA-256 of the file of the GENet that estimated them, empty if not known."""

    camera: str
    genet: str
    gains: dict[int, list[NamedGain]]

    def of_iso(self, iso: int | None) -> list[NamedGain]:
        """Gains of one ISO, None: of all. Raises ValueError for an ISO that is not there."""
        if iso is None:
            return [gain for level in self.gains.values() for gain in level]
        if iso not in self.gains:
            known = ", ".join(map(str, self.gains))
            raise ValueError(f"--iso {iso}: camera {self.camera} has gains of ISO {known}; choose one of them or none")
        return self.gains[iso]

    def summary(self) -> list[str]:
        """Say what is in the bank: a line for each ISO."""
        lines = []
        for iso, named in self.gains.items():
            low, middle, high = np.quantile([gain for _, gain in named], [0, 0.5, 1])
            lines.append(f"ISO {iso}: {len(named)} images, gain {middle:.4f} (median), {low:.4f} to {high:.4f}")
        return lines


def rounded_gain(gain: float) -> float:
    """Keep six digits of a gain, so that files which name it are exact and the same on every device."""
    return float(f"{gain:.6g}")


def gain_or_fail(estimator: GainEstimator, noisy: np.ndarray, name: Any) -> float:
    """Estimate the gain of an image, (H, W, 3) -> within [0, 1]. Raises ValueError, naming it, for any other."""
    gain = rounded_gain(estimator.estimate_gain(noisy))
    if not 0 <= gain <= 1:
        raise ValueError(f"{name}: GENet gives the gain {gain:g}, expected 0 to 1; are these weights of its camera?")
    return gain


def measure_gains(
    estimator: GainEstimator, frames: Iterable[Frame], camera: str, genet: str = "", num_workers: int = 2
) -> GainBank:
    """Estimate the gain of every crop of these frames -> bank. Raises ValueError that names an image that is bad."""
    gains: dict[int, list[NamedGain]] = {}
    read = in_threads(_read, frames, num_workers)
    for sample in (sample for samples in read for sample in samples):
        name = f"{sample.scene.name}/{sample.name}"
        gain = gain_or_fail(estimator, sample.noisy, name)
        gains.setdefault(sample.scene.iso, []).append((name, gain))
    if not gains:
        raise ValueError("no images to measure gains of")
    return GainBank(camera, genet, dict(sorted(gains.items())))


def _read(frame: Frame) -> list[Sample]:
    return read_samples(frame, with_other=False)


def measure_scenes(
    estimator: GainEstimator,
    folders: Iterable[Path],
    camera: str,
    genet: str = "",
    images_per_iso: int = IMAGES_PER_ISO,
    num_workers: int = 2,
) -> GainBank:
    """Estimate gains of scene folders' crops, evenly spaced over those of each ISO (0: all) -> bank."""
    by_iso: dict[int, list[Path]] = {}
    for folder in folders:
        by_iso.setdefault(parse_scene(folder.name).iso, []).append(folder)
    frames = [frame for iso in sorted(by_iso) for frame in find_frames(by_iso[iso], images_per_iso)]
    with tqdm(frames, desc="gains", unit="frame", leave=False, disable=None) as progress:
        return measure_gains(estimator, progress, camera, genet, num_workers)


def write_run_banks(
    run_models: Path, folders: list[Path], camera: str, device: torch.device, num_workers: int, log: logging.Logger
) -> None:
    """Write the banks of a finished training: of its newest generators, and of its averaged and best ones.

    Those that are there already, of the same GENet, are kept.
    """
    for weights in (run_models, run_models / "ema", run_models / "best"):
        if not find_checkpoints(weights, GENERATORS):
            continue
        path, genet = bank_path(weights), weights_hash(find_checkpoints(weights, ("E",)))
        if path.exists() and read_bank(path).genet == genet:
            continue
        generator = NoiseGenerator(load_generators(weights)).to(device)
        try:
            write_bank(path, measure_scenes(generator, folders, camera, genet, IMAGES_PER_RUN_ISO, num_workers))
        except ValueError as error:  # of a training that was too short, for instance: no reason to fail at its end
            log.warning("no gain bank %s: %s", path, error)
        else:
            log.info("gains of the training images: %s", path)


def bank_path(weights: str | Path) -> Path:
    """Where the bank of a folder of weights lies: in it, or in the training run whose models/ it is."""
    weights = Path(weights)
    return (weights.parent if weights.name == "models" else weights) / BANK


def write_bank(path: str | Path, bank: GainBank) -> None:
    """Write a bank as JSON, an image a line."""
    levels = []
    for iso, named in bank.gains.items():
        lines = ",\n".join(f"    {json.dumps([name, gain])}" for name, gain in named)
        levels.append(f'  "{iso}": [\n{lines}\n  ]')
    head = json.dumps({"version": VERSION, "camera": bank.camera, "genet_sha256": bank.genet})[:-1]
    body = ",\n".join(levels)
    write_text(path, f'{head}, "gains": {{\n{body}\n}}}}\n')


def read_bank(path: str | Path) -> GainBank:
    """Read a bank. Raises ValueError that names the file, and the command that makes it when there is none."""
    path = Path(path)
    if not path.exists():
        raise ValueError(
            f"{path}: the camera has no gain bank; make it from its training images with main_gains.py, or give "
            "--noisy_dir, --gain_from or --gain"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']}, expected {VERSION}")
        gains = {
            int(iso): [(str(name), float(gain)) for name, gain in named] for iso, named in content["gains"].items()
        }
        if not gains or not all(gains.values()):
            raise ValueError("an ISO without gains")
        for name, gain in (named for level in gains.values() for named in level):
            name.encode()  # or it could not be written into a manifest
            if not 0 <= gain <= 1 or math.isnan(gain):
                raise ValueError(f"gain {gain} of {name}")
        return GainBank(str(content["camera"]), str(content["genet_sha256"]), gains)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: damaged or no gain bank ({error}); make it again with main_gains.py") from None


def bank_note(weights: str | Path, camera: str) -> str:
    """Say so when a bank is another camera's or was measured by another GENet; empty: it was not, or who knows."""
    files, bank = find_checkpoints(weights, ("E",)), read_bank(bank_path(weights))
    if bank.camera != camera:
        return f"note: {bank_path(weights)} has the gains of camera {bank.camera}, not {camera}"
    if not files or bank.genet in ("", weights_hash(files)):
        return ""
    return f"note: {bank_path(weights)} was measured by other weights; main_gains.py makes it anew"


def copy_bank(weights: str | Path, target: str | Path) -> Path | None:
    """Copy the bank of one folder of weights to another that has a copy of its GENet -> the new bank; None: has none.

    The copy's GENet may be another file, such as one in half precision; its hash is entered.
    """
    source = bank_path(weights)
    if not source.exists():
        return None
    path = bank_path(target)
    write_bank(path, read_bank(source)._replace(genet=weights_hash(find_checkpoints(target, ("E",)))))
    return path


def weights_hash(paths: dict[str, Path]) -> str:
    """SHA-256 over weights' files, one after the other in the order of their letters: as `cat E G1 G2 | sha256sum`."""
    total = hashlib.sha256()
    for letter in sorted(paths):
        total.update(paths[letter].read_bytes())
    return total.hexdigest()
