"""The noise that a denoiser learns from: models of several sources, mixed sample by sample, new at every step."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from data.batches import Batches
from data.mixture import Mixture
from data.pairs import Reader, pairs_fingerprint
from data.sidd import Scene, parse_scene
from inference.generator import NoiseGenerator, load_neca
from noise.fitting import Fit, fingerprint, fit_noise, load_fits, save_fits
from noise.gains import bank_note, bank_path, read_bank
from noise.gaussian import Gaussian
from noise.interface import (
    Images,
    NecaS,
    NecaW,
    NoiseModel,
    PerCamera,
    RealPair,
    Strength,
    TimesStd,
    by_iso,
    estimated_gain,
    interval,
    noise_by_group,
)
from noise.kinds import FITTED, SCALED, fitted_model
from utils.randomness import evenly_spaced

Fits = Mapping[str, Mapping[int, Fit]]  # by camera and ISO


@dataclass(frozen=True)
class NoiseChoice:
    """Choice of the noise that a training has.

    kinds: "neca-w", "neca-s" or one of `FITTED` or `SCALED` for each source; any other is the noise of the source's
    own images.
    pretrain_dir: where the cameras' generators are. from_bank: neca-w takes gains from the camera's bank, not GENet's.
    noise_level, sigma: of neca-s and awgn, an interval in grey levels; None: measured on the training images.
    channels: of the images, 3 or 1.
    """

    kinds: Sequence[str]
    cameras: Sequence[str]
    pretrain_dir: str
    from_bank: bool = False
    noise_level: tuple[float, float] | None = None
    sigma: tuple[float, float] | None = None
    channels: int = 3

    def is_fitted(self, kind: str) -> bool:
        """Tell whether a kind of noise takes its level, or more, from the training images."""
        given = {"awgn": self.sigma, "neca-s": self.noise_level}
        return kind in (*FITTED, *SCALED, "neca-s") and given.get(kind) is None


def make_training_noise(
    choice: NoiseChoice, fit: Callable[[], Fits], device: torch.device
) -> tuple[list[NoiseModel], dict[str, str]]:
    """Make the noise models of the sources, and fingerprints of what they depend on.

    fit: gives the fits of the training images; called when a model needs them. Raises ValueError when a camera has no
    weights, or no bank of its own gains.
    """
    fits = fit() if any(map(choice.is_fitted, choice.kinds)) else {}
    generators = _load_generators(choice, device)
    banks = {}
    if "neca-w" in choice.kinds and choice.from_bank:
        banks = {camera: _read_bank(generator.folder, camera) for camera, generator in generators.items()}

    def make(kind: str) -> NoiseModel:
        if kind == "neca-w":
            gain = {camera: by_iso(banks) if banks else estimated_gain(of) for camera, of in generators.items()}
            return PerCamera({camera: NecaW(of, gain[camera]) for camera, of in generators.items()})
        if kind == "neca-s":
            level = _fitted_std(fits) if choice.noise_level is None else _grey_interval(choice.noise_level)
            return PerCamera({camera: NecaS(of, level) for camera, of in generators.items()})
        if kind == "awgn" and choice.sigma is not None:
            return Gaussian(_grey_interval(choice.sigma))
        if kind in SCALED:
            return TimesStd(make(SCALED[kind]))
        if kind in FITTED:
            return PerCamera({camera: fitted_model(kind, of_iso) for camera, of_iso in fits.items()})
        return RealPair()

    weights = ", ".join(f"{camera} {generator.weights_hash[:12]}" for camera, generator in generators.items())
    gains = repr([(camera, iso, gains) for camera, bank in banks.items() for iso, gains in bank.items()])
    depends_on = {
        "weights of the generators": weights,
        "gain banks": hashlib.sha256(gains.encode()).hexdigest()[:12] if banks else "",
        "fitted noise": fingerprint(fits) if fits else "",
    }
    return [make(kind) for kind in choice.kinds], depends_on


def _load_generators(choice: NoiseChoice, device: torch.device) -> dict[str, NoiseGenerator]:
    """Load the networks that the sources run: GENet only where it estimates gains."""
    networks: tuple[str, ...]
    if "neca-w" in choice.kinds:
        networks = ("G1", "G2") if choice.from_bank else ("E", "G1", "G2")
    elif "neca-s" in choice.kinds:
        networks = ("G2",)
    else:
        return {}
    load = partial(load_neca, choice.pretrain_dir, device=device, networks=networks, channels=choice.channels)
    return {camera: load(camera) for camera in choice.cameras}


def _read_bank(folder: Path, camera: str) -> dict[int, list[float]]:
    """Read a camera's own gains by ISO."""
    bank = read_bank(bank_path(folder))
    if note := bank_note(folder, camera):
        raise ValueError(note)
    return {iso: [gain for _, gain in named] for iso, named in bank.gains.items()}


def _grey_interval(limits: tuple[float, float]) -> Strength:
    return interval(limits[0] / 255, limits[1] / 255)


def _fitted_std(fits: Fits) -> Strength:
    return by_iso({camera: {iso: [fit.std] for iso, fit in of_iso.items()} for camera, of_iso in fits.items()})


def fit_training_images(path: Path, reader: Reader, most: int, num_workers: int) -> Fits:
    """Read the fits of a run's training images, or make and write them: one for each camera and ISO.

    most: pairs of each ISO that are fitted to, evenly spaced over the list; 0: all. Fits to other images have another
    file, named after `path` and those. Raises ValueError that names the file when it is damaged.
    """
    made_of = f"{pairs_fingerprint(reader.pairs)}, {most} of each ISO, by phase"
    path = path.with_stem(f"{path.stem}_{hashlib.sha256(made_of.encode()).hexdigest()[:8]}")
    if path.exists() and (fits := load_fits(path, made_of)) is not None:
        return fits
    numbers: dict[tuple[str, int], list[int]] = {}
    for number, pair in enumerate(reader.pairs):
        numbers.setdefault((pair.scene.camera, pair.scene.iso), []).append(number)
    chosen = {group: evenly_spaced(of, most) for group, of in sorted(numbers.items())}
    found = fit_noise(
        chosen, lambda number: [(reader.name(number), *reader.pair(number), reader.pairs[number].origin)], num_workers
    )
    by_camera: dict[str, dict[int, Fit]] = {}
    for (camera, iso), fit in found.items():
        by_camera.setdefault(camera, {})[iso] = fit
    save_fits(path, made_of, by_camera)
    return by_camera


class MixedNoise:
    """Gives each sample of a batch the noise of the source that the mixture has drawn for it.

    What a batch gets follows from the mixture's seed and the step, whatever the number of processes: each of
    `world_size` has an equal share of every batch.
    """

    def __init__(self, models: Sequence[NoiseModel], mixture: Mixture, rank: int = 0, world_size: int = 1):
        self.models, self.mixture, self.rank, self.world_size = dict(enumerate(models)), mixture, rank, world_size
        self.margin = max(model.margin for model in models)
        self.is_random = any(model.is_random for model in models)

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any], step: int) -> dict[str, Any]:
        """Replace the noisy half of a batch, (N, 3, P, P) uint8 on the device, where noise is made; step from 0."""
        if not self.is_random:
            return batch
        clean, noisy = (batch[half].float().div(255) for half in ("clean", "noisy"))
        share = slice(self.rank * len(clean), (self.rank + 1) * len(clean))
        draw = self.mixture.draw(step, len(clean) * self.world_size)
        scenes = [_scene_of(name) for name in batch["name"]]
        cameras, isos = [scene.camera for scene in scenes], [scene.iso for scene in scenes]
        images = Images(clean, cameras, isos, noisy, draw.strength[share])
        # All processes draw the same numbers, on the CPU: the same on every device.
        size = (side + self.margin for side in clean.shape[-2:])
        generator = torch.Generator().manual_seed(draw.seed)
        white = torch.randn(len(clean) * self.world_size, clean.shape[1], *size, generator=generator)
        white = white[share].to(clean.device, non_blocking=True)
        noise = noise_by_group(self.models, draw.source[share].tolist(), images, white)
        return batch | {"noisy": (clean + noise).clamp_(0, 1).mul_(255).round_().to(torch.uint8)}

    @contextmanager
    def added_to(self, opened: Batches, first_step: int) -> Iterator[Iterator[dict[str, Any]]]:
        """Iterate over batches that get their noise on the way; the first is that of `first_step`, from 0."""
        with opened as batches:
            yield (self(batch, step) for step, batch in enumerate(batches, start=first_step))


@lru_cache(maxsize=100_000)
def _scene_of(name: str) -> Scene:
    """Parse the scene of a noisy crop, <scene>/noisy/<file>."""
    return parse_scene(Path(name).parent.parent.name)
