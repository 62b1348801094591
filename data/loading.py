"""Batches on their way to the device; worker processes that end when, and only when, the training loop says so."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch.utils.data import DataLoader

from data.batches import PairReader, StepBatches, TrainingPatches, WholePairs
from data.transforms import dihedral_batch


def training_loader(
    patches: TrainingPatches, batches: StepBatches, num_workers: int, pin_memory: bool
) -> Iterable[dict]:
    """Load the batches of a run, as `TrainingPatches` gives them."""
    if num_workers == 0:  # a DataLoader would take as long over a batch as the memory map does
        return _Batches(patches, batches, pin_memory)
    return DataLoader(
        patches,
        sampler=batches,
        batch_size=None,
        num_workers=num_workers,
        pin_memory=pin_memory,
        worker_init_fn=_outlive_stop_signals,
    )


class _Batches:
    """A loader without workers."""

    def __init__(self, patches: TrainingPatches, batches: StepBatches, pin_memory: bool):
        self.patches = patches
        self.batches = batches
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict]:
        for key in self.batches:
            batch = self.patches[key]
            yield batch | {"pixels": batch["pixels"].pin_memory()} if self.pin_memory else batch


def to_device(batch: dict, device: torch.device | str, augment: bool) -> dict:
    """Unpack a batch of `TrainingPatches` on the device: -> clean, noisy (N, 3, P, P) uint8; name.

    Flips, rotations and the change of layout cost a GPU nothing, and a processor more than the rest of the loading.
    """
    pixels = batch["pixels"].to(device, non_blocking=True)  # (N, P, P, 6)
    if augment:
        pixels = dihedral_batch(pixels, batch["modes"])
    planes = pixels.permute(0, 3, 1, 2)  # (N, 6, P, P)
    clean, noisy = (image.contiguous() for image in planes.split(3, dim=1))
    return {"clean": clean, "noisy": noisy, "name": batch["name"]}


@contextmanager
def training_batches(
    patches: TrainingPatches, batches: StepBatches, num_workers: int, device: torch.device
) -> Iterator[Iterator[dict]]:
    """Iterate over a run's batches on the device; workers end with the `with` block."""
    loader = training_loader(patches, batches, num_workers, pin_memory=device.type == "cuda")
    with batches_of(loader) as loaded:
        yield (to_device(batch, device, patches.augment) for batch in loaded)


def whole_image_loader(reader: PairReader, num_workers: int) -> DataLoader:
    """Load test images one by one: clean, noisy (1, 3, H, W) uint8 and a list of one name."""
    return DataLoader(WholePairs(reader), batch_size=1, num_workers=num_workers, worker_init_fn=_outlive_stop_signals)


@contextmanager
def batches_of(loader: Iterable[dict]) -> Iterator[Iterator[dict]]:
    """Iterate over a loader; its workers end with the `with` block, also when an exception leaves it.

    Left to the garbage collector, workers stay as long as somebody holds the exception, and Python waits for them.
    """
    iterator = iter(loader)
    try:
        yield iterator
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ValueError("a loader process was killed, perhaps out of memory; use fewer --num_workers") from None
    finally:
        if shut_down := getattr(iterator, "_shutdown_workers", None):  # PyTorch has no public name for it
            shut_down()


def _outlive_stop_signals(worker: int) -> None:
    """Leave Ctrl-C and SIGTERM, which may reach all processes of a run, to the loop: it still wants this batch.

    The second SIGTERM ends the worker: that is Python taking its last processes down.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
