"""Several processes that train one model together: starting them, their ranks, what they agree on.

torchrun tells each process its rank in the environment; without it there is one process and every function here is
trivial. Plain values go by Gloo on the CPU, gradients on CUDA by NCCL (see `models.optimise`).
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

TIMEOUT = timedelta(
    hours=2
)  # ranks wait while the main one decodes a data set, or tests; a dead one is noticed at once


def rank() -> int:
    """Return the number of this process among those of the run, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Return the number of this process among those of its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_main() -> bool:
    """Tell if this is the process that writes: checkpoints, logs, pictures."""
    return rank() == 0


def started_by_torchrun() -> bool:
    """Tell if this process is one of several that torchrun, or `launch`, has started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(work: Callable[[torch.device], None], devices: list[torch.device]) -> int | None:
    """Do a training's `work(device)` here, or run this command again in one process for each of several devices.

    devices: as of `utils.runtime.choose_devices`. Return the exit code of the processes that were started.
    """
    if len(devices) > 1:
        return start_processes(len(devices), sys.argv)
    with process_group(devices[0]):
        work(devices[0])
    return None


def start_processes(count: int, command: list[str]) -> int:
    """Run a Python command in `count` processes on this machine, as torchrun does, and return the exit code.

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
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes of this run, if there are any.

    When another one fails, waiting for it ends in a ValueError that points to it.
    """
    if not started_by_torchrun():
        yield
        return
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    except RuntimeError as error:
        text = str(error).lower()
        if isinstance(error, dist.DistError) or "gloo" in text or "connection closed" in text:
            raise ValueError("another process of this run has ended; its own message says why") from None
        raise
    dist.destroy_process_group()  # not after an error, when it might wait for the others


def share_of(batch_size: int) -> slice:
    """Return which samples of a batch are this rank's. Raise ValueError if they cannot be shared equally."""
    count = world_size()
    if batch_size % count:
        raise ValueError(f"batch size {batch_size}: {count} processes share it equally, expected a multiple of {count}")
    share = batch_size // count
    return slice(rank() * share, (rank() + 1) * share)


@contextmanager
def main_first() -> Iterator[None]:
    """Let one process of each machine do a work before the others: it writes what they then find done."""
    if local_rank() > 0:
        barrier()
    yield
    if local_rank() == 0:
        barrier()


def barrier() -> None:
    """Wait until every rank has come here."""
    any_rank(False)


def any_rank(flag: bool) -> bool:
    """Tell if `flag` is true on any rank; all have to ask."""
    if not dist.is_initialized():
        return flag
    said = torch.tensor(int(flag))
    dist.all_reduce(said, dist.ReduceOp.MAX)
    return bool(said)


def broadcast(value: Any) -> Any:
    """Return the main rank's value on every rank; tensors in it have to be on the CPU."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def mean_over_ranks(values: dict[str, float]) -> dict[str, float]:
    """Return the mean of each value over all ranks, which give the same names in the same order."""
    if not dist.is_initialized():
        return values
    together = torch.tensor(list(values.values()), dtype=torch.float64)
    dist.all_reduce(together)
    return dict(zip(values, (together / world_size()).tolist()))
