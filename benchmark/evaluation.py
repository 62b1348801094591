"""Measure the speed of the noise evaluation without the generator's own time: `python -m benchmark.evaluation`.

Writes crops of 512x512 to a temporary folder, and evaluates a model whose noise costs nothing, with all metrics (akld
at L = 1) and two threads. The bar is 40 s for 100 crops on two cores.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmark.data_path import CROP, make_crops
from benchmark.naive import published_test
from benchmark.timing import spread, take_turns
from data.pairs import find_pairs
from data.sidd import find_crops
from evaluation.noise import evaluate
from noise.interface import Images, NoiseModel


class Ready(NoiseModel):
    """A noise model that has its noise already."""

    made = 10 / 255 * torch.randn(1, 3, CROP, CROP, generator=torch.Generator().manual_seed(0))

    def noise(self, images: Images, white: Tensor) -> Tensor:
        """Return the same noise for all images."""
        return self.made

    def white_noise(self, height: int, width: int, seed: int, key: str, channels: int = 3) -> Tensor:
        """Return nothing, for it takes its time."""
        return torch.empty(0)


def time_evaluation(folder: Path, crops: int, num_workers: int, rounds: int) -> dict[str, list[float]]:
    """Time the test of made-up crops: ours, all metrics, and the published one, a divergence; return seconds."""
    make_crops(folder, crops)
    scenes, model = sorted(folder.iterdir()), Ready(name="ready")
    pairs = find_pairs(scenes)
    files = [pair for scene in scenes for pair in find_crops(scene)]
    made = 255 * model.made[0].permute(1, 2, 0).numpy()
    works = {
        "ours": lambda: evaluate(pairs, [model], draws=1, seed=0, num_workers=num_workers),
        "published": lambda: published_test(files, made),
    }
    return take_turns(works, rounds, desc="evaluation")


def main() -> None:
    """Time the evaluation of made-up crops."""
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
