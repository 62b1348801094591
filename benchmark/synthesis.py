"""Time NeCA-W's synthesis, ours against the plain one, at the paper's sizes with random weights, and watch the memory.

    python -m benchmark.synthesis --pairs 5 --megapixels 12

Plain: GENet on the noisy image, NPNet and NCNet as models.neca calls them, on the whole image at once, float32, in
PyTorch's default memory format, without gradients. A pair is one run of each on the same 1024x1024 images, in turns
first, so that a noisy machine slows both. The large image runs before, in a process of its own, with 8 bit in and out.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.generator import TILE, NoiseGenerator
from models.neca import correlate, synthesize_w
from models.networks import GENERATORS, build_networks
from models.tiled import correlate as tiled_correlate
from models.tiled import estimate_gain
from models.tiled_npnet import noise_levels

GAIN = 0.05
PAPER_SIZES = {letter: {} for letter in GENERATORS}  # 96, 96 and 64 channels are the networks' defaults
Run = Callable[[], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="side of the timed images")
    parser.add_argument("--tile", type=int, default=TILE)
    parser.add_argument("--megapixels", type=float, default=12, help="of the large image; 0: none")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--parts", action="store_true", help="time the three networks one by one, too")
    parser.add_argument("--large_only", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    networks = {letter: network.eval() for letter, network in build_networks(PAPER_SIZES, "kaiming", 0).items()}
    model = NoiseGenerator(networks, args.tile)
    if args.large_only:
        print(json.dumps(large_image(model, args.megapixels)))
        return

    result = {"threads": args.threads, "tile": args.tile}
    if args.megapixels:  # first: a process inherits the peak of the one that started it
        command = [sys.executable, "-m", "benchmark.synthesis", *sys.argv[1:], "--large_only"]
        result |= json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
        seconds, peak = (result[f"{name}_{args.megapixels:g}mp"] for name in ("seconds", "peak_gb"))
        print(
            f"{args.megapixels:g} megapixels in {seconds:.1f} s, peak memory of the process {peak:.2f} GB", flush=True
        )
    print(
        f"{'':8}{'ours':>12}{'plain':>12}   ours/plain: median, range over {args.pairs} pairs, {args.threads} threads"
    )
    pairs_of_runs = part_runs(model, networks, args.size) if args.parts else {}
    pairs_of_runs["NeCA-W"] = whole_runs(model, networks, args.size)
    for name, runs in pairs_of_runs.items():
        ours, plain, ratio = compare(name, *runs, args.pairs, args.size**2 / 1e6)
        suffix = "" if name == "NeCA-W" else f"_{name.lower()}"
        result |= {f"ratio{suffix}": ratio, f"mp_per_s{suffix}": ours, f"plain_mp_per_s{suffix}": plain}
    print(json.dumps(result))


def large_image(model: NoiseGenerator, megapixels: float) -> dict[str, float]:
    """Put noise on one large image, 4:3, 8 bit in and out: -> seconds, megapixels/s and the process's peak memory."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    clean = torch.randint(0, 256, (3, height, round(height * 4 / 3)), dtype=torch.uint8)
    begun = time.perf_counter()
    model.synthesize(clean, gain_of=clean, seed=1)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    name = f"{megapixels:g}mp"
    return {f"seconds_{name}": seconds, f"mp_per_s_{name}": megapixels / seconds, f"peak_gb_{name}": peak}


def whole_runs(model: NoiseGenerator, networks: dict[str, nn.Module], size: int) -> tuple[Run, Run]:
    """NeCA-W from clean and noisy image to the fake one, white noise and gain included: -> ours, plain."""
    clean, noisy = images(size)

    def plain() -> Tensor:
        z = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
        return synthesize_w(networks["G1"], networks["G2"], clean, networks["E"](noisy), z).fake

    return lambda: model.synthesize(clean, gain_of=noisy, seed=1), plain


def part_runs(model: NoiseGenerator, networks: dict[str, nn.Module], size: int) -> dict[str, tuple[Run, Run]]:
    """The three networks one by one: -> {name: (ours, plain)}."""
    clean, noisy = images(size)
    gain = torch.full((1, 1, 1, 1), GAIN)
    noise = GAIN * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))

    def collect(tiles) -> Tensor:
        whole = torch.empty_like(clean)
        for window, tile in tiles:
            whole[(..., *window)] = tile
        return whole

    return {
        "GENet": (
            lambda: estimate_gain(model.genet, noisy, model.tile, model.to_network),
            lambda: networks["E"](noisy),
        ),
        "NPNet": (
            lambda: collect(noise_levels(model.npnet, clean, gain, model.to_network)),
            lambda: networks["G1"](clean, gain),
        ),
        "NCNet": (
            lambda: collect(tiled_correlate(model.ncnet, noise, model.tile, model.to_network)),
            lambda: correlate(networks["G2"], noise),
        ),
    }


def images(size: int) -> tuple[Tensor, Tensor]:
    """A clean and a noisy image, (1, 3, size, size) in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 3, size, size, generator=generator)
    return clean, (clean + GAIN * torch.randn(clean.shape, generator=generator)).clamp(0, 1)


@torch.no_grad()
def compare(name: str, ours: Run, plain: Run, pairs: int, megapixels: float) -> tuple[float, float, float]:
    """Run two in turns: -> their megapixels/s and their ratio, medians over the pairs; the first pair warms up."""
    speeds: dict[Run, list[float]] = {ours: [], plain: []}
    for number in range(pairs + 1):
        for run in (ours, plain) if number % 2 else (plain, ours):
            begun = time.perf_counter()
            run()
            speeds[run].append(megapixels / (time.perf_counter() - begun))
    ratios = [mine / other for mine, other in zip(speeds[ours][1:], speeds[plain][1:])]
    medians = [statistics.median(values) for values in (speeds[ours][1:], speeds[plain][1:], ratios)]
    speeds_shown = f"{medians[0]:7.3f} MP/s{medians[1]:7.3f} MP/s"
    print(f"{name:8}{speeds_shown}   {medians[2]:.2f}, {min(ratios):.2f} to {max(ratios):.2f}", flush=True)
    return medians[0], medians[1], medians[2]


if __name__ == "__main__":
    main()
