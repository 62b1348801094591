"""What the machine can do at best, measured beside what we make of it."""

from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from benchmark.samples import CROP, noisy_pair
from benchmark.timing import Spread, Work, spread, take_turns, use_one_thread

COPIED = 1 << 28  # bytes, far above any cache
MEGAPIXELS = CROP**2 / 1e6


class Gemm(NamedTuple):
    """A matrix product in float32."""

    work: Work
    flops: float


class Limits(NamedTuple):
    """Rates of the machine."""

    gemms: dict[str, Gemm]
    gflops: dict[str, Spread]  # by name of the product
    copy_gb: Spread  # GB/s, one thread
    decode_mp: Spread  # megapixels/s, one thread
    encode_mp: Spread  # megapixels/s, one thread

    def best_gemm(self) -> Gemm:
        return self.gemms[self.best_gemm_name()]

    def best_gemm_name(self) -> str:
        return max(self.gflops, key=lambda name: self.gflops[name].median)


def measure_limits(device: str, sizes: tuple[int, ...], rounds: int) -> Limits:
    """Measure the limits; matrix products with PyTorch's present number of threads."""
    gemms, threads = make_gemms(device, sizes), torch.get_num_threads()
    for gemm in gemms.values():
        gemm.work()
    taken = take_turns({name: (gemm.work, 3) for name, gemm in gemms.items()}, rounds, device, desc="GEMM")
    gflops = {name: spread([gemms[name].flops / 1e9 / value for value in values]) for name, values in taken.items()}

    use_one_thread()
    source, target = np.zeros(COPIED, np.uint8), np.ones(COPIED, np.uint8)
    pair = noisy_pair(CROP, CROP, 0)
    encoded = [cv2.imencode(".png", image)[1] for image in pair]
    taken = take_turns(
        {
            "copy": (lambda: np.copyto(target, source), 3),
            "decode": (lambda: [cv2.imdecode(image, cv2.IMREAD_COLOR) for image in encoded], 10),
            "encode": (lambda: [cv2.imencode(".png", image) for image in pair], 10),
        },
        rounds,
    )
    torch.set_num_threads(threads)
    amounts = {"copy": COPIED / 1e9, "decode": 2 * MEGAPIXELS, "encode": 2 * MEGAPIXELS}
    return Limits(gemms, gflops, *(spread([amounts[name] / value for value in taken[name]]) for name in amounts))


def make_gemms(device: str, sizes: tuple[int, ...]) -> dict[str, Gemm]:
    """Matrix products by name; the greatest rate of them counts as the peak.

    MKL, behind torch.mm, uses half of what some processors have, and oneDNN, behind the convolutions, all: a 1x1
    convolution of channels-last images is a matrix product of theirs.
    """
    gemms = {}
    for size in sizes:
        a, b, product = (torch.rand(size, size, device=device) for _ in range(3))
        gemms[f"torch.mm, {size}"] = Gemm(lambda a=a, b=b, out=product: torch.mm(a, b, out=out), 2 * size**3)
        images = torch.rand(16, size, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
        weight = torch.rand(size, size, 1, 1, device=device)
        flops = 2 * images.numel() * size
        gemms[f"1x1 convolution, {size}"] = Gemm(lambda images=images, weight=weight: F.conv2d(images, weight), flops)
    return gemms
