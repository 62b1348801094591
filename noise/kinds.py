"""The noise models: one table that evaluation, synthesis, the training of denoisers and their help read.

A new model is a file with its class, and a row here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from inference.generator import SYNTHESIS_TILE, NoiseGenerator, load_neca
from inference.pretrained import shipped_folder
from noise.camera import (
    AbsentError,
    CameraNoise,
    CopulaNoise,
    GainNoise,
    GivenNoise,
    LevelNoise,
    PipelineNoise,
    ScaledNoise,
    WhiteNoise,
)
from noise.copula import CopulaFit
from noise.gaussian import Coloured, ColouredByPhase, Gaussian, Heteroscedastic
from noise.interface import NoiseModel, PerIso
from noise.pipeline import FORMAT, VERSION, Pipeline
from noise.strengths import Estimator, Measured, Strength, channel_std, constant, noise_std
from utils.checkpoints import SAFETENSORS, load_checkpoint
from utils.files import sha256_of

if TYPE_CHECKING:
    from noise.fitting import Fit

FILES = ("noise.json", "noise.safetensors")  # of a fit, in the order in which they are looked for


@dataclass
class Sources:
    """Sources that the noise model of a camera can be made from.

    folder: of weights and fits, of the camera or of several. fits, copula: fit Gaussian noise and a copula to the
    training images; None: there are none. estimates: whether GENet is needed, None: taken if it is there. per_unit: how
    many of NeCA-S's numbers make 1. half: NeCA computes in half precision. The others are those of `load_neca`.
    """

    folder: str | Path
    camera: str | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    channels: int | None = None
    fits: Callable[[], Mapping[int, Fit]] | None = None
    copula: Callable[[], CopulaFit] | None = None
    estimates: bool | None = True
    tile: int = SYNTHESIS_TILE
    half: bool = False
    channels_last: bool | None = None
    per_unit: float = 1.0

    def generator(self, networks: Sequence[str] | None) -> NoiseGenerator:
        """Load NeCA's networks."""
        how = (self.tile, torch.float16 if self.half else torch.float32, self.channels_last)
        return load_neca(self.folder, self.camera, self.device, *how, networks, self.channels)

    @cached_property
    def gaussians(self) -> Mapping[int, Fit]:
        """Fit Gaussian noise to the training images."""
        if self.fits is None:
            raise AbsentError("it is fitted to training images, and there are none")
        return self.fits()

    @cached_property
    def fitted_copula(self) -> CopulaFit:
        """Fit a copula to the training images."""
        assert self.copula is not None
        return self.copula()


class Kind(NamedTuple):
    """A kind of noise model.

    name: in tables and for evaluations; its key in `KINDS` is for the commands. needs: "weights", the file of a "fit",
    training "images" to be fitted to, or "nothing". make: makes it of a camera. seen: how many values of the real
    noisy image are its strength in evaluations and trainings; 0: the strength comes from the ISO. by_phase: it depends
    on where images begin in the 2x2 mosaic.
    """

    name: str
    description: str
    needs: Literal["weights", "fit", "images", "nothing"]
    make: Callable[[Sources], CameraNoise]
    seen: int = 0
    by_phase: bool = False

    def strength(self, noise: CameraNoise) -> Strength:
        """Take the strength as evaluations and trainings do."""
        return Measured(noise.estimate) if self.seen else noise.of_iso()


def _neca_w(sources: Sources) -> CameraNoise:
    needed = {True: ("E", "G1", "G2"), False: ("G1", "G2"), None: None}
    generator = sources.generator(needed[sources.estimates])
    return GainNoise(generator.channels, files=generator.files, fingerprint=generator.weights_hash, generator=generator)


def _neca_s(sources: Sources) -> CameraNoise:
    generator = sources.generator(("G2",))
    return LevelNoise(
        generator.channels,
        files=generator.files,
        fingerprint=generator.weights_hash,
        generator=generator,
        per_unit=sources.per_unit,
    )


def _from_file(kind: str, sources: Sources) -> CameraNoise:
    path = find_fit(sources.folder, sources.camera)
    if path is None or kind_of_fit(path) != kind:
        place = Path(sources.folder) / (sources.camera or "")
        raise AbsentError(f"{place}: has no fit of a {kind} ({' or '.join(FILES)}); main_fit_noise.py makes it")
    noise = load_fit(path)
    if sources.channels not in (None, noise.channels):
        raise AbsentError(f"{path}: for images of {noise.channels} channels, expected {sources.channels}")
    return noise


def _copula(sources: Sources) -> CameraNoise:
    try:
        return _from_file("copula", sources)
    except AbsentError:
        if sources.copula is None:
            raise
    fit = sources.fitted_copula
    return CopulaNoise(fit.channels, fingerprint=fit.digest(), fit=fit)


def _gaussian(build: Callable[[Fit], NoiseModel], sources: Sources) -> GivenNoise:
    fits = sources.gaussians
    return GivenNoise(base=PerIso({iso: build(fit) for iso, fit in fits.items()}), isos=sorted(fits))


def _scaled(build: Callable[[Fit], NoiseModel], measure: Estimator, sources: Sources) -> CameraNoise:
    base = _gaussian(build, sources)
    return ScaledNoise(base=base.model(base.of_iso()), std_of=measure)


# How Gaussian noise is built of a fit.
FITTED: dict[str, Callable[[Fit], NoiseModel]] = {
    "coloured": lambda fit: Coloured(fit.level_mean, fit.level_std, fit.kernel),
    "coloured-phase": lambda fit: ColouredByPhase(fit.level_mean, fit.level_std, fit.phase_kernel),
    "heteroscedastic": lambda fit: Heteroscedastic(fit.level_mean, fit.level_std),
    "awgn": lambda fit: Gaussian(constant(fit.std)),
}


def _fitted(key: str, name: str, description: str) -> Kind:
    make = partial(_gaussian, FITTED[key])
    return Kind(name, description, "images", make, by_phase=key == "coloured-phase")


def _of_std(key: str, name: str) -> Kind:
    make = partial(_scaled, FITTED[key], noise_std)
    return Kind(
        f"{name} x std",
        f"{name}, scaled to the true std of this very image",
        "images",
        make,
        1,
        key == "coloured-phase",
    )


def _of_channel_std(key: str, name: str) -> Kind:
    what = f"{name}, scaled channel by channel to the true std of this very image"
    make = partial(_scaled, FITTED[key], channel_std)
    return Kind(f"{name} x channel std", what, "images", make, 3, key == "coloured-phase")


# In the order of reports. Keys are for --model and --source.
KINDS = {
    "neca-w": Kind(
        "NeCA-W",
        "the generator, with the gain that GENet estimates from the real noisy image",
        "weights",
        _neca_w,
        seen=1,
    ),
    "neca-s": Kind(
        "NeCA-S",
        "the generator's signal-independent noise; before NCNet it has the real noise's std, or the level that was "
        "asked for",
        "weights",
        _neca_s,
        seen=1,
    ),
    "pipeline": Kind(
        "pipeline",
        "raw noise through the camera's own rendering; shot and read noise of the ISO",
        "fit",
        partial(_from_file, "pipeline"),
        by_phase=True,
    ),
    "pipeline-x-image": Kind(
        "pipeline x image",
        "the pipeline, with shot and read noise of each colour and the factors of the light measured on this very "
        "image",
        "fit",
        partial(_from_file, "pipeline"),
        seen=8,
        by_phase=True,
    ),
    "copula": Kind(
        "copula",
        "Gaussian noise with the covariance by position in the mosaic, mapped to the measured distributions of the ISO",
        "images",
        _copula,
        by_phase=True,
    ),
    "copula-x-channel-std": Kind(
        "copula x channel std",
        "the copula, scaled channel by channel to the true std of this very image",
        "images",
        _copula,
        seen=3,
        by_phase=True,
    ),
    "coloured": _fitted(
        "coloured",
        "coloured",
        "Gaussian noise with mean and std by intensity, spatial and channel covariance of the training images of the "
        "ISO",
    ),
    "coloured-phase": _fitted(
        "coloured-phase",
        "coloured by phase",
        "the coloured noise with a covariance that depends on the position in the 2x2 mosaic",
    ),
    "heteroscedastic": _fitted(
        "heteroscedastic",
        "heteroscedastic",
        "independent Gaussian noise with mean and std by intensity of the training images of the ISO",
    ),
    "awgn": _fitted(
        "awgn",
        "AWGN-ISO",
        "white Gaussian noise with the std of the training images of the ISO",
    ),
    "coloured-x-std": _of_std("coloured", "coloured"),
    "coloured-phase-x-std": _of_std("coloured-phase", "coloured by phase"),
    "heteroscedastic-x-std": _of_std("heteroscedastic", "heteroscedastic"),
    "coloured-x-channel-std": _of_channel_std("coloured", "coloured"),
    "coloured-phase-x-channel-std": _of_channel_std("coloured-phase", "coloured by phase"),
    "awgn-x-std": Kind(
        "AWGN-image",
        "white Gaussian noise with the true std of this very image",
        "nothing",
        lambda sources: WhiteNoise(),
        seen=1,
    ),
}


def find_fit(folder: str | Path, camera: str | None = None) -> Path | None:
    """Find the file of a camera's fit: in the folder of its name within another, or in its own; None without one."""
    places = [Path(folder) / (camera or ""), Path(folder)]
    return next((place / name for place in places for name in FILES if (place / name).is_file()), None)


def kind_of_fit(path: Path) -> str:
    """Read what model a fit's file is of. Raise ValueError that names it if it is damaged or of another version."""
    kind = str(_head(path).get("model"))
    if kind not in LOADERS:
        raise ValueError(f"{path}: a fit of a {kind}, expected one of {', '.join(LOADERS)}")
    return kind


def load_fit(path: Path) -> CameraNoise:
    """Load a camera's fit. Raise ValueError that names the file if it is damaged or of another kind or version."""
    kind = kind_of_fit(path)
    return replace(LOADERS[kind](path), files={kind: path}, fingerprint=sha256_of([path]))


def _load_copula(path: Path) -> CameraNoise:
    fit = CopulaFit.load(path)
    return CopulaNoise(fit.channels, fit=fit)


def _load_pipeline(path: Path) -> CameraNoise:
    return PipelineNoise(3, pipeline=Pipeline.load(path))


# What reads the file of a fit, by the model that it says it is of.
LOADERS: dict[str, Callable[[Path], CameraNoise]] = {"copula": _load_copula, "pipeline": _load_pipeline}


def _head(path: Path) -> dict[str, Any]:
    if path.suffix == SAFETENSORS:
        content: Any = load_checkpoint(path)
    else:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: damaged or no fit of a camera's noise ({error}); fit the camera again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: damaged or no fit of a camera's noise; fit the camera again")
    if content.get("version") != VERSION:
        raise ValueError(f"{path}: version {content.get('version')}, expected {VERSION}; fit the camera again")
    return content


def of_own_images() -> tuple[str, ...]:
    """List the kinds for one's own images: those that need no training images, each once, for `Strength` is apart."""
    return tuple(key for key, kind in KINDS.items() if key in LOADERS or kind.needs in ("weights", "nothing"))


def default_kind(folder: str | Path, camera: str | None = None) -> str:
    """Name the kind of a camera's best model: that of its fit, else NeCA-W."""
    path = find_fit(folder, camera)
    return "neca-w" if path is None else kind_of_fit(path)


def load_noise(folder: str | Path, camera: str | None = None, device: str | torch.device = "cpu") -> CameraNoise:
    """Load a camera's best noise model from its folder, such as pretrain/S6: its fit, else its NeCA weights.

    Or from a folder of cameras, by the camera's name; or one that ships, by its name alone, such as "S6". Raises
    ValueError that says what is missing or damaged.
    """
    folder = shipped_folder(folder)
    kind = default_kind(folder, camera)
    return KINDS[kind].make(Sources(folder, camera, torch.device(device), estimates=None))


def fitted_model(kind: str, fits: Mapping[int, Fit]) -> NoiseModel:
    """Build the model of a kind of `FITTED` for one camera, {ISO: fit}."""
    return PerIso({iso: FITTED[kind](fit) for iso, fit in fits.items()}, name=KINDS[kind].name)
