"""The noise that a denoiser learns from: models of several sources, mixed sample by sample, new at every step."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch

from data.batches import Batches
from data.mixture import Mixture
from data.pairs import Reader, pairs_fingerprint
from data.sidd import Scene, parse_scene
from noise.camera import CameraNoise, GivenNoise, ScaledNoise
from noise.copula import CopulaFit
from noise.copula_fit import fit_copula
from noise.fitting import Fit, fingerprint, fit_noise, load_fits, read_from, save_fits
from noise.gains import bank_note, bank_path, read_bank
from noise.gaussian import Gaussian
from noise.interface import Images, NoiseModel, PerCamera, RealPair, Strength, by_iso, interval, noise_by_group
from noise.kinds import KINDS, Sources
from utils.randomness import evenly_spaced

NECA = ("neca-w", "neca-s")
Fits = Mapping[str, Mapping[int, Fit]]  # by camera and ISO


@dataclass(frozen=True)
class NoiseChoice:
    """Choice of the noise that a training has.

    kinds: of `noise.kinds.KINDS` for each source; any other is the noise of the source's own images.
    pretrain_dir: where the cameras' generators and fits are. from_bank: neca-w takes gains from the camera's bank, not
    GENet's. noise_level, sigma: of neca-s and awgn, an interval in grey levels; None: measured on the training images.
    channels: of the images, 3 or 1.
    """

    kinds: Sequence[str]
    cameras: Sequence[str]
    pretrain_dir: str
    from_bank: bool = False
    noise_level: tuple[float, float] | None = None
    sigma: tuple[float, float] | None = None
    channels: int = 3


def make_training_noise(
    choice: NoiseChoice,
    fit: Callable[[], Fits] | None,
    device: torch.device,
    fit_copulas: Callable[[], Mapping[str, CopulaFit]] | None = None,
) -> tuple[list[NoiseModel], dict[str, str]]:
    """Make the noise models of the sources, and fingerprints of what they depend on.

    fit, fit_copulas: give the fits of the training images, by camera; called when a model needs them. Raises ValueError
    when a camera has no weights, no fit or no bank of its own gains.
    """
    fits, copulas = cache(fit or dict), cache(fit_copulas or dict)

    def source(camera: str) -> Sources:
        of_camera = (lambda: fits()[camera]), (lambda: copulas()[camera]) if fit_copulas else None
        return Sources(choice.pretrain_dir, camera, device, choice.channels, *of_camera, estimates=not choice.from_bank)

    sources = {camera: source(camera) for camera in choice.cameras}
    used = [kind for kind in dict.fromkeys(choice.kinds) if kind in KINDS]
    needed = [kind for kind in used if not (kind == "awgn" and choice.sigma)]
    made = {kind: {camera: KINDS[kind].make(of) for camera, of in sources.items()} for kind in needed}
    banks = {}
    if "neca-w" in used and choice.from_bank:
        banks = {camera: _read_bank(noise.folder, camera) for camera, noise in made["neca-w"].items()}
    uses_fits = "neca-s" in used and choice.noise_level is None
    uses_fits |= any(isinstance(noise, GivenNoise | ScaledNoise) for of in made.values() for noise in of.values())

    def strength(kind: str, noise: CameraNoise) -> Strength:
        if kind == "neca-w" and banks:
            return by_iso(banks)
        if kind == "neca-s":
            return _fitted_std(fits()) if choice.noise_level is None else _grey_interval(choice.noise_level)
        return KINDS[kind].strength(noise)

    def make(kind: str) -> NoiseModel:
        if kind == "awgn" and choice.sigma is not None:
            return Gaussian(_grey_interval(choice.sigma))
        if kind not in KINDS:
            return RealPair()
        return PerCamera({camera: noise.model(strength(kind, noise)) for camera, noise in made[kind].items()})

    generators = made.get("neca-w") or made.get("neca-s") or {}
    read = [noise.fingerprint[:12] for kind in used if kind not in NECA for noise in made.get(kind, {}).values()]
    fitted = [fingerprint(fits()) if uses_fits else "", *dict.fromkeys(read)]
    gains = repr([(camera, iso, gains) for camera, bank in banks.items() for iso, gains in bank.items()])
    depends_on = {
        "weights of the generators": ", ".join(f"{camera} {of.fingerprint[:12]}" for camera, of in generators.items()),
        "gain banks": hashlib.sha256(gains.encode()).hexdigest()[:12] if banks else "",
        "fitted noise": " ".join(filter(None, fitted)),
    }
    return [make(kind) for kind in choice.kinds], depends_on


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
    """Read the Gaussian fits of a run's training images, or make and write them: one for each camera and ISO.

    most: pairs of each ISO that are fitted to, evenly spaced over the list; 0: all. Fits to other images have another
    file, named after `path` and those. Raises ValueError that names the file when it is damaged.
    """
    path, made_of = _file_of_fits(path, reader, most, "by phase")
    if path.exists() and (fits := load_fits(path, made_of)) is not None:
        return fits
    found = fit_noise(_groups(reader, most), read_from(reader), num_workers)
    by_camera: dict[str, dict[int, Fit]] = {}
    for (camera, iso), fit in found.items():
        by_camera.setdefault(camera, {})[iso] = fit
    save_fits(path, made_of, by_camera)
    return by_camera


def fit_training_copulas(path: Path, reader: Reader, most: int, num_workers: int) -> dict[str, CopulaFit]:
    """Read the copulas of a run's training images, or make and write them, as `fit_training_images`."""
    path, _ = _file_of_fits(path.with_suffix(".safetensors"), reader, most, "copula")
    groups, copulas = _groups(reader, most), {}
    for camera in dict.fromkeys(camera for camera, _ in groups):
        file = path.with_stem(f"{path.stem}_{camera}")
        if not file.exists():
            of_camera = {iso: numbers for (owner, iso), numbers in groups.items() if owner == camera}
            fit_copula(of_camera, read_from(reader), num_workers, camera).save(file)
        copulas[camera] = CopulaFit.load(file)  # also after it was made: the file has half the digits
    return copulas


def fits_of_run(
    path: Path, open_reader: Callable[[], Reader], most: int, num_workers: int
) -> tuple[Callable[[], Fits], Callable[[], dict[str, CopulaFit]]]:
    """Return what fits Gaussian noise and what fits copulas to a run's training images, when they are needed."""
    return (
        lambda: fit_training_images(path, open_reader(), most, num_workers),
        lambda: fit_training_copulas(path, open_reader(), most, num_workers),
    )


def _file_of_fits(path: Path, reader: Reader, most: int, kind: str) -> tuple[Path, str]:
    """Name the file of fits after what they are made of, and describe that."""
    made_of = f"{pairs_fingerprint(reader.pairs)}, {most} of each ISO, {kind}"
    return path.with_stem(f"{path.stem}_{hashlib.sha256(made_of.encode()).hexdigest()[:8]}"), made_of


def _groups(reader: Reader, most: int) -> dict[tuple[str, int], list[int]]:
    """Choose the pairs to fit to, by camera and ISO."""
    numbers: dict[tuple[str, int], list[int]] = {}
    for number, pair in enumerate(reader.pairs):
        numbers.setdefault((pair.scene.camera, pair.scene.iso), []).append(number)
    return {group: evenly_spaced(of, most) for group, of in sorted(numbers.items())}


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
