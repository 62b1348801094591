"""Submissions to the public benchmarks: which one, and what it needs."""

import argparse
import logging

from data.benchmarks.dnd import DndLayout
from data.benchmarks.sidd import BENCHMARK_SHAPE
from evaluation.denoisers import Denoiser
from evaluation.submission_blocks import submit_blocks
from evaluation.submission_dnd import submit_dnd

DND_LAYOUT = DndLayout()
NEEDED = {"kaggle": ("blocks", "output"), "sidd-mat": ("blocks", "output"), "dnd": ("dnd_dir", "output_dir")}
UPLOAD = {
    "kaggle": "upload it to the Kaggle competition of the SIDD benchmark",
    "sidd-mat": "upload it to SIDD's older server",
    "dnd": "upload the files of that folder to DND's server",
}


def submit(args: argparse.Namespace, denoiser: Denoiser, log: logging.Logger) -> None:
    """Make the submission of `--benchmark`. Raises ValueError for options, inputs and outputs that do not fit."""
    for name in sorted({name for names in NEEDED.values() for name in names}):
        is_needed = name in NEEDED[args.benchmark]
        if is_needed != (getattr(args, name) is not None):
            verb = "needs" if is_needed else "does not take"
            raise ValueError(f"--benchmark {args.benchmark}: {verb} --{name}; see main_eval.py submit --help")
    if args.benchmark == "dnd":
        product = submit_dnd(args, denoiser, log, DND_LAYOUT)
    else:
        product = submit_blocks(args, denoiser, log, BENCHMARK_SHAPE)
    log.info("complete: %s; %s", product, UPLOAD[args.benchmark])
