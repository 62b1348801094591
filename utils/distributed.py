"""Several processes that train one model together: starting them, their ranks, what they agree on.

torchrun tells each process its rank in the environment; without it there is one process and every function here is
trivial. Plain values go by Gloo on the CPU, gradients on CUDA by NCCL (see `models.optimise`).
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

INTERRUPTED = 130  # exit code of a process that Ctrl-C has ended
TIMEOUT = timedelta(
    hours=2
)  # ranks wait while the main one decodes a data set, or tests; a dead one is noticed at once
JOIN_SECONDS = 300  # that ranks wait for each other at the start, which the slowest one's imports take
SAY_AFTER = 10  # seconds of waiting before it is said what for
POLL = 0.1  # seconds between looks at who has come
SERVER_ANSWERS = timedelta(seconds=10)  # at most, once it listens
GIVEN_UP = "given up"  # key that a rank sets when it ends without the others
ALONE = "unset RANK, WORLD_SIZE and MASTER_ADDR to train in one process"


def rank() -> int:
    """Return the number of this process among those of the run, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Return the number of this process among those of its machine, from 0."""
    return 0 if _is_left_alone() else _number("LOCAL_RANK", 0, "0")


def local_world_size() -> int:
    """Return the number of processes of this run on this machine."""
    return 1 if _is_left_alone() else _number("LOCAL_WORLD_SIZE", 1, "1")


def is_main() -> bool:
    """Return whether this is the process that writes: checkpoints, logs, pictures."""
    return rank() == 0


def started_by_torchrun() -> bool:
    """Return whether the environment gives this process a rank: by torchrun, by `launch`, or left by a cluster."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_one_of_several() -> bool:
    """Return whether the environment also says where to meet the other processes, so that they can be joined."""
    return started_by_torchrun() and bool(os.environ.get("MASTER_ADDR")) and os.environ["WORLD_SIZE"].strip() != "1"


def _is_left_alone() -> bool:
    """Return whether the ranks in the environment are those of some other run, so that none of them counts."""
    return started_by_torchrun() and not is_one_of_several()


def _number(name: str, low: int, default: str | None = None) -> int:
    """Read a whole number from the environment. Raise ValueError if it is none, or below `low`."""
    text = os.environ.get(name, default)
    try:
        if text is not None and int(text) >= low:
            return int(text)
    except ValueError:
        pass
    found = "is not set" if text is None else f"is {text!r}"
    raise ValueError(f"{name} {found} in the environment, expected a number from {low} on; {ALONE}")


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
    except ChildFailedError as error:  # after Ctrl-C before the first step one is interrupted, and the others miss it
        codes = [failure.exitcode for failure in error.failures.values()]
        return INTERRUPTED if INTERRUPTED in codes else 1
    except SignalException:  # the processes have saved and ended
        pass
    return 0


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other processes of this run, if there are any.

    Raise ValueError when they cannot be joined, and when another one fails later.
    """
    if not is_one_of_several():
        if _is_left_alone() and os.environ["WORLD_SIZE"] != "1":
            print(
                f"note: RANK {os.environ['RANK']} and WORLD_SIZE {os.environ['WORLD_SIZE']} in the environment are "
                "ignored, since no MASTER_ADDR says where the others are; training in one process",
                file=sys.stderr,
            )
        yield
        return
    _join(device)
    try:
        yield
    except RuntimeError as error:
        if _is_of_the_group(error):
            raise ValueError("another process of this run has ended; its own message says why") from None
        raise
    dist.destroy_process_group()  # not after an error, when it might wait for the others


def _is_of_the_group(error: RuntimeError) -> bool:
    text = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in text or "connection closed" in text


def _join(device: torch.device) -> None:
    """Meet the other processes at the address in the environment, and form a group with them.

    Raise ValueError with the address and the ranks that are missing after `JOIN_SECONDS`, and for an environment that
    no launcher makes.
    """
    count, port = _number("WORLD_SIZE", 1), _number("MASTER_PORT", 1)
    number, host = _number("RANK", 0), os.environ["MASTER_ADDR"]
    if number >= count:
        raise ValueError(f"RANK is {number} and WORLD_SIZE {count}, expected a rank below {count}; {ALONE}")
    # The main rank is the server, unless torchrun's agent is.
    is_server = number == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, begun = f"{host}:{port}", time.monotonic()
    if not is_server:
        _wait(lambda: "" if _listens(host, port) else f"rank 0 of {count} does not answer at {address}", begun)
    try:
        store: dist.Store = dist.TCPStore(host, port, count, is_server, SERVER_ANSWERS, wait_for_workers=False)
        store.set_timeout(TIMEOUT)
        store = dist.PrefixStore(f"neca/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        store.set(str(number), "")
        try:
            _wait(lambda: _missing(store, count, address), begun)
        except ValueError:
            store.set(GIVEN_UP, "")
            time.sleep(4 * POLL)  # until the others have seen it, who would lose the server
            raise
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=TIMEOUT)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"rank {number} of {count} cannot join the others at {address} ({reason}); {ALONE}") from None


def _missing(store: dist.Store, count: int, address: str) -> str:
    absent = [str(rank) for rank in range(count) if not store.check([str(rank)])]
    what = f"ranks missing at {address}: {', '.join(absent)} of {count}" if absent else ""
    if what and store.check([GIVEN_UP]):
        raise ValueError(f"{what}; another rank has given up waiting")
    return what


def _wait(missing: Callable[[], str], begun: float) -> None:
    """Wait until nothing is missing. Say what is, and raise ValueError with it `JOIN_SECONDS` after `begun`."""
    silent = True
    while what := missing():
        waited = time.monotonic() - begun
        if waited > JOIN_SECONDS:
            raise ValueError(f"{what}, after {JOIN_SECONDS} s; start all ranks, or {ALONE}")
        if silent and waited > SAY_AFTER:
            print(f"note: waiting: {what}; {ALONE}", file=sys.stderr)
            silent = False
        time.sleep(POLL)


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except (OSError, OverflowError):
        return False
    return True


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
    """Return whether `flag` is true on any rank; all have to ask."""
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
