"""Works timed in turns, so that a noisy machine slows all of them, and ratios with their spread."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import torch
from tqdm import tqdm

Work = Callable[[], Any]


class Spread(NamedTuple):
    """Median and range of what the rounds gave."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratio(slow: list[float], fast: list[float]) -> Spread:
    """Times of two works in the same rounds -> how many times faster the second is."""
    return spread([one / other for one, other in zip(slow, fast)])


def seconds(work: Work, times: int = 1, device: str = "cpu") -> float:
    """Mean time of a call, all that it started on a GPU included."""
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(times):
        work()
    synchronise(device)
    return (time.perf_counter() - begun) / times


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def take_turns(
    works: dict[str, Work | tuple[Work, int]],
    rounds: int,
    device: str = "cpu",
    desc: str | None = None,
    after: Work | None = None,
) -> dict[str, list[float]]:
    """Time works round by round, every other round backwards: -> seconds of a call by name and round.

    A pair (work, times) is called so often and takes the mean. `after` tidies up behind each work and is not timed.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in tqdm(range(rounds), desc=desc, unit="round", disable=None if desc else True):
        for name in sorted(works, reverse=number % 2 == 1, key=list(works).index):
            work, times = works[name] if isinstance(works[name], tuple) else (works[name], 1)
            taken[name].append(seconds(work, times, device))
            if after:
                after()
    return taken


def use_one_thread() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
