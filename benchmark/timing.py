"""Time works in turns, so that a noisy machine slows all of them, and measure what the machine can do at best."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

Work = Callable[[], Any]
COPIED = 1 << 28  # bytes, far above any cache


class Spread(NamedTuple):
    """Median and range of what the rounds gave."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def spread(values: list[float]) -> Spread:
    """Return the median and the range of values."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio(slow: list[float], fast: list[float]) -> Spread:
    """Return how many times faster the second of two works is, from their times in the same rounds."""
    return spread([one / other for one, other in zip(slow, fast)])


def seconds(work: Work, times: int = 1, device: str = "cpu") -> float:
    """Return the mean time of a call in seconds, all that it started on a GPU included."""
    _synchronise(device)
    begun = time.perf_counter()
    for _ in range(times):
        work()
    _synchronise(device)
    return (time.perf_counter() - begun) / times


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def take_turns(
    works: Mapping[str, Work | tuple[Work, int]],
    rounds: int,
    device: str = "cpu",
    desc: str | None = None,
    after: Work | None = None,
) -> dict[str, list[float]]:
    """Time works round by round, every other round backwards; return the seconds of a call by name and round.

    A pair (work, times) is called that often and takes the mean. `after` tidies up behind each work and is not timed.
    """
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in tqdm(range(rounds), desc=desc, unit="round", disable=None if desc else True):
        for name in sorted(works, reverse=number % 2 == 1, key=list(works).index):
            work = works[name]
            call, times = work if isinstance(work, tuple) else (work, 1)
            taken[name].append(seconds(call, times, device))
            if after:
                after()
    return taken


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch and OpenCV work in one thread for the time being."""
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


class Gemm(NamedTuple):
    """A matrix product in float32."""

    work: Work
    flops: float


class Limits(NamedTuple):
    """Rates of the machine: megapixels and gigabytes in one thread, matrix products in PyTorch's number of threads."""

    gemms: dict[str, Gemm]
    gflops: dict[str, Spread]  # by name of the product
    copy_gb: Spread  # GB/s
    decode_mp: Spread  # megapixels/s of PNGs
    encode_mp: Spread

    @property
    def best_gemm(self) -> str:
        """Return the name of the fastest matrix product."""
        return max(self.gflops, key=lambda name: self.gflops[name].median)


def measure_limits(images: list[np.ndarray], device: str, sizes: tuple[int, ...], rounds: int) -> Limits:
    """Measure the limits: matrix products of some sizes, memory copies, PNG coding of `images`, (H, W, 3) uint8."""
    gemms = make_gemms(device, sizes)
    for gemm in gemms.values():
        gemm.work()
    taken = take_turns({name: (gemm.work, 3) for name, gemm in gemms.items()}, rounds, device, desc="GEMM")
    gflops = {name: spread([gemms[name].flops / 1e9 / value for value in values]) for name, values in taken.items()}

    source, target = np.zeros(COPIED, np.uint8), np.ones(COPIED, np.uint8)
    encoded = [cv2.imencode(".png", image)[1] for image in images]
    megapixels = sum(image[..., 0].size for image in images) / 1e6
    amounts = {"copy": COPIED / 1e9, "decode": megapixels, "encode": megapixels}
    works: dict[str, tuple[Work, int]] = {
        "copy": (lambda: np.copyto(target, source), 3),
        "decode": (lambda: [cv2.imdecode(image, cv2.IMREAD_COLOR) for image in encoded], 10),
        "encode": (lambda: [cv2.imencode(".png", image) for image in images], 10),
    }
    with one_thread():
        taken = take_turns(works, rounds)
    return Limits(gemms, gflops, *(spread([amounts[name] / value for value in taken[name]]) for name in amounts))


def make_gemms(device: str, sizes: tuple[int, ...]) -> dict[str, Gemm]:
    """Return matrix products by name; the greatest rate of them counts as the peak.

    MKL, behind torch.mm, uses half of what some processors have, and oneDNN, behind the convolutions, all: a 1x1
    convolution of channels-last images is a matrix product of theirs.
    """
    gemms = {}
    for size in sizes:
        a, b, product = (torch.rand(size, size, device=device) for _ in range(3))
        gemms[f"torch.mm, {size}"] = Gemm(partial(torch.mm, a, b, out=product), 2 * size**3)
        images = torch.rand(16, size, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
        weight = torch.rand(size, size, 1, 1, device=device)
        flops = 2 * images.numel() * size
        gemms[f"1x1 convolution, {size}"] = Gemm(partial(F.conv2d, images, weight), flops)
    return gemms
