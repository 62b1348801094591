"""Several processes that train one model together: starting them, meeting, what they agree on.

torchrun tells each its place in the environment; without it there is one process and every function here is trivial.
Words between processes go by Gloo on the CPU, gradients on CUDA by NCCL (see `models.optimise`).
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = timedelta(hours=2)  # others wait while the first decodes a data set, or tests; a dead one is noticed at once


def started_by_torchrun() -> bool:
    """Whether this process is one of several that torchrun, or `start_processes`, has started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def place_on_machine() -> int:
    """Number of this process among those of its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def process() -> tuple[int, int]:
    """-> number of this process, from 0, and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def is_first() -> bool:
    """Whether this is the process that writes: checkpoints, logs, pictures."""
    return process()[0] == 0


def start_processes(count: int, command: list[str]) -> int:
    """Run a Python command in `count` processes on this machine, as torchrun does -> exit code.

    When one fails, which says why itself, the others are ended. A signal to stop goes to all of them.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.ERROR)  # who has failed, and no more
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError:
        return 1
    except SignalException:  # the processes have saved and ended
        pass
    return 0


@contextmanager
def meeting(device: torch.device) -> Iterator[tuple[int, int]]:
    """Meet the other processes of this run, if there are any: -> as `process`.

    When another one fails, waiting for it ends in a ValueError that points to it.
    """
    if not started_by_torchrun():
        yield (0, 1)
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield process()
    except RuntimeError as error:
        if (
            isinstance(error, dist.DistError)
            or "gloo" in str(error).lower()
            or "connection closed" in str(error).lower()
        ):
            raise ValueError("another process of this run has ended; its own message says why") from None
        raise
    dist.destroy_process_group()  # not after an error, when it might wait for the others


def share_of(batch_size: int) -> slice:
    """Which samples of a batch are this process's. Raises ValueError when they cannot be shared equally."""
    rank, count = process()
    if batch_size % count:
        raise ValueError(f"--batch_size {batch_size}: {count} processes share it equally; choose a multiple of {count}")
    share = batch_size // count
    return slice(rank * share, (rank + 1) * share)


@contextmanager
def first_of_machine_first() -> Iterator[None]:
    """Let one process of each machine do a work before the others: it writes what they then find done."""
    if place_on_machine() > 0:
        any_process(False)
    yield
    if place_on_machine() == 0:
        any_process(False)


def any_process(flag: bool) -> bool:
    """Whether any process says so; all have to ask."""
    if not dist.is_initialized():
        return flag
    said = torch.tensor(int(flag))
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said)


def from_first(value: Any) -> Any:
    """What the first process has given, for all; tensors have to be on the CPU."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def mean_over_processes(values: dict[str, float]) -> dict[str, float]:
    """Mean of each value over all processes, which give the same names in the same order."""
    if not dist.is_initialized():
        return values
    together = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(together)
    return dict(zip(values, (together / dist.get_world_size()).tolist()))
