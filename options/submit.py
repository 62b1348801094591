"""Options of `main_eval.py submit`."""

import argparse

from options.common import given_path, thread_count
from options.denoise import DENOISER_FORM, add_denoiser_options

NEEDED_FILES = {"kaggle": ("blocks", "output"), "sidd-mat": ("blocks", "output"), "dnd": ("dnd_dir", "output_dir")}


def check_submission_files(args: argparse.Namespace) -> None:
    """Raise ValueError unless exactly the files and folders of the chosen benchmark are given."""
    for name in ("blocks", "output", "dnd_dir", "output_dir"):
        is_needed = name in NEEDED_FILES[args.benchmark]
        if is_needed != (getattr(args, name) is not None):
            verb = "needs" if is_needed else "does not take"
            raise ValueError(f"--benchmark {args.benchmark}: {verb} --{name}; see main_eval.py submit --help")


def add_submit_command(commands: argparse._SubParsersAction) -> None:
    """Add the command that makes submissions to main_eval.py's."""
    parser = commands.add_parser(
        "submit",
        help="denoise a public benchmark and write what its server takes",
        description="Denoise a benchmark whose clean images only its server has, and write what it takes. SIDD: "
        "download BenchmarkNoisyBlocksSrgb.mat from https://www.eecs.yorku.ca/~kamel/sidd/benchmark.php, which also "
        "links the Kaggle competitions, and upload SubmitSrgb.csv there. DND: get the data set from "
        "https://noise.visinf.tu-darmstadt.de/, and upload the files of bundled/ there. What is written has been read "
        "back and compared. Run again to continue an interrupted run.",
    )
    parser.add_argument(
        "--benchmark",
        choices=NEEDED_FILES,
        required=True,
        help="kaggle: SIDD, a CSV of 1280 lines ID,BLOCK with the blocks' bytes in base64, 335 MB; sidd-mat: SIDD for "
        "its older server, a cell array DenoisedBlocksSrgb, 252 MB, to which fields on method and time that it may "
        "want are to be added by hand; dnd: the Darmstadt Noise Dataset, sRGB, 1000 crops of 512x512, 6.3 GB",
    )
    parser.add_argument("--denoiser", type=given_path, required=True, metavar="[NAME=]WHAT", help=DENOISER_FORM)
    _add_file_options(parser)
    add_denoiser_options(parser)
    parser.add_argument(
        "--num_workers",
        type=thread_count,
        default=2,
        help="nlm and bm3d: blocks or crops that are denoised at once; 0: one",
    )


def _add_file_options(parser: argparse.ArgumentParser) -> None:
    sidd = parser.add_argument_group("files of kaggle and sidd-mat")
    sidd.add_argument(
        "--blocks", type=given_path, default=None, metavar="FILE", help="BenchmarkNoisyBlocksSrgb.mat, as downloaded"
    )
    sidd.add_argument(
        "--output",
        type=given_path,
        default=None,
        metavar="FILE",
        help="the submission, such as SubmitSrgb.csv, or SubmitSrgb.mat for sidd-mat; FILE.json beside it says what it "
        "was made with, FILE.work/ holds denoised images until it is complete",
    )
    dnd = parser.add_argument_group("folders of dnd")
    dnd.add_argument(
        "--dnd_dir", type=given_path, default=None, metavar="DIR", help="with info.mat and images_srgb/0001.mat to 0050"
    )
    dnd.add_argument(
        "--output_dir",
        type=given_path,
        default=None,
        metavar="DIR",
        help="for the denoised crops 0001_01.mat to 0050_20.mat and, to upload, bundled/0001.mat to 0050.mat",
    )
