"""Speed of the noise evaluation without the generator's own time: `python -m benchmark.evaluation`.

Writes crops of 512x512 to a temporary folder, and evaluates a model whose noise costs nothing, with all metrics (akld
at L = 1) and two threads. The bar is 40 s for 100 crops on two cores.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.image_sets import Sample, find_frames
from evaluation.noise import evaluate
from utils.image import write_image

SCENE = "0001_001_ZZ_00800_00100_5500_N"
SIDE = 512


class Ready:
    """A noise model that has its noise already."""

    name, random = "ready", True

    def __init__(self):
        self.made = np.random.default_rng(0).normal(0, 10, (SIDE, SIDE, 3)).astype(np.float32)

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        return self.made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder) / SCENE
        random = np.random.default_rng(1)
        for number in tqdm(range(args.crops), desc="make crops"):
            clean = random.integers(30, 220, (SIDE // 8, SIDE // 8, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
            noisy = np.clip(clean + random.normal(0, 10, clean.shape), 0, 255).round().astype(np.uint8)
            for side, kind, image in (("clean", "GT", clean), ("noisy", "NOISY", noisy)):
                write_image(scene / side / f"0001_{kind}_SRGB_010_{number:05d}.png", image)
        frames, seconds = find_frames([scene]), []
        for _ in range(args.rounds):
            start = time.perf_counter()
            evaluate(frames, [Ready()], draws=1, num_workers=args.num_workers)
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    print(f"{args.crops} crops, rounds: {', '.join(f'{value:.1f}' for value in seconds)} s")
    print(json.dumps({"seconds_per_100_crops": 100 * median / args.crops, "images_per_s": args.crops / median}))


if __name__ == "__main__":
    main()
