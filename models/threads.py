"""Strips and tiles side by side on the CPU's cores, one core each."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Barrier
from typing import Any

import torch


def on_cores(function: Callable[[Any], Any], items: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Apply a function to each item without gradients, as `map` does: -> the results in the items' order.

    On the CPU as many threads as torch.get_num_threads() take an item each: they need not wait for each other, as
    PyTorch's own do after every layer, which costs most where other programs use the cores. Elsewhere one by one.
    """
    items, count = list(items), torch.get_num_threads()
    if device.type != "cpu" or min(count, len(items)) <= 1:
        yield from map(function, items)
        return
    pool, pending = _pool(count, os.getpid()), deque()
    try:
        for item in items:
            pending.append(pool.submit(torch.no_grad()(function), item))
            if len(pending) > count:  # one more than run: what waits for the caller stays small
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


@lru_cache(maxsize=1)
def _pool(count: int, process: int) -> ThreadPoolExecutor:
    """Threads in which PyTorch uses one core; kept, as is their memory. A forked process needs its own."""
    barrier = Barrier(count + 1)

    def use_one_core() -> None:
        torch.get_num_threads()  # the first call in a thread takes over the process's number
        torch.set_num_threads(1)
        barrier.wait()

    pool = ThreadPoolExecutor(count, thread_name_prefix="neca")
    for _ in range(count):
        pool.submit(use_one_core)
    barrier.wait()
    torch.set_num_threads(count)  # of this thread, and of those to come
    return pool
