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
from noise.camera import CameraNoise, GainNoise, LevelNoise
from noise.interface import Strength, constant, noisy_image
from synthesis.output import Row, SynthesisFolder, input_state
from synthesis.strengths import as_network_input, multiple, strength_of_partner, strengths_of
from utils.files import write_bytes
from utils.image import JPEG_QUALITY, encode_image, jpeg_encoding, read_photo, require_room, to_8bit
from utils.workers import in_threads

COLUMN_OF_UNIT = {"gain": "gain", "noise level": "noise_level"}  # of the manifest; of others "strength"
ROUNDED = "16-bit, rounded to 8 bit"
# A file's own trouble; of any other, such as a full disk, no image after it would be spared.
OF_ONE_FILE = (errno.ENAMETOOLONG, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


@dataclass(frozen=True)
class SynthesisSettings:
    """Settings of a run, beside its images.

    model: what the manifest calls it. times: an interval of factors of the noise. device: where models without networks
    make it. jpg_quality: of outputs in JPEG.
    """

    seed: int
    camera: str
    keep_16bit: bool
    max_megapixels: float
    num_workers: int
    model: str = "neca-w"
    times: tuple[float, float] | None = None
    device: torch.device | None = None
    jpg_quality: int = JPEG_QUALITY


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
    numbers: list[float]  # of its strength
    origin: str  # of these


class _Failed(NamedTuple):
    outputs: int  # that there will not be
    reason: str


def run_synthesis(
    jobs: list[ImageJob],
    noise: CameraNoise,
    strength: Strength,
    folder: SynthesisFolder,
    settings: SynthesisSettings,
) -> Summary:
    """Make all outputs of these jobs, with a progress bar. What fails is told in the summary; the others are made.

    strength: of images without a noisy one of their own.
    Raises OSError when the folder cannot be written any more, on a full disk for instance.
    """
    summary, start = Summary(), time.monotonic()
    loaded = in_threads(lambda job: _load(job, settings, noise.channels or 3), jobs, settings.num_workers)
    made = _synthesize(loaded, noise, strength, settings)
    written = in_threads(lambda one: _write(one, folder.folder, settings.jpg_quality), made, settings.num_workers)
    total = sum(len(job.targets) for job in jobs)
    with tqdm(total=total, desc="synthesize", unit="image", disable=None if total else True) as progress:
        for one in written:
            if isinstance(one, _Failed):
                summary.failures.append(one.reason)
            else:
                _record(one, summary, folder, noise, settings)
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
    loaded: Iterable[_Loaded | _Failed], noise: CameraNoise, strength: Strength, settings: SynthesisSettings
) -> Iterator[_Made | _Failed]:
    """Make the draws of every image, one after the other."""
    multiplied = multiple(noise, settings.times)
    # Networks take images to their own device, tile by tile.
    device = None if isinstance(noise, GainNoise | LevelNoise) else settings.device
    for one in loaded:
        if isinstance(one, _Failed):
            yield one
            continue
        job, clean = one.job, as_network_input(one.clean)
        try:
            own = strength_of_partner(job, clean, noise, settings.max_megapixels) if job.partner else strength
        except ValueError as error:  # which names the image's partner
            yield _Failed(len(job.targets), str(error))
            continue
        found = strengths_of(job, multiplied(own), clean.shape, settings.seed)
        for target, (numbers, origins) in zip(job.targets, found):
            model, key = noise.model(constant(numbers[0].tolist())), job.key(target.draw)
            try:
                noisy = noisy_image(model, clean, settings.seed, key, device)
            except ValueError as error:
                yield _Failed(1, f"{job.source}: {error}")
            except (MemoryError, torch.OutOfMemoryError):
                yield _Failed(1, f"{job.source}: out of memory")
            else:
                made = noisy if one.clean.dtype == np.uint8 else np.rint(noisy * np.float32(65535)).astype(np.uint16)
                yield _Made(one, target, made, numbers[0].flatten().tolist(), origins[0])


def _write(one: _Made | _Failed, folder: Path, jpg_quality: int) -> _Made | _Failed:
    if isinstance(one, _Failed):
        return one
    for name, image in ((one.target.clean, one.source.clean), (one.target.noisy, one.noisy)):
        if not name:
            continue
        try:
            encoding = jpeg_encoding(jpg_quality) if Path(name).suffix == ".jpg" else ()
            write_bytes(folder / name, encode_image(image, Path(name).suffix, encoding))
        except (ValueError, MemoryError) as error:
            return _Failed(1, f"{one.source.job.source}: {str(error) or 'out of memory'}")
        except OSError as error:
            reason = f"{folder / name}: cannot be written ({error.strerror})"
            if error.errno in OF_ONE_FILE:
                return _Failed(1, reason)
            raise OSError(f"{reason}; make room, and run again to continue") from None
    return one


def _record(
    one: _Made, summary: Summary, folder: SynthesisFolder, noise: CameraNoise, settings: SynthesisSettings
) -> None:
    job, words = one.source.job, [repr(number).removesuffix(".0") for number in one.numbers]
    columns = {"gain": "", "noise_level": "", "strength": ""} | {
        COLUMN_OF_UNIT.get(noise.unit, "strength"): " ".join(words)
    }
    folder.add(
        {
            "input": job.name,
            "output": one.target.noisy,
            "clean": one.target.clean,
            "draw": one.target.draw,
            "camera": settings.camera,
            **columns,
            "gain_from": one.origin,
            "seed": settings.seed,
            "weights_sha256": noise.fingerprint,
            "model": settings.model,
            **one.source.state,
        }
    )
    summary.written += 1
    summary.megapixels += one.noisy.shape[0] * one.noisy.shape[1] / 1e6
    for remark in one.source.remarks:
        names = summary.remarks.setdefault(remark, [])
        if job.name not in names[-1:]:
            names.append(job.name)
