"""Noise for users' own images: read, synthesise, write, image after image, whatever fails."""

import errno
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from data.folders import SMALLEST_SIDE, ImageJob, Target
from inference import NoiseGenerator
from noise.interface import NecaS, NecaW, NoiseModel, constant, needed, noisy_image
from synthesis.output import Row, SynthesisFolder, input_state
from synthesis.strengths import OutputStrength, StrengthSource, as_network_input
from utils.files import write_bytes
from utils.image import encode_image, read_photo, require_room, to_8bit
from utils.workers import in_threads

ROUNDED = "16-bit, rounded to 8 bit"
# A file's own trouble; of any other, such as a full disk, no image after it would be spared.
OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True)
class SynthesisSettings:
    """Settings of a run, beside its images."""

    seed: int
    camera: str
    keep_16bit: bool
    max_megapixels: float
    num_workers: int


@dataclass
class Summary:
    """Result of a run. `remarks`: names of the images by what was changed in reading them."""

    written: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        """Return the megapixels per second."""
        return self.megapixels / max(self.seconds, 1e-9)


class _Loaded(NamedTuple):
    job: ImageJob
    clean: np.ndarray  # (H, W, C) uint8 or uint16
    state: Row  # of the files that are read
    remarks: tuple[str, ...]


class _Made(NamedTuple):
    source: _Loaded
    target: Target
    noisy: np.ndarray
    strength: OutputStrength


class _Failed(NamedTuple):
    outputs: int  # that there will not be
    reason: str


def run_synthesis(
    jobs: list[ImageJob],
    generator: NoiseGenerator,
    source: StrengthSource,
    folder: SynthesisFolder,
    settings: SynthesisSettings,
) -> Summary:
    """Make all outputs of these jobs, with a progress bar. What fails is told in the summary; the others are made.

    Raises OSError when the folder cannot be written any more, on a full disk for instance.
    """
    summary, start = Summary(), time.monotonic()
    loaded = in_threads(lambda job: _load(job, settings, generator.channels), jobs, settings.num_workers)
    made = _synthesize(loaded, generator, source, settings.seed)
    written = in_threads(lambda one: _write(one, folder.folder), made, settings.num_workers)
    total = sum(len(job.targets) for job in jobs)
    with tqdm(total=total, desc="synthesize", unit="image", disable=None if total else True) as progress:
        for one in written:
            if isinstance(one, _Failed):
                summary.failures.append(one.reason)
            else:
                _record(one, summary, folder, generator.weights_hash, settings)
            summary.seconds = time.monotonic() - start
            progress.update(one.outputs if isinstance(one, _Failed) else 1)
            progress.set_postfix_str(f"{summary.speed:.2f} MP/s")
    folder.write_manifest()
    return summary


def _load(job: ImageJob, settings: SynthesisSettings, channels: int) -> _Loaded | _Failed:
    state = input_state(job)  # before they are read: what changes meanwhile is done again next time
    try:
        clean, remarks = read_photo(job.source, settings.max_megapixels, channels)
    except ValueError as error:
        return _Failed(len(job.targets), str(error))
    height, width = clean.shape[:2]
    try:
        for target in job.targets:
            require_room(clean.shape, Path(target.noisy).suffix)
    except ValueError as error:
        return _Failed(len(job.targets), f"{job.source}: {error}")
    if min(height, width) < SMALLEST_SIDE:
        size = f"{height}x{width} pixels, expected at least {SMALLEST_SIDE}x{SMALLEST_SIDE}"
        return _Failed(len(job.targets), f"{job.source}: {size}")
    if clean.dtype == np.uint16 and not settings.keep_16bit:
        clean, remarks = to_8bit(clean), (*remarks, ROUNDED)
    return _Loaded(job, clean, state, remarks)


def _synthesize(
    loaded: Iterable[_Loaded | _Failed], generator: NoiseGenerator, source: StrengthSource, seed: int
) -> Iterator[_Made | _Failed]:
    """Make the draws of every image, one after the other."""
    for one in loaded:
        if isinstance(one, _Failed):
            yield one
            continue
        job = one.job
        try:
            strengths = source.strengths(job, one.clean.shape[:2], seed)
        except ValueError as error:  # which names the image's partner
            yield _Failed(len(job.targets), str(error))
            continue
        for target, strength in zip(job.targets, strengths):
            try:
                noisy = _noisy(generator, one.clean, strength, seed, job.key(target.draw))
            except ValueError as error:
                yield _Failed(1, f"{job.source}: {error}")
            except (MemoryError, torch.OutOfMemoryError):
                yield _Failed(1, f"{job.source}: out of memory")
            else:
                yield _Made(one, target, noisy, strength)


def _noisy(generator: NoiseGenerator, clean: np.ndarray, strength: OutputStrength, seed: int, key: str) -> np.ndarray:
    """Put noise on (H, W, C) uint8 or uint16; return the same type, clipped and rounded."""
    if strength.gain is not None:
        model: NoiseModel = NecaW(generator, constant(strength.gain))
    else:
        model = NecaS(generator, constant(needed(strength.noise_level) / 255))
    noisy = noisy_image(model, as_network_input(clean), seed, key)
    return noisy if clean.dtype == np.uint8 else np.rint(noisy * np.float32(65535)).astype(np.uint16)


def _write(one: _Made | _Failed, folder: Path) -> _Made | _Failed:
    if isinstance(one, _Failed):
        return one
    for name, image in ((one.target.clean, one.source.clean), (one.target.noisy, one.noisy)):
        if not name:
            continue
        try:
            write_bytes(folder / name, encode_image(image, Path(name).suffix))
        except (ValueError, MemoryError) as error:
            return _Failed(1, f"{one.source.job.source}: {str(error) or 'out of memory'}")
        except OSError as error:
            reason = f"{folder / name}: cannot be written ({error.strerror})"
            if error.errno in OF_ONE_FILE:
                return _Failed(1, reason)
            raise OSError(f"{reason}; make room, and run again to continue") from None
    return one


def _record(
    one: _Made, summary: Summary, folder: SynthesisFolder, weights_hash: str, settings: SynthesisSettings
) -> None:
    job, strength = one.source.job, one.strength
    folder.add(
        {
            "input": job.name,
            "output": one.target.noisy,
            "clean": one.target.clean,
            "draw": one.target.draw,
            "camera": settings.camera,
            "gain": "" if strength.gain is None else repr(strength.gain),
            "noise_level": "" if strength.noise_level is None else repr(strength.noise_level),
            "gain_from": strength.origin,
            "seed": settings.seed,
            "weights_sha256": weights_hash,
            **one.source.state,
        }
    )
    summary.written += 1
    summary.megapixels += one.noisy.shape[0] * one.noisy.shape[1] / 1e6
    for remark in one.source.remarks:
        names = summary.remarks.setdefault(remark, [])
        if job.name not in names[-1:]:
            names.append(job.name)
