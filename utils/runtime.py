"""Surroundings of a command that computes: a device, a stop signal."""

import signal
import threading
import time
from types import FrameType
from typing import Any

import torch

from utils.distributed import local_rank, local_world_size, started_by_torchrun


def choose_devices(name: str, gpu_ids: list[int]) -> list[torch.device]:
    """Return the device of a training, or several, for each of which a process has yet to be started.

    name, gpu_ids: as for `choose_device`. Raise ValueError if they cannot be had.
    """
    if len(set(gpu_ids)) < len(gpu_ids):
        raise ValueError(f"GPUs {' '.join(map(str, gpu_ids))}: one is there twice")
    if len(gpu_ids) > 1 and name in ("auto", "cuda") and torch.cuda.is_available() and not started_by_torchrun():
        return [torch.device("cuda", gpu) for gpu in gpu_ids]
    return [choose_device(name, gpu_ids)]


def choose_device(name: str, gpu_ids: list[int]) -> torch.device:
    """Return the device called "auto", "cpu", "cuda" or "mps" (Apple's GPUs); "auto" takes CUDA where there is one.

    Of several processes on a machine each takes the GPU of its local rank, of those in `gpu_ids` if it names several.
    Raise ValueError if CUDA or MPS was asked for and is absent, or there is no such GPU.
    """
    if name == "mps":
        if not torch.backends.mps.is_available():
            raise ValueError("device mps: this machine or this build of PyTorch has no MPS, expected cpu or auto")
        return torch.device("mps")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device cuda: this machine or this build of PyTorch has no CUDA, expected cpu or auto")
    place, count = local_rank(), torch.cuda.device_count()
    alone = local_world_size() == 1
    gpu = gpu_ids[place] if place < len(gpu_ids) and (alone or len(gpu_ids) > 1) else place
    if not 0 <= gpu < count:
        raise ValueError(f"GPUs {gpu_ids}: this machine has GPUs 0 to {count - 1}, none for process {place}")
    torch.cuda.set_device(gpu)  # for the parts of PyTorch that take the current GPU, such as pinned memory
    return torch.device("cuda", gpu)


def allow_tf32(allowed: bool) -> None:
    """Let NVIDIA's tensor cores round the factors of float32 products to ten bits, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    # Switched off by these names, products follow what a program that calls us may have set for all backends (2.9).
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", None))
    for switch in switches:
        if not allowed and getattr(switch, "fp32_precision", None) == "tf32":
            switch.fp32_precision = "ieee"


class StopSignal:
    """Context manager that turns Ctrl-C, SIGTERM and SIGHUP into a flag, so that a loop can finish its step and save.

    A second Ctrl-C interrupts at once; not one within a second, since torchrun passes on what the terminal has sent.
    Outside the main thread, where Python allows no handlers, nothing is caught.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._when = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignal":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
                if signal.getsignal(number) not in (signal.SIG_IGN, self._receive):  # nohup ignores SIGHUP
                    self._previous[number] = signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received and number == signal.SIGINT and now > self._when + 1:
            raise KeyboardInterrupt
        self._when = self._when or now
        self.received = signal.Signals(number).name

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
