"""Measure the speed of everything beside the naive way and the machine's limit.

    python -m benchmark.speed                    # a quarter of an hour on two cores
    python -m benchmark.speed --parts step       # the training step alone
    python -m benchmark.speed --quick            # seconds, small sizes: does it run?

Writes speed.md and speed.png to --output_dir, and ends in a line of JSON. Naive: the published protocol written plainly
(naive.py). Limits: matrix products, memory copies and PNG coding, measured in the same run. What is compared takes
turns, so that a noisy machine slows all of it; ratios are medians over the rounds, with their range.
"""

import argparse
import json
import resource
import tempfile
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.data_path import BATCH, CROP, FRAME, PATCH, crop_speed, measure_crops, noisy_pair, raw_to_first_batch
from benchmark.evaluation import time_evaluation
from benchmark.naive import NaiveTraining, corners
from benchmark.speed_report import BARS, Comparison, Found, processor, write
from benchmark.timing import Gemm, Limits, measure_limits, ratio, spread, take_turns
from evaluation.costs import count_flops
from models.model_joint import CRITICS, JointModel, JointOptions, StepRandomness, draw_step
from models.networks import LETTERS, build_networks
from options.common import positive_int
from options.train_jointly import network_configs, train_jointly_parser
from utils.command import blame, keep_freed_memory, run_command
from utils.files import claim_folder
from utils.report import Table
from utils.runtime import choose_device

CURVE = (100, 1000, 10000)  # crops
CROP_MEGAPIXELS = CROP**2 / 1e6


class Sizes(NamedTuple):
    """Amounts that are timed."""

    crops: int
    patch_rounds: int
    frames: int
    sides: tuple[int, int]  # of the frames, pixels
    evaluated: int  # crops
    gemms: tuple[int, ...]
    nc: int | None  # width of the networks; None: the paper's


FULL = Sizes(1000, 40, 8, FRAME, 50, (512, 1024, 2048), None)
QUICK = Sizes(16, 1, 2, (801, 1664), 2, (256,), 4)  # two frames make sixteen crops, a batch


class Settings(NamedTuple):
    """Settings that every part of the benchmark shares."""

    sizes: Sizes
    rounds: int
    limits: Limits
    device: str
    batch_size: int  # of the training step
    cost_curve: bool
    folder: str | None

    def in_folder(self, work: Callable[[Path], dict[str, list[float]]]) -> dict[str, list[float]]:
        """Call a work with a temporary folder."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            return work(Path(place))


class Contest:
    """The same training twice, ours and the naive one, on the same batch; step after step, by `ours()` and `naive()`.

    nc: width of all networks; None: the paper's sizes.
    """

    def __init__(self, batch_size: int, device: str = "cpu", nc: int | None = None):
        keep_freed_memory()  # as the training command
        configs = network_configs(train_jointly_parser().parse_args([]))
        if nc:
            configs = {letter: config | {"nc": nc} for letter, config in configs.items()}
        options = JointOptions(separate_train=True, joint_start_epoch=1)
        self.model = JointModel(build_networks(configs, "normal", 0), options, device=device)
        plain = build_networks(configs, "normal", 0)
        self.plain = NaiveTraining({letter: plain[letter].to(device) for letter in LETTERS}, separate=True)
        generator = torch.Generator().manual_seed(0)
        clean = torch.rand(batch_size, 3, PATCH, PATCH, generator=generator)
        noisy = (clean + 0.05 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
        self.clean, self.noisy = clean.to(device), noisy.to(device)
        self.device = device
        self.step = {"ours": 0, "naive": 0}
        self.period = options.adversarial_every  # an adversarial step and those without the critics' opinion

    def _draw(self, name: str) -> tuple[StepRandomness, int]:
        self.step[name] += 1
        step = self.step[name]
        return draw_step(self.clean.shape, 3, 0, step, torch.device(self.device)), step

    def ours(self) -> dict[str, Tensor]:
        """Do our next step."""
        drawn, step = self._draw("ours")
        return self.model.training_step(self.clean, self.noisy, drawn, step, 1)

    def naive(self) -> dict[str, Tensor]:
        """Do the naive training's next step."""
        drawn, step = self._draw("naive")
        eps1, eps2 = (drawn.mixing[letter] for letter in CRITICS)
        return self.plain.step(self.clean, self.noisy, drawn.z, drawn.phase, eps1, eps2, step, True)


def measure_step(settings: Settings) -> Found:
    """Time training steps in turns with naive ones and with the best matrix product; means of a period of steps."""
    contest = Contest(settings.batch_size, settings.device, settings.sizes.nc)
    gemm: Gemm = settings.limits.gemms[settings.limits.best_gemm]
    flops = sum(count_flops(contest.ours) for _ in range(contest.period)) / contest.period
    works = {"ours": contest.ours, "naive": contest.naive, "gemm": gemm.work}
    take_turns(works, 1, settings.device)  # warm-up
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in tqdm(range(settings.rounds), desc="training step", unit="round", disable=None):
        for name, values in take_turns(works, contest.period, settings.device).items():
            taken[name].append(sum(values) / contest.period)
    fractions = [flops / gemm.flops * product / ours for product, ours in zip(taken["gemm"], taken["ours"])]
    ratios = {"step_ratio": ratio(taken["naive"], taken["ours"]), "gemm_fraction": spread(fractions)}
    ours, naive = (f"{1 / _middle(taken[name]):.3f}" for name in ("ours", "naive"))
    limit = settings.limits.best_gemm
    row = Comparison("training steps/s", ours, naive, ratios["step_ratio"], ratios["gemm_fraction"].median, limit)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    cells = [[f"{flops / 1e9:.1f}", f"{flops / _middle(taken['ours']) / 1e9:.0f}", f"{peak:.2f}"]]
    table = Table.from_rows(
        ["GFLOP", "GFLOP/s", "peak memory of the process, GiB"], cells, "A mean training step of ours."
    )
    return Found(ratios, [row], [table])


def measure_patches(settings: Settings) -> Found:
    """Time batches of patches from the cache beside the published path and a memory copy."""
    sizes = settings.sizes
    found = measure_crops(sizes.crops, sizes.patch_rounds, settings.folder)
    ours, naive = (f"{1e6 / found.row[name]:,.0f}" for name in ("on CPU", "published"))
    fraction = found.row["copy"] / found.row["batches"]
    row = Comparison(
        f"training patches/s, batches of {BATCH}", ours, naive, found.ratios["patch_ratio"], fraction, "memory copy"
    )
    if not settings.cost_curve:
        return Found(found.ratios, [row], [])
    rows = []
    for count in CURVE:
        of = measure_crops(count, sizes.patch_rounds, settings.folder).row
        rates = (f"{1e6 / of[name]:,.0f}" for name in ("batches", "on CPU"))
        rows.append([f"{count:,}", *(f"{of[name]:,.4g}" for name in ("build", "files", "memory")), *rates])
    header = ["crops", "build, s", "files, GB", "memory of the process, MiB", "patches/s", "patches/s, on CPU"]
    return Found(found.ratios, [row], [Table.from_rows(header, rows, "Cost by size of the set.")])


def measure_cropper(settings: Settings) -> Found:
    """Time the cropper with one worker and with two beside the published one."""
    sizes, limits = settings.sizes, settings.limits
    taken = settings.in_folder(lambda place: crop_speed(place, sizes.frames, sizes.sides, settings.rounds))
    cut = 2 * len(corners(*sizes.sides)) * CROP_MEGAPIXELS
    coding = _frame_megapixels(sizes) / limits.decode_mp.median + cut / limits.encode_mp.median  # seconds per pair
    rows, faster = [], {name: ratio(taken["published"], taken[name]) for name in ("one worker", "two workers")}
    for name, workers in (("one worker", 1), ("two workers", 2)):
        ours, naive = (f"{_middle(taken[key]) / sizes.frames:.2f}" for key in (name, "published"))
        fraction = sizes.frames * coding / workers / _middle(taken[name])
        row = Comparison(f"cropper, s per frame pair, {name}", ours, naive, faster[name], fraction, "PNG coding")
        rows.append(row)
    ratios = {"crop_ratio": ratio(taken["one worker"], taken["two workers"]), "crop_plain_ratio": faster["one worker"]}
    return Found(ratios, rows, [])


def measure_first_batch(settings: Settings) -> Found:
    """Time the way from raw frames to the first batch, by the cache and by crops."""
    sizes, rows, ratios = settings.sizes, [], {}
    decoding = sizes.frames * _frame_megapixels(sizes) / settings.limits.decode_mp.median
    for workers in (1, 2):
        way = partial(raw_to_first_batch, frames=sizes.frames, sides=sizes.sides, workers=workers)
        taken = settings.in_folder(partial(way, rounds=settings.rounds))
        fraction = decoding / workers / _middle(taken["cache"])
        for name, what in (("published", "published cropper"), ("Crop_SIDD.py", "Crop_SIDD.py")):
            ours, naive = (f"{_middle(taken[key]):.2f}" for key in ("cache", name))
            label = f"raw to first batch, s, {workers} worker{'s' * (workers > 1)}, beside {what}"
            rows.append(Comparison(label, ours, naive, ratio(taken[name], taken["cache"]), fraction, "PNG decoding"))
        ratios["raw_to_first_batch_ratio"] = ratio(taken["Crop_SIDD.py"], taken["cache"])  # of two workers
    return Found(ratios, rows, [])


def measure_evaluation(settings: Settings) -> Found:
    """Time the noise evaluation, all metrics, beside the published test, one metric."""
    count = settings.sizes.evaluated
    taken = settings.in_folder(lambda place: time_evaluation(place, count, 2, settings.rounds))
    ours, naive = (f"{count / _middle(taken[name]):.1f}" for name in ("ours", "published"))
    fraction = count * 2 * CROP_MEGAPIXELS / settings.limits.decode_mp.median / 2 / _middle(taken["ours"])
    faster = ratio(taken["published"], taken["ours"])
    return Found({}, [Comparison("evaluation images/s", ours, naive, faster, fraction, "PNG decoding")], [])


PARTS = {
    "step": measure_step,
    "patches": measure_patches,
    "crop": measure_cropper,
    "first_batch": measure_first_batch,
    "evaluation": measure_evaluation,
}


def _middle(values: list[float]) -> float:
    return spread(values).median


def _frame_megapixels(sizes: Sizes) -> float:
    """Return the megapixels of a pair of frames."""
    return 2 * sizes.sides[0] * sizes.sides[1] / 1e6


def speed_parser() -> argparse.ArgumentParser:
    """Build the parser of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS), help="what to measure")
    parser.add_argument("--quick", action="store_true", help="small sizes and networks: a test of the benchmark itself")
    parser.add_argument("--rounds", type=positive_int, default=None, help="default: 5, with --quick 1")
    threads = torch.get_num_threads()
    parser.add_argument("--threads", type=positive_int, default=threads, help="of training step and GEMM")
    parser.add_argument("--batch_size", type=positive_int, default=4, help="of the training step")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of training step and GEMM")
    parser.add_argument("--cost_curve", action="store_true", help="100, 1,000 and 10,000 crops; takes 25 GB of disk")
    parser.add_argument("--output_dir", default=str(Path(__file__).parent / "results"))
    parser.add_argument("--folder", default=None, help="where the images go for the time being")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure the parts that are wanted and write the report."""
    args = speed_parser().parse_args(arguments)
    sizes, rounds = (QUICK, args.rounds or 1) if args.quick else (FULL, args.rounds or 5)
    choose_device(args.device, [0])
    for folder in filter(None, (args.output_dir, args.folder)):
        with blame("--output_dir or --folder"):
            claim_folder(folder)
    torch.set_num_threads(args.threads)

    limits = measure_limits(list(noisy_pair(CROP, CROP, 0)), args.device, sizes.gemms, rounds)
    settings = Settings(sizes, rounds, limits, args.device, args.batch_size, args.cost_curve, args.folder)
    parts = [PARTS[name](settings) for name in PARTS if name in args.parts]
    ratios = {name: part.ratios[name] for name in BARS for part in parts if name in part.ratios}
    found = Found(
        ratios, [row for part in parts for row in part.rows], [table for part in parts for table in part.tables]
    )

    command = "python -m benchmark.speed" + " --cost_curve" * args.cost_curve
    conditions = f"batch {args.batch_size}, device {args.device}, threads {args.threads}, rounds {rounds}"
    conditions += ", --quick: not to be quoted" * args.quick
    made = f"{date.today()}, {processor()}, torch {torch.__version__}; {conditions}. Made by {command}."
    write(Path(args.output_dir), found, limits, made)
    print(json.dumps({name: round(value.median, 3) for name, value in ratios.items()}))


if __name__ == "__main__":
    run_command(main)
