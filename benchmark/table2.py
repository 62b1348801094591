"""The paper's denoising table: train a denoiser on each kind of noise with one recipe, and score them all.

    python -m benchmark.table2 --dry_run          # the commands, and what is missing
    python -m benchmark.table2 --seeds 0 1 2      # run them; again to continue

Without options: the five SIDD cameras of ./Datasets/SIDD_Medium_Crop/ with the generators of ./pretrain/ or, with
--pretrain_dir, of a training's --dir_save; scored on SIDD's validation blocks. Every training resumes, and complete
ones are passed over. Each training's output goes to <dir_save>/<row>_<seed>.log.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

from data.sidd import find_scenes
from evaluation.denoisers import make_denoiser
from models.pretrained import find_checkpoint_folder
from options.common import Parser, natural_int, positive_int
from options.train_denoiser import SIDD_CAMERAS, train_denoiser_parser
from utils.command import run_command
from utils.files import claim_folder
from utils.report import Table, to_terminal
from utils.runtime import StopSignal
from utils.workers import in_threads

ROWS = {  # name -> --source of the training
    "AWGN": ("awgn",),
    "heteroscedastic": ("heteroscedastic",),
    "coloured": ("coloured",),
    "NeCA-S": ("neca-s",),
    "NeCA-W": ("neca-w",),
    "real": ("real",),
    "real+NeCA-W": ("real:0.5", "neca-w:0.5"),
}
OF_THE_TABLE = ("name", "source", "cam_name", "seed", "train_img_dir", "data_prep_dir", "pretrain_dir", "dir_save")
NECA = ("NeCA-S", "NeCA-W", "real+NeCA-W")
# PSNR / SSIM on SIDD's benchmark in the paper; the validation blocks score alike, not the same.
PAPER = {
    "bm3d": "25.65 / 0.685",
    "NeCA-S": "36.10 / 0.927",
    "NeCA-W": "36.82 / 0.932",
    "real": "37.12 / 0.934",
}
BLOCKS = [f"./Datasets/Validation{kind}BlocksSrgb.mat" for kind in ("Noisy", "Gt")]


def table2_parser() -> Parser:
    """Build the parser of the command."""
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument("--cam_name", nargs="+", default=list(SIDD_CAMERAS), help="cameras that train")
    parser.add_argument("--train_img_dir", default="./Datasets/SIDD_Medium_Crop/", help="their crops")
    parser.add_argument("--data_prep_dir", default="./data_preparation/", help="their lists of scenes")
    parser.add_argument("--pretrain_dir", default="./pretrain/", help="their generators")
    parser.add_argument("--dir_save", default="./saves/table2/", help="for runs, logs and the report")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS), help="kinds of noise")
    parser.add_argument("--classic", nargs="*", default=["noisy", "bm3d"], help="denoisers without training")
    parser.add_argument("--seeds", type=natural_int, nargs="+", default=[0], help="a run of every row for each")
    parser.add_argument(
        "--blocks", nargs=2, default=BLOCKS, metavar=("NOISY", "GT"), help="SIDD's validation blocks to score on"
    )
    parser.add_argument(
        "--on_scenes", action="store_true", help="score on the cameras' test scenes in place of the validation blocks"
    )
    parser.add_argument(
        "--recipe", default="", help="options for main_train_denoiser.py in one word, such as '--nc 32 --epochs 100'"
    )
    parser.add_argument("--jobs", type=positive_int, default=1, help="trainings at once")
    parser.add_argument("--dry_run", action="store_true", help="print what is missing and the commands, run nothing")
    return parser


def main(arguments: list[str] | None = None) -> int:
    args = table2_parser().parse_args(arguments)
    check_recipe(args.recipe)
    trainings = {
        (row, seed): training_command(args, row, seed) for seed in args.seeds for row in ROWS if row in args.rows
    }
    missing = find_missing(args)
    for line in missing:
        print(f"missing: {line}")
    if args.dry_run:
        for command in (*trainings.values(), evaluation_command(args), submission_command(args)):
            print(shlex.join(["python", *command]))
    if args.dry_run or missing:
        return 1 if missing else 0

    claim_folder(args.dir_save, "--dir_save")
    with StopSignal() as stop:
        runs = in_threads(lambda item: run_training(args, stop, *item), trainings.items(), args.jobs)
        failed = [name for name in runs if name]
    if failed:
        print(f"failed: {', '.join(failed)}; run again to continue", file=sys.stderr)
        return 1
    if code := subprocess.run([sys.executable, *evaluation_command(args)]).returncode:
        return code
    if not args.on_scenes:  # other images than the paper's
        print(to_terminal(paper_beside_ours(json.loads((report_folder(args) / "results.json").read_text())["summary"])))
    print(f"\nfor the benchmark's server: {shlex.join(['python', *submission_command(args)])}")
    return 0


def check_recipe(recipe: str) -> None:
    """Raise ValueError for a recipe that is none, or that decides what the table varies."""
    try:
        words = shlex.split(recipe)
    except ValueError as error:
        raise ValueError(f"--recipe {recipe!r}: {error}") from None
    for name in OF_THE_TABLE:
        if f"--{name}" in words or any(word.startswith(f"--{name}=") for word in words):
            raise ValueError(f"--recipe: --{name} is for the table to say; leave it out")
    train_denoiser_parser().parse_args(words)  # ends in one line for options that there are not


def find_missing(args: argparse.Namespace) -> list[str]:
    """What has to be there before the first training begins: a line for each that is not."""
    missing = []
    for option in ("cam_name", "seeds", "classic"):
        values = getattr(args, option)
        if len(set(values)) < len(values):
            raise ValueError(f"--{option} {' '.join(map(str, values))}: one is there twice")
    for denoiser in args.classic:
        try:
            make_denoiser(denoiser, torch.device("cpu"), 0, False, None, 0)
        except ValueError as error:
            missing.append(f"{error}, or change --classic")
    for camera in args.cam_name:
        try:
            find_scenes(args.train_img_dir, camera)
        except ValueError as error:
            missing.append(f"crops of {camera} (--train_img_dir): {error}; python Crop_SIDD.py makes them")
        letters = ("E", "G1", "G2") if {"NeCA-W", "real+NeCA-W"} & set(args.rows) else ("G2",)
        if set(NECA) & set(args.rows):
            try:
                find_checkpoint_folder(args.pretrain_dir, camera, letters)
            except ValueError:
                missing.append(
                    f"generator of {camera}: not in {args.pretrain_dir}; change --pretrain_dir, or train it: "
                    f"python main_train_jointly.py --cam_name {camera}"
                )
    if not args.on_scenes:
        missing += [f"{path}: SIDD's validation blocks; --blocks" for path in args.blocks if not Path(path).is_file()]
    return missing


def run_name(row: str, seed: int | str) -> str:
    """Folder of a run; `{seed}` stands for all of them."""
    return f"{row.lower()}_{seed}"


def training_command(args: argparse.Namespace, row: str, seed: int) -> list[str]:
    """The arguments of Python for one training."""
    folders = ("train_img_dir", "data_prep_dir", "pretrain_dir", "dir_save")
    return [
        "main_train_denoiser.py",
        *("--name", run_name(row, seed), "--source", *ROWS[row], "--cam_name", *args.cam_name, "--seed", str(seed)),
        *(word for name in folders for word in (f"--{name}", str(getattr(args, name)))),
        *shlex.split(args.recipe),
    ]


def evaluation_command(args: argparse.Namespace) -> list[str]:
    """The arguments of Python for the scores of all trainings."""
    runs = [f"{row}={Path(args.dir_save) / run_name(row, '{seed}')}" for row in ROWS if row in args.rows]
    if args.on_scenes:
        images = ["--data_dir", args.train_img_dir, "--data_prep_dir", args.data_prep_dir, "--cam_name", *args.cam_name]
    else:
        images = ["--noisy_blocks", args.blocks[0], "--gt_blocks", args.blocks[1]]
    return [
        *("main_eval.py", "denoise", *images, "--denoisers", *args.classic, *runs),
        *("--seeds", *map(str, args.seeds), "--output_dir", str(report_folder(args)), "--html"),
    ]


def submission_command(args: argparse.Namespace) -> list[str]:
    """The arguments of Python for a row's submission to SIDD's benchmark, which alone compares with the paper."""
    row = "NeCA-W" if "NeCA-W" in args.rows else args.rows[0]
    run = Path(args.dir_save) / run_name(row, args.seeds[0])
    files = ["--blocks", "./Datasets/BenchmarkNoisyBlocksSrgb.mat", "--output", f"{run}_SubmitSrgb.csv"]
    return ["main_eval.py", "submit", "--benchmark", "kaggle", "--denoiser", str(run), *files]


def report_folder(args: argparse.Namespace) -> Path:
    """Where the scores go."""
    return Path(args.dir_save) / "report"


def run_training(args: argparse.Namespace, stop: StopSignal, which: tuple[str, int], command: list[str]) -> str:
    """Train, or find it done -> the run's name if it is not complete. A signal to stop lets it save."""
    name = run_name(*which)
    if stop.received:
        return name
    path = Path(args.dir_save) / f"{name}.log"
    with open(path, "a") as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT)
        while (code := process.poll()) is None:
            if stop.received:
                process.terminate()
                code = process.wait()
                break
            time.sleep(0.1)
    last = (path.read_text(errors="replace").splitlines() or [""])[-1]
    print(f"{name}: {last}", flush=True)
    done = code == 0 and last.startswith("complete")
    return "" if done else name


def paper_beside_ours(summary: dict[str, dict]) -> Table:
    """PSNR and SSIM of every denoiser beside the paper's."""
    rows = [
        [name, PAPER.get(name, ""), f"{values['psnr']['mean']:.2f} / {values['ssim']['mean']:.3f}"]
        for name, values in summary.items()
    ]
    return Table(["denoiser", "paper, SIDD benchmark", "ours"], rows, "PSNR (dB) / SSIM.")


if __name__ == "__main__":
    run_command(main)
