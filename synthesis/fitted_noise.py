"""Gaussian noise models of several cameras, fitted to the images of a training; kept in a file of the run."""

import hashlib
from pathlib import Path
from typing import Any

from data.batches import PairReader
from data.pairs import ImageList
from data.sidd import parse_scene
from models.noise_models import Coloured, Gaussian, Heteroscedastic
from synthesis.fitting import Baselines, fit_baselines
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.randomness import evenly_spaced

FittedNoise = dict[str, dict[int, Baselines]]  # by camera and ISO


def fitted_noise(path: Path, images: ImageList, reader: PairReader, most: int, num_workers: int) -> FittedNoise:
    """Read the models of a run, or fit and write them: those of every camera and ISO of the images.

    most: pairs of each ISO that are fitted to, evenly spaced over the list; 0: all. Models that were fitted to other
    images have another file, named after `path` and those. Raises ValueError that names the file when it is damaged,
    and as `fit_baselines`.
    """
    made_of = f"{images.fingerprint()}, {most} of each ISO"
    path = path.with_stem(f"{path.stem}_{hashlib.sha256(made_of.encode()).hexdigest()[:8]}")
    if path.exists():
        content = load_checkpoint(path)
        if content.get("images") == made_of:
            return _unpacked(path, content)
    numbers: dict[tuple[str, int], list[int]] = {}
    for number, scene in enumerate(images.scene[images.source]):
        name = parse_scene(images.folders[scene].name)
        numbers.setdefault((name.camera, name.iso), []).append(number)
    fitted: FittedNoise = {}
    for camera in sorted({camera for camera, _ in numbers}):
        chosen = {iso: evenly_spaced(of, most) for (one, iso), of in sorted(numbers.items()) if one == camera}
        fitted[camera] = fit_baselines(
            chosen, num_workers, lambda number: [(reader.name(number), *reader.pair(number))]
        )
    save_checkpoint(path, {"images": made_of, "models": _packed(fitted)})
    return fitted


def fingerprint(fitted: FittedNoise) -> str:
    """Tell these models from others."""
    total = hashlib.sha256()
    for camera, models in sorted(_packed(fitted).items()):
        for iso, values in sorted(models.items()):
            total.update(f"{camera} {iso} {values['awgn']!r}".encode())
            for name in ("mean", "std", "kernel"):
                total.update(values[name].numpy().tobytes())
    return total.hexdigest()[:12]


def _packed(fitted: FittedNoise) -> dict[str, dict[int, dict[str, Any]]]:
    return {
        camera: {
            iso: {"awgn": of.awgn.std, "mean": of.coloured.mean, "std": of.coloured.std, "kernel": of.coloured.kernel}
            for iso, of in models.items()
        }
        for camera, models in fitted.items()
    }


def _unpacked(path: Path, content: dict[str, Any]) -> FittedNoise:
    try:
        return {
            camera: {
                iso: Baselines(
                    Gaussian(values["awgn"]),
                    Heteroscedastic(values["mean"], values["std"]),
                    Coloured(values["mean"], values["std"], values["kernel"]),
                )
                for iso, values in models.items()
            }
            for camera, models in content["models"].items()
        }
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path}: damaged; delete it to have the noise models fitted anew") from None
