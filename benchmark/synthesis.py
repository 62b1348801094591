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
import subprocess
import sys
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.timing import Work, ratio, seconds, spread, take_turns
from inference.generator import SYNTHESIS_TILE, NoiseGenerator
from models.neca import synthesize_w
from models.networks import GENERATORS, build_networks

GAIN = 0.05
# 96, 96 and 64 channels are the networks' defaults.
PAPER_SIZES: dict[str, dict[str, Any]] = {letter: {} for letter in GENERATORS}


def large_image(model: NoiseGenerator, megapixels: float) -> dict[str, float]:
    """Put noise on one large image, 4:3, 8 bit in and out; return seconds, megapixels/s and peak memory."""
    height = round(math.sqrt(megapixels * 1e6 * 3 / 4))
    clean = torch.randint(0, 256, (3, height, round(height * 4 / 3)), dtype=torch.uint8)
    taken = seconds(lambda: model.synthesize(clean, gain_of=clean, seed=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    name = f"{megapixels:g}mp"
    return {f"seconds_{name}": taken, f"mp_per_s_{name}": megapixels / taken, f"peak_gb_{name}": peak}


def whole_runs(model: NoiseGenerator, networks: dict[str, nn.Module], size: int) -> dict[str, Work]:
    """Return the ways from clean and noisy image to the fake one, white noise and gain included: ours and plain."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 3, size, size, generator=generator)
    noisy = (clean + GAIN * torch.randn(clean.shape, generator=generator)).clamp(0, 1)

    def plain() -> Tensor:
        z = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
        return synthesize_w(networks["G1"], networks["G2"], clean, networks["E"](noisy), z).fake

    return {"plain": plain, "ours": lambda: model.synthesize(clean, gain_of=noisy, seed=1)}


def main() -> None:
    """Time the large image, then pairs of runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="side of the timed images")
    parser.add_argument("--tile", type=int, default=SYNTHESIS_TILE)
    parser.add_argument("--megapixels", type=float, default=12, help="of the large image; 0: none")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
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
        taken, peak = (result[f"{name}_{args.megapixels:g}mp"] for name in ("seconds", "peak_gb"))
        print(f"{args.megapixels:g} megapixels in {taken:.1f} s, peak memory of the process {peak:.2f} GB", flush=True)
    runs = whole_runs(model, networks, args.size)
    with torch.no_grad():
        take_turns(runs, 1)  # warm-up
        times = take_turns(runs, args.pairs)
    speeds = {name: args.size**2 / 1e6 / spread(values).median for name, values in times.items()}
    faster = ratio(times["plain"], times["ours"])
    print(f"NeCA-W: ours {speeds['ours']:.3f} MP/s, plain {speeds['plain']:.3f} MP/s, ours/plain {faster}")
    print(json.dumps(result | {"ratio": faster.median, "mp_per_s": speeds["ours"], "plain_mp_per_s": speeds["plain"]}))


if __name__ == "__main__":
    main()
