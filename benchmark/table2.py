"""Make the paper's denoising table: train a denoiser on each kind of noise with one recipe, and score them all.

    python -m benchmark.table2 --dry_run          # the commands, and what is missing
    python -m benchmark.table2 --seeds 0 1 2      # run them; again to continue

Without options: the five SIDD cameras of ./Datasets/SIDD_Medium_Crop/ with the generators of ./pretrain/ or, with
--pretrain_dir, of a training's --dir_save; scored on SIDD's validation blocks. Every training resumes, and complete
ones are passed over. Each training's output goes to <dir_save>/<row>_<seed>.log.
"""

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from data.sidd import find_scenes
from evaluation.denoisers import make_denoiser
from inference.pretrained import find_checkpoint_folder
from noise.kinds import KINDS, find_fit
from options.common import Parser, natural_int, positive_int
from options.train_denoiser import SIDD_CAMERAS, train_denoiser_parser
from utils.command import blame, run_command
from utils.files import claim_folder
from utils.report import Table, to_terminal
from utils.runtime import StopSignal
from utils.workers import in_threads

# Kinds of noise that have a row each, in the order of the table.
OF_KINDS = (
    "heteroscedastic", "coloured", "coloured-x-std", "coloured-phase-x-std", "copula", "pipeline", "neca-s", "neca-w",
)  # fmt: skip
ROWS = {  # name -> --source of the training
    "AWGN": ("awgn",),
    **{KINDS[kind].name: (kind,) for kind in OF_KINDS},
    "real": ("real",),
    "real+NeCA-W": ("real:0.5", "neca-w:0.5"),
}
OF_THE_TABLE = ("name", "source", "cam_name", "seed", "train_img_dir", "data_prep_dir", "pretrain_dir", "dir_save")
NEEDED_NETWORKS = {"NeCA-S": ("G2",), "NeCA-W": ("E", "G1", "G2"), "real+NeCA-W": ("E", "G1", "G2")}
# PSNR / SSIM on SIDD's benchmark in the paper; the validation blocks score alike, not the same.
PAPER = {
    "bm3d": "25.65 / 0.685",
    "NeCA-S": "36.10 / 0.927",
    "NeCA-W": "36.82 / 0.932",
    "real": "37.12 / 0.934",
}
BLOCKS = [f"./Datasets/Validation{kind}BlocksSrgb.mat" for kind in ("Noisy", "Gt")]


@dataclass(frozen=True)
class Plan:
    """The table that is to be made: its rows and seeds, what trains and what scores."""

    cameras: list[str]
    rows: list[str]
    seeds: list[int]
    classic: list[str]  # denoisers without training
    data: dict[str, str]  # --train_img_dir, --data_prep_dir, --pretrain_dir by name
    dir_save: Path
    blocks: list[str] | None  # noisy and clean; None: scored on the cameras' test scenes
    recipe: list[str]

    @property
    def report(self) -> Path:
        """Return the folder of the scores."""
        return self.dir_save / "report"

    def trainings(self) -> dict[str, list[str]]:
        """Return the arguments of Python for every training, by the name of the run."""
        folders = [word for name, folder in self.data.items() for word in (f"--{name}", folder)]
        commands = {}
        for seed in self.seeds:
            for row in self.rows:
                what = ["--source", *ROWS[row], "--cam_name", *self.cameras, "--seed", str(seed)]
                where = ["--name", run_name(row, seed), *folders, "--dir_save", str(self.dir_save)]
                commands[run_name(row, seed)] = ["main_train_denoiser.py", *where, *what, *self.recipe]
        return commands

    def evaluation(self) -> list[str]:
        """Return the arguments of Python for the scores of all trainings."""
        runs = [f"{row}={self.dir_save / run_name(row, '{seed}')}" for row in self.rows]
        if self.blocks:
            images = ["--noisy_blocks", self.blocks[0], "--gt_blocks", self.blocks[1]]
        else:
            images = ["--data_dir", self.data["train_img_dir"], "--data_prep_dir", self.data["data_prep_dir"]]
            images += ["--cam_name", *self.cameras]
        seeds = ["--seeds", *map(str, self.seeds)]
        what = ["--denoisers", *self.classic, *runs]
        return ["main_eval.py", "denoise", *images, *what, *seeds, "--output_dir", str(self.report), "--html"]

    def submission(self) -> list[str]:
        """Return the arguments of Python for a submission to SIDD's benchmark, which alone compares with the paper."""
        row = "NeCA-W" if "NeCA-W" in self.rows else self.rows[0]
        run = self.dir_save / run_name(row, self.seeds[0])
        files = ["--blocks", "./Datasets/BenchmarkNoisyBlocksSrgb.mat", "--output", f"{run}_SubmitSrgb.csv"]
        return ["main_eval.py", "submit", "--benchmark", "kaggle", "--denoiser", str(run), *files]

    def missing(self) -> list[str]:
        """Return a line for everything that has to be there before the first training begins, and is not."""
        lines = []
        for denoiser in self.classic:
            try:
                make_denoiser(denoiser, torch.device("cpu"), 0, False, None, 0)
            except ValueError as error:
                lines.append(f"{error}; change --classic")
        letters = max((NEEDED_NETWORKS.get(row, ()) for row in self.rows), key=len)
        for camera in self.cameras:
            try:
                find_scenes(self.data["train_img_dir"], camera)
            except ValueError as error:
                lines.append(f"crops of {camera} (--train_img_dir): {error}; python Crop_SIDD.py makes them")
            try:
                if letters:
                    find_checkpoint_folder(self.data["pretrain_dir"], camera, letters)
            except ValueError:
                lines.append(
                    f"generator of {camera}: not in {self.data['pretrain_dir']}; change --pretrain_dir, or train it: "
                    f"python main_train_jointly.py --cam_name {camera}"
                )
            if KINDS["pipeline"].name in self.rows and find_fit(self.data["pretrain_dir"], camera) is None:
                lines.append(f"fit of {camera}: not in {self.data['pretrain_dir']}; change --pretrain_dir or --rows")
        absent = [path for path in self.blocks or () if not Path(path).is_file()]
        return lines + [f"{path}: SIDD's validation blocks; change --blocks" for path in absent]


def run_name(row: str, seed: int | str) -> str:
    """Return the folder's name of a run; `{seed}` stands for all of them."""
    return f"{row.lower().replace(' ', '_')}_{seed}"


def split_recipe(recipe: str) -> list[str]:
    """Split a recipe into words. Raise ValueError for one that is none, or that decides what the table varies."""
    try:
        words = shlex.split(recipe)
    except ValueError as error:
        raise ValueError(f"{recipe!r}: {error}") from None
    for name in OF_THE_TABLE:
        if any(word.split("=")[0] == f"--{name}" for word in words):
            raise ValueError(f"{recipe!r}: --{name} is for the table to say, leave it out")
    train_denoiser_parser().parse_args(words)  # ends in one line for options that there are not
    return words


def run_training(name: str, command: list[str], path: Path, stop: StopSignal) -> bool:
    """Train, or find it done; write its output to `path`, and return whether it is complete.

    A signal to stop is passed on, so that the training saves.
    """
    if stop.received:
        return False
    with open(path, "a") as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            if stop.received:
                process.terminate()
                process.wait()
            time.sleep(0.1)
    last = (path.read_text(errors="replace").splitlines() or [""])[-1]
    print(f"{name}: {last}", flush=True)
    return process.returncode == 0 and last.startswith("complete")


def paper_beside_ours(summary: dict[str, dict]) -> Table:
    """Set PSNR and SSIM of every denoiser beside the paper's."""
    rows = [
        [name, PAPER.get(name, ""), f"{values['psnr']['mean']:.2f} / {values['ssim']['mean']:.3f}"]
        for name, values in summary.items()
    ]
    return Table.from_rows(["denoiser", "paper, SIDD benchmark", "ours"], rows, "PSNR (dB) / SSIM.")


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
    """Train what is not yet trained, score all of it, and set the scores beside the paper's."""
    args = table2_parser().parse_args(arguments)
    for name in ("cam_name", "seeds", "classic"):
        values = getattr(args, name)
        if len(set(values)) < len(values):
            raise ValueError(f"--{name} {' '.join(map(str, values))}: one is there twice")
    with blame("--recipe"):
        recipe = split_recipe(args.recipe)
    data = {name: getattr(args, name) for name in ("train_img_dir", "data_prep_dir", "pretrain_dir")}
    rows, blocks = [row for row in ROWS if row in args.rows], None if args.on_scenes else args.blocks
    plan = Plan(args.cam_name, rows, args.seeds, args.classic, data, Path(args.dir_save), blocks, recipe)
    missing = plan.missing()
    for line in missing:
        print(f"missing: {line}")
    if args.dry_run:
        for command in (*plan.trainings().values(), plan.evaluation(), plan.submission()):
            print(shlex.join(["python", *command]))
    if args.dry_run or missing:
        return 1 if missing else 0

    with blame("--dir_save"):
        claim_folder(plan.dir_save)
    with StopSignal() as stop:
        trainings = plan.trainings()
        logs = {name: plan.dir_save / f"{name}.log" for name in trainings}
        done = in_threads(lambda name: run_training(name, trainings[name], logs[name], stop), trainings, args.jobs)
        failed = [name for name, complete in zip(trainings, done) if not complete]
    if failed:
        print(f"failed: {', '.join(failed)}; run again to continue", file=sys.stderr)
        return 1
    if code := subprocess.run([sys.executable, *plan.evaluation()]).returncode:
        return code
    if plan.blocks:  # other images than the paper's
        print(to_terminal(paper_beside_ours(json.loads((plan.report / "results.json").read_text())["summary"])))
    print(f"\nfor the benchmark's server: {shlex.join(['python', *plan.submission()])}")
    return 0


if __name__ == "__main__":
    run_command(main)
