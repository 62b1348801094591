"""Speed of the noise evaluation without the generator's own time: `python -m benchmark.evaluation`.

Writes crops of 512x512 to a temporary folder, and evaluates a model whose noise costs nothing, with all metrics (akld
at L = 1) and two threads. The bar is 40 s for 100 crops on two cores.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from benchmark.data_path import CROP, make_crops
from benchmark.naive import published_test
from benchmark.timing import spread, take_turns
from data.image_sets import Sample, find_frames
from data.sidd import find_crops
from evaluation.noise import evaluate


class Ready:
    """A noise model that has its noise already."""

    name, random = "ready", True

    def __init__(self):
        self.made = np.random.default_rng(0).normal(0, 10, (CROP, CROP, 3)).astype(np.float32)

    def noise(self, sample: Sample, draw: int) -> np.ndarray:
        return self.made


def time_evaluation(folder: Path, crops: int, num_workers: int, rounds: int) -> dict[str, list[float]]:
    """Time the test of made-up crops: ours, all metrics, and the published one, a divergence: -> seconds."""
    make_crops(folder, crops)
    scenes, model = sorted(folder.iterdir()), Ready()
    frames = find_frames(scenes)
    pairs = [pair for scene in scenes for pair in find_crops(scene)]
    works = {
        "ours": lambda: evaluate(frames, [model], draws=1, num_workers=num_workers),
        "published": lambda: published_test(pairs, model.made),
    }
    return take_turns(works, rounds, desc="evaluation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num_workers", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = time_evaluation(Path(folder), args.crops, args.num_workers, args.rounds)["ours"]
    median = spread(seconds).median
    print(f"{args.crops} crops, rounds: {', '.join(f'{value:.1f}' for value in seconds)} s")
    print(json.dumps({"seconds_per_100_crops": 100 * median / args.crops, "images_per_s": args.crops / median}))


if __name__ == "__main__":
    main()
