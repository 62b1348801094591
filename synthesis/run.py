"""Noise for one's own images: read, synthesise, write, image after image, whatever fails."""

import errno
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from data.folders import ImageJob, Target
from data.named_pairs import SMALLEST
from models.generator import NoiseGenerator
from models.noise_models import NecaS, NecaW, constant, noisy_image
from synthesis.output import Row, SynthesisFolder, file_state
from synthesis.strengths import Strength, StrengthSource, as_network_input
from utils.files import write_bytes
from utils.image import encode_image, read_photo, to_8bit
from utils.workers import in_threads

ROUNDED = "16-bit, rounded to 8 bit (--keep_16bit keeps them)"
# A file's own trouble; of any other, such as a full disk, no image after it would be spared.
OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True)
class Settings:
    """What a run needs beside its images."""

    seed: int
    camera: str
    weights: str  # SHA-256 of their files
    keep_16bit: bool
    max_megapixels: float
    num_workers: int


@dataclass
class Summary:
    """What a run has done. `remarks`: what was changed in reading -> names of the images."""

    written: int = 0
    megapixels: float = 0.0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)

    def notes(self) -> list[str]:
        """A line for each kind of remark."""
        return [
            f"note: {what}: {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            for what, names in sorted(self.remarks.items())
        ]


class _Loaded(NamedTuple):
    job: ImageJob
    clean: np.ndarray | None = None  # (H, W, 3) uint8 or uint16
    state: Row | None = None  # of the file that was read
    remarks: tuple[str, ...] = ()
    failure: str = ""


class _Made(NamedTuple):
    """One output, or the failure of all those of an image."""

    job: ImageJob
    target: Target | None = None
    clean: np.ndarray | None = None
    noisy: np.ndarray | None = None
    strength: Strength = Strength()
    state: Row | None = None
    remarks: tuple[str, ...] = ()
    failure: str = ""


def run_synthesis(
    jobs: list[ImageJob],
    generator: NoiseGenerator,
    source: StrengthSource,
    folder: SynthesisFolder,
    settings: Settings,
) -> Summary:
    """Make all outputs of these jobs, with a progress bar. What fails is told in the summary; the others are made.

    Raises OSError when the folder cannot be written any more, on a full disk for instance.
    """
    summary, start = Summary(), time.monotonic()
    loaded = in_threads(lambda job: _load(job, settings), jobs, settings.num_workers)
    made = _synthesize(loaded, generator, source, settings.seed)
    written = in_threads(lambda one: _write(one, folder.folder), made, settings.num_workers)
    total = sum(len(job.targets) for job in jobs)
    with tqdm(total=total, desc="synthesize", unit="image", disable=None if total else True) as progress:
        for one in written:
            _record(one, summary, folder, settings)
            summary.seconds = time.monotonic() - start
            progress.update(1 if one.target else len(one.job.targets))
            progress.set_postfix_str(f"{summary.megapixels / max(summary.seconds, 1e-9):.2f} MP/s")
    folder.write_manifest()
    return summary


def _load(job: ImageJob, settings: Settings) -> _Loaded:
    state = file_state(job.source)  # before it is read: one that changes meanwhile is done again next time
    try:
        photo = read_photo(job.source, settings.max_megapixels)
    except ValueError as error:
        return _Loaded(job, failure=str(error))
    clean, remarks = photo
    height, width = clean.shape[:2]
    if min(height, width) < SMALLEST:
        size = f"{height}x{width} pixels, expected at least {SMALLEST}x{SMALLEST}"
        return _Loaded(job, failure=f"{job.source}: {size}")
    if clean.dtype == np.uint16 and not settings.keep_16bit:
        clean, remarks = to_8bit(clean), (*remarks, ROUNDED)
    return _Loaded(job, clean, state, remarks)


def _synthesize(
    loaded: Iterable[_Loaded], generator: NoiseGenerator, source: StrengthSource, seed: int
) -> Iterator[_Made]:
    """Make the draws of every image, one after the other."""
    for job, clean, state, remarks, failure in loaded:
        if failure:
            yield _Made(job, failure=failure)
            continue
        try:
            strengths = source.strengths(job, clean.shape[:2], seed)
        except ValueError as error:
            yield _Made(job, failure=_naming(job, str(error)))
            continue
        for target, strength in zip(job.targets, strengths):
            try:
                noisy = _noisy(generator, clean, strength, seed, job.key(target.draw))
            except (ValueError, MemoryError, torch.OutOfMemoryError) as error:
                what = str(error) if isinstance(error, ValueError) else "out of memory, use a smaller --tile"
                yield _Made(job, target, failure=_naming(job, what))
            else:
                yield _Made(job, target, clean if target.clean else None, noisy, strength, state, remarks)


def _naming(job: ImageJob, message: str) -> str:
    partner = f"{job.partner}: "
    return message if message.startswith((f"{job.source}: ", partner)) else f"{job.source}: {message}"


def _noisy(generator: NoiseGenerator, clean: np.ndarray, strength: Strength, seed: int, key: str) -> np.ndarray:
    """Put noise on (H, W, 3) uint8 or uint16 -> the same type, clipped and rounded."""
    if strength.gain is not None:
        model = NecaW(generator, constant(strength.gain))
    else:
        model = NecaS(generator, constant(strength.noise_level / 255))
    noisy = noisy_image(model, as_network_input(clean), seed, key)
    return noisy if clean.dtype == np.uint8 else np.rint(noisy * np.float32(65535)).astype(np.uint16)


def _write(one: _Made, folder: Path) -> _Made:
    if one.failure:
        return one
    name = one.target.noisy
    try:
        for name, image in ((one.target.clean, one.clean), (one.target.noisy, one.noisy)):
            if name:
                write_bytes(folder / name, encode_image(image, Path(name).suffix))
    except OSError as error:
        if error.errno in OF_ONE_FILE:
            failure = f"{folder / name}: cannot be written ({error.strerror})"
            return one._replace(clean=None, noisy=None, failure=failure)
        reason = f"{folder / name}: cannot be written ({error.strerror})"
        raise OSError(f"{reason}; make room or change --output_dir, and run again to continue") from None
    return one


def _record(one: _Made, summary: Summary, folder: SynthesisFolder, settings: Settings) -> None:
    if one.failure:
        summary.failures.append(one.failure)
        return
    row: dict[str, Any] = {
        "input": one.job.name,
        "output": one.target.noisy,
        "clean": one.target.clean,
        "draw": one.target.draw,
        "camera": settings.camera,
        "gain": "" if one.strength.gain is None else repr(one.strength.gain),
        "noise_level": "" if one.strength.noise_level is None else repr(one.strength.noise_level),
        "gain_from": one.strength.origin,
        "seed": settings.seed,
        "weights_sha256": settings.weights,
        **one.state,
    }
    folder.add(row)
    summary.written += 1
    summary.megapixels += one.noisy.shape[0] * one.noisy.shape[1] / 1e6
    for remark in one.remarks:
        names = summary.remarks.setdefault(remark, [])
        if one.job.name not in names[-1:]:
            names.append(one.job.name)
