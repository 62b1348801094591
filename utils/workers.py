"""Work on many jobs at once, in processes of their own or in threads: a quick end, no orphans."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from tqdm import tqdm

_stop = None  # in a worker process: the event by which the main process asks it to give up


def stop_requested() -> bool:
    """Ask, in the midst of a long job, whether to give it up; its result is not waited for any more."""
    return _stop is not None and _stop.is_set()


def run_jobs(work: Callable[[Any], Any], jobs: list, num_workers: int, **bar: Any) -> list:
    """Do `work(job)` for all jobs, with a progress bar: -> results in the order in which they came.

    `num_workers` 0 works in this process. The others are spawned, so `work` and the jobs must pickle. The first
    exception, Ctrl-C too, ends everything: jobs not begun are dropped, those at work asked to stop, no process stays.
    """
    if num_workers == 0 or not jobs:
        with tqdm(jobs, **bar) as progress:  # closed before an error is printed
            return [work(job) for job in progress]
    context = multiprocessing.get_context("spawn")  # forking a process with threads (OpenCV, tqdm) can hang
    stop = context.Event()
    pool = ProcessPoolExecutor(min(num_workers, len(jobs)), context, _begin_worker, (stop,))
    try:
        with _ctrl_c_ignored():  # workers inherit it: Ctrl-C is for the main process alone
            futures = [pool.submit(work, job) for job in jobs]
        with tqdm(as_completed(futures), total=len(jobs), **bar) as progress:
            return [future.result() for future in progress]
    except BrokenProcessPool:
        raise ValueError("a worker process was killed, perhaps out of memory; use fewer --num_workers") from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def process_pool(num_workers: int) -> ProcessPoolExecutor:
    """Processes for jobs that come one by one, from several threads: they leave Ctrl-C to this one, and end with it."""
    return ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), _begin_pool_worker)


def in_threads(
    work: Callable[[Any], Any], jobs: Iterable, num_workers: int, stop: threading.Event | None = None
) -> Iterator:
    """Yield `work(job)` for all jobs, in their order; 0 workers: in the caller's thread.

    For work that leaves Python's lock alone: decoding images, NumPy, FFTs. `jobs` may be a generator; it runs in the
    caller's thread and at most two jobs a worker ahead, so that memory does not grow with their number. An exception
    ends the iteration; jobs at work are waited for. Long ones may look at `stop`, which is set then.
    """
    if num_workers == 0:
        yield from map(work, jobs)
        return
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(work, job))
                if len(waiting) > 2 * num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            if stop is not None:
                stop.set()
            for future in waiting:
                future.cancel()


def _begin_worker(stop) -> None:
    global _stop
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _begin_pool_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when the main process is killed; it would wait for jobs forever."""
    multiprocessing.parent_process().join()
    os._exit(1)


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
