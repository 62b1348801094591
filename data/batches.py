"""Batches of training patches and whole test images. They travel as uint8 and become float on the device.

The randomness of a step follows from (seed, step) alone, and an epoch's order from (seed, epoch): batches depend
neither on workers nor on what was drawn before, and a resumed run gets what an uninterrupted one gets. Steps and epochs
count from 0 here, as indices do; the training loop and the models count those done, from 1.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from data.pairs import Reader
from utils.command import WITHOUT_WORKERS

Sampler = Iterable[tuple[int, np.ndarray]]  # (step, indices of the pairs) of batch after batch
Batches = AbstractContextManager[Iterator[dict[str, Any]]]  # whose workers end with the `with` block
# How samples follow from the seed. A run that was begun with another way cannot go on with this one.
SAMPLING = "by step"
# Kinds of randomness, so that none shares its numbers with another: (seed, epoch or step, kind).
ORDER, PATCHES, MIXTURE = 1, 2, 3
# Number of modes of `dihedral`, the symmetries of a square; bits of a mode: its quarter turns, and a flip before them.
MODES, QUARTER_TURNS, FLIP = 8, 0b011, 0b100
# Modes that keep the Bayer mosaic, since they turn by 0 or 180 degrees: do they mirror (rows, columns)?
KEEPING_PHASE = {0: (0, 0), 2: (1, 1), FLIP: (0, 1), FLIP + 2: (1, 0)}


class PatchDataset(Dataset):
    """Batches of random square patches of image pairs, indexed by (step, indices of the pairs).

    Of several ranks each draws for the whole batch and reads `share`, its samples of it. With `keep_phase` all patches,
    once turned, begin at the first pixel of the 2x2 mosaic (`ImagePair.origin`): a mirrored one is cut a pixel further,
    so the images need a pixel more than a patch.
    """

    def __init__(
        self,
        reader: Reader,
        patch_size: int,
        augment: bool,
        seed: int,
        share: slice = slice(None),
        keep_phase: bool = False,
    ):
        self.reader = reader
        self.patch_size = patch_size
        self.augment = augment
        self.seed = seed
        self.share = share
        self.keep_phase = keep_phase

    def __getitem__(self, key: tuple[int, np.ndarray]) -> dict:
        """Return pixels (N, P, P, 2 C) uint8, clean before noisy; modes (N,), that `to_device` applies; name, camera.

        name: the noisy files; camera: the codes of their cameras.
        """
        step, indices = key
        random = np.random.default_rng((self.seed, step, PATCHES))
        room = self.reader.boxes[indices, 2:] - self.patch_size  # (N, 2), rows and columns that a patch can move by
        if self.keep_phase:
            kept = random.integers(0, len(KEEPING_PHASE), len(indices)) if self.augment else np.zeros(len(indices), int)
            modes, mirrored = np.array(list(KEEPING_PHASE))[kept], np.array(list(KEEPING_PHASE.values()))[kept]
            parity = (self.reader.origins[indices] + mirrored * (self.patch_size - 1)) % 2
            corners = parity + 2 * random.integers(0, (room - parity) // 2, endpoint=True)  # (N, 2)
        else:
            corners = random.integers(0, room, endpoint=True)  # (N, 2)
            modes = random.integers(0, MODES, len(indices)) if self.augment else np.zeros(len(indices), int)
        indices, corners, modes = (drawn[self.share] for drawn in (indices, corners, modes))
        patches = np.empty((len(indices), self.patch_size, self.patch_size, 2 * self.reader.channels), np.uint8)
        self.reader.fill(patches, indices, corners)
        return {
            "pixels": torch.from_numpy(patches),
            "modes": torch.from_numpy(modes),
            "name": [self.reader.name(index) for index in indices],
            "camera": [self.reader.camera(index) for index in indices],
        }


class BatchSampler:
    """The (step, indices) of a run's batches, step after step from any one on, for `PatchDataset`.

    Every epoch is a new permutation of the pairs, or their order; its incomplete last batch is dropped.
    """

    def __init__(self, count: int, batch_size: int, shuffle: bool, seed: int, first_step: int, last_step: int):
        self.count = count
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.first_step = first_step
        self.last_step = last_step  # exclusive
        self.steps_per_epoch = steps_per_epoch(count, batch_size)

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        order_epoch, order = None, np.zeros(0, int)
        for step in range(self.first_step, self.last_step):
            epoch, batch = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order_epoch, order = epoch, self._order(epoch)
            start = batch * self.batch_size
            yield step, order[start : start + self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        return np.random.default_rng((self.seed, epoch, ORDER)).permutation(self.count)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Count the whole batches of an epoch. Raises ValueError when there is none."""
    if count < batch_size:
        raise ValueError(f"{count} training images are too few for a batch of {batch_size}")
    return count // batch_size


class WholePairs(Dataset):
    """Image pairs as they are, for testing."""

    def __init__(self, reader: Reader, indices: Sequence[int]):
        self.reader = reader
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> dict:
        """Return clean, noisy: (C, H, W) uint8; name: the noisy file; camera: its code."""
        index = self.indices[number]
        clean, noisy = (torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in self.reader.pair(index))
        return {"clean": clean, "noisy": noisy, "name": self.reader.name(index), "camera": self.reader.camera(index)}


def whole_image_loader(reader: Reader, num_workers: int, indices: Sequence[int] | None = None) -> DataLoader:
    """Load test images one by one, all or some: clean, noisy (1, C, H, W) uint8, lists of one name and camera."""
    images = WholePairs(reader, range(len(reader)) if indices is None else indices)
    return DataLoader(
        images, batch_size=1, num_workers=num_workers, collate_fn=_one_image, worker_init_fn=_begin_worker
    )


def _one_image(items: list[dict]) -> dict:
    [image] = items
    batch = {name: value[None] if isinstance(value, Tensor) else [value] for name, value in image.items()}
    return _in_shared_memory(batch)


def training_loader(dataset: PatchDataset, sampler: Sampler, num_workers: int, pin_memory: bool) -> Iterable[dict]:
    """Load the batches of a run, as `PatchDataset` gives them."""
    if num_workers == 0:  # a DataLoader would take as long over a batch as the memory map does
        return (_pinned(dataset[key]) if pin_memory else dataset[key] for key in sampler)
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=_in_shared_memory,
        worker_init_fn=_begin_worker,
    )


def _pinned(batch: dict) -> dict:
    return batch | {"pixels": batch["pixels"].pin_memory()}


@contextmanager
def training_batches(
    dataset: PatchDataset, sampler: Sampler, num_workers: int, device: torch.device
) -> Iterator[Iterator[dict]]:
    """Iterate over a run's batches on the device; workers end with the `with` block."""
    loader = training_loader(dataset, sampler, num_workers, pin_memory=device.type == "cuda")
    with batches_of(loader) as loaded:
        yield (to_device(batch, device, dataset.augment) for batch in loaded)


@contextmanager
def batches_of(loader: Iterable[dict]) -> Iterator[Iterator[dict]]:
    """Iterate over a loader; its workers end with the `with` block, also when an exception leaves it.

    Left to the garbage collector, workers stay as long as somebody holds the exception, and Python waits for them.
    """
    iterator = _started(loader)
    shut_down = getattr(iterator, "_shutdown_workers", None)  # PyTorch has no public name for it
    try:
        yield _received(iterator) if shut_down else iterator
    finally:
        if shut_down:
            shut_down()


def _started(loader: Iterable[dict]) -> Iterator[dict]:
    """Begin to iterate, which starts the workers. Raise ValueError if the machine does not let them start."""
    before, hook = set(multiprocessing.active_children()), sys.unraisablehook
    sys.unraisablehook = lambda unraisable: None  # a half-made iterator complains when it is deleted, with the error
    try:
        return iter(loader)
    except (OSError, RuntimeError) as error:  # of semaphores, which lie in /dev/shm; of processes and threads
        refusal = _without_workers("loader processes cannot be started", error)
    finally:
        sys.unraisablehook = hook
    for process in set(multiprocessing.active_children()) - before:
        process.kill()
    raise refusal


def _received(iterator: Iterator[dict]) -> Iterator[dict]:
    """Pass on what workers send. Raise ValueError if it does not get through; errors of their own work pass."""
    try:
        yield from iterator
    except (OSError, RuntimeError) as error:
        if str(error).startswith(("Caught", "DataLoader worker")):  # PyTorch's words
            raise
        raise _without_workers("batches of loader processes cannot be received", error) from None


def _in_shared_memory(batch: Any) -> Any:
    """Put a worker's tensors where the main process reads them. Raise ValueError if there is no room.

    The thread that sends them would do so, too, but prints its errors, and the batch would be waited for in vain.
    """
    if get_worker_info():
        try:
            for value in batch.values():
                if isinstance(value, Tensor):
                    value.share_memory_()
        except (OSError, RuntimeError) as error:
            raise _without_workers("no shared memory for a loader process's batch", error) from None
    return batch


def _without_workers(what: str, error: Exception) -> ValueError:
    reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
    return ValueError(f"{what} ({reason}); {WITHOUT_WORKERS}")


def _begin_worker(worker: int) -> None:
    """Ignore stop signals in a worker. End it when it cannot send a batch, which the loop notices.

    Ctrl-C and SIGTERM may reach all processes of a run; it is the loop that heeds them, and it still wants this batch.
    The second SIGTERM ends the worker: that is Python taking its last processes down.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
    # Called in the thread that sends. By default it prints, and goes on without the batch, which is waited for.
    Queue._on_queue_feeder_error = staticmethod(lambda error, batch: os._exit(1))  # type: ignore[attr-defined]


def to_device(batch: dict, device: torch.device | str, augment: bool) -> dict:
    """Unpack a batch of `PatchDataset` on the device into clean, noisy (N, C, P, P) uint8; name, camera.

    Flips, rotations and the change of layout cost a GPU nothing, and a processor more than the rest of the loading.
    """
    pixels = batch["pixels"].to(device, non_blocking=True)  # (N, P, P, 2 C)
    if augment:
        pixels = dihedral_batch(pixels, batch["modes"])
    planes = pixels.permute(0, 3, 1, 2)  # (N, 2 C, P, P)
    clean, noisy = (image.contiguous() for image in planes.chunk(2, dim=1))
    return {"clean": clean, "noisy": noisy, "name": batch["name"], "camera": batch["camera"]}


def dihedral(image: np.ndarray, mode: int) -> np.ndarray:
    """Return one of the 8 flips and rotations of a square: (P, P, C), mode 0 to 7 -> (P, P, C), a view.

    Mode 0 is the identity; a mode is a number of quarter turns, plus `FLIP` for a left-right flip before them.
    """
    if mode & FLIP:
        image = image[:, ::-1]
    return np.rot90(image, mode & QUARTER_TURNS)


def dihedral_batch(images: Tensor, modes: Tensor) -> Tensor:
    """Turn each image by its own mode of `dihedral`, on the images' device: (N, P, P, C), (N,) -> (N, P, P, C)."""
    count, size, _, channels = images.shape
    places = _dihedral_places(size, images.device)[modes.to(images.device, non_blocking=True)]  # (N, P * P)
    places = places + torch.arange(count, device=images.device)[:, None] * (size * size)
    return images.reshape(-1, channels).index_select(0, places.ravel()).view_as(images)


@lru_cache(maxsize=4)
def _dihedral_places(size: int, device: torch.device) -> Tensor:
    """Return which pixel of a square moves to each place, for the eight ways to flip and turn: (8, P * P)."""
    pixels = np.arange(size * size).reshape(size, size, 1)
    return torch.from_numpy(np.stack([dihedral(pixels, mode).ravel() for mode in range(MODES)])).to(device)
