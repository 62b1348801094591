"""Speed of everything beside the naive way and the machine's limit: benchmark/results/speed.md, speed.png, and JSON.

    python -m benchmark.speed               # a quarter of an hour on two cores
    python -m benchmark.speed --quick       # seconds, small sizes: does it run?

Naive: the published protocol written plainly (naive.py, published.py). Limits: matrix products, memory copies and PNG
decoding, measured in the same run. What is compared takes turns, so that a noisy machine slows all of it; ratios are
medians over the rounds, with their range. Bars: patch_ratio 80, memcpy_ratio at most 4, crop_ratio 1.7,
raw_to_first_batch_ratio 4, step_ratio 1, gemm_fraction .65.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from benchmark.data_path import measure_crops
from benchmark.evaluation import time_evaluation
from benchmark.frames import FRAME, crop_speed, raw_to_first_batch
from benchmark.limits import measure_limits
from benchmark.speed_report import Measured, headline, write
from benchmark.training import measure_step
from options.common import positive_int
from utils.command import run_command
from utils.files import claim_folder
from utils.runtime import choose_device

CURVE = (100, 1000, 10000)  # crops
Result = TypeVar("Result")


class Sizes(NamedTuple):
    """How much of everything is timed."""

    crops: int
    patch_rounds: int
    frames: int
    sides: tuple[int, int]  # of the frames
    evaluated: int  # crops
    gemms: tuple[int, ...]
    nc: int | None  # width of the networks; None: the paper's


FULL = Sizes(1000, 40, 8, FRAME, 50, (512, 1024, 2048), None)
QUICK = Sizes(16, 1, 2, (801, 1664), 2, (256,), 4)  # two frames make sixteen crops, a batch


def main(arguments: list[str] | None = None) -> None:
    args = speed_parser().parse_args(arguments)
    sizes, rounds = (QUICK, args.rounds or 1) if args.quick else (FULL, args.rounds or 5)
    choose_device(args.device, [0])
    claim_folder(args.output_dir, "--output_dir")
    if args.folder:
        claim_folder(args.folder, "--folder")
    torch.set_num_threads(args.threads)

    def in_folder(work: Callable[[Path], Result]) -> Result:
        with tempfile.TemporaryDirectory(dir=args.folder) as place:
            return work(Path(place))

    limits = measure_limits(args.device, sizes.gemms, rounds)
    measured = Measured(
        limits=limits,
        step=measure_step(args.batch_size, args.device, sizes.nc, limits.best_gemm(), rounds),
        patches=measure_crops(sizes.crops, sizes.patch_rounds, args.folder),
        crop=in_folder(lambda place: crop_speed(place, sizes.frames, sizes.sides, rounds)),
        first_batch={
            workers: in_folder(lambda place, n=workers: raw_to_first_batch(place, sizes.frames, sizes.sides, n, rounds))
            for workers in (1, 2)
        },
        evaluation=in_folder(lambda place: time_evaluation(place, sizes.evaluated, 2, rounds)),
        curve=[measure_crops(count, sizes.patch_rounds, args.folder).row for count in CURVE if args.cost_curve],
        frames=sizes.frames,
        sides=sizes.sides,
        evaluated=sizes.evaluated,
    )
    ratios = headline(measured)
    conditions = f"batch {args.batch_size}, device {args.device}, threads {args.threads}, rounds {rounds}"
    write(Path(args.output_dir), measured, ratios, conditions + ", --quick: not to be quoted" * args.quick)
    print(json.dumps({name: round(value.median, 3) for name, value in ratios.items()}))


def speed_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes and networks: a test of the benchmark itself")
    parser.add_argument("--rounds", type=positive_int, default=None, help="default: 5, with --quick 1")
    parser.add_argument(
        "--threads", type=positive_int, default=torch.get_num_threads(), help="of training step and GEMM"
    )
    parser.add_argument("--batch_size", type=positive_int, default=4, help="of the training step")
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of training step and GEMM: cpu or cuda"
    )
    parser.add_argument("--cost_curve", action="store_true", help="100, 1,000 and 10,000 crops; takes 25 GB of disk")
    parser.add_argument("--output_dir", default=str(Path(__file__).parent / "results"))
    parser.add_argument("--folder", default=None, help="where the images go for the time being")
    return parser


if __name__ == "__main__":
    run_command(main)
