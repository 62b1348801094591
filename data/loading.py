"""Batches from worker processes that end when, and only when, the training loop says so."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from torch.utils.data import DataLoader

from data.dataset import Pair, StepBatches, TrainingPatches, WholePairs


def training_loader(dataset: TrainingPatches, batches: StepBatches, num_workers: int, pin_memory: bool) -> DataLoader:
    """Load the batches of a run: clean, noisy (N, 3, P, P) uint8 and the list of names."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        worker_init_fn=_outlive_stop_signals,
    )


def whole_image_loader(pairs: list[Pair], num_workers: int) -> DataLoader:
    """Load test images one by one: clean, noisy (1, 3, H, W) uint8 and a list of one name."""
    return DataLoader(WholePairs(pairs), batch_size=1, num_workers=num_workers, worker_init_fn=_outlive_stop_signals)


@contextmanager
def batches_of(loader: DataLoader) -> Iterator[Iterator[dict]]:
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
