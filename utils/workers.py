"""Work on many jobs at once, in threads."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Job], Result], jobs: Iterable[Job], num_workers: int, stop: threading.Event | None = None
) -> Iterator[Result]:
    """Yield `work(job)` for all jobs, in their order; with 0 workers in the caller's thread.

    For work that releases Python's lock: decoding and encoding images, NumPy, FFTs. `jobs` may be a generator; it runs
    in the caller's thread and at most two jobs per worker ahead, so that memory does not grow with their number. An
    exception ends the iteration; jobs at work are waited for. Long ones may look at `stop`, which is set then.
    """
    if num_workers == 0:
        yield from map(work, jobs)
        return
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[Future[Result]] = deque()
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
