"""Options of `main_eval.py denoise`, and those of all commands that denoise."""

import argparse

from models.denoiser import TILE
from options.common import (
    add_device_options,
    add_scene_options,
    given_path,
    natural_int,
    non_negative_float,
    thread_count,
)

DATA_DIR = "./Datasets/SIDD_Medium_Crop/"
DENOISER_FORM = (
    "[NAME=]WHAT: a checkpoint of DnCNN; the folder of a denoiser's or joint training, whose newest one is taken; "
    "noisy, the image as it is; nlm, non-local means (1 s for 512x512 pixels); bm3d (25 s for 512x512 pixels and core; "
    "pip install bm3d, not for commercial use)"
)


def add_denoise_command(commands: argparse._SubParsersAction) -> None:
    """Add the command that judges denoisers to main_eval.py's."""
    parser = commands.add_parser(
        "denoise",
        help="denoisers on real noisy images whose clean ones are known",
        description="Denoise real noisy images and compare with the clean ones: PSNR and SSIM of the outputs rounded "
        "to 8 bit, as the benchmarks have them, and what training on a synthesiser's noise in place of real noise "
        "costs (PGap). Writes report.md, results.csv (a row per image, denoiser and seed), results.json and pictures.",
    )
    _add_image_options(parser.add_argument_group("images"))
    _add_choice_options(parser.add_argument_group("denoisers"))
    _add_result_options(parser.add_argument_group("results"))
    add_denoiser_options(parser)


def add_denoiser_options(parser: argparse.ArgumentParser) -> None:
    """How a denoiser works, `evaluation.denoisers.make_denoiser`."""
    group = parser.add_argument_group("how to denoise")
    group.add_argument(
        "--tile",
        type=natural_int,
        default=TILE,
        help="pixels of a tile's side, 0: whole images; it changes memory and speed, not the result",
    )
    group.add_argument(
        "--self_ensemble",
        action="store_true",
        help="networks: mean over the eight flips and rotations of the image, eight times the work",
    )
    group.add_argument(
        "--sigma",
        type=non_negative_float,
        default=None,
        help="nlm and bm3d: standard deviation of the noise in grey levels; without it each image's is estimated, by "
        "the median of wavelet coefficients of every third row and column (about 0.85 times the true one)",
    )
    add_device_options(group)


def _add_image_options(group) -> None:
    most = "denoise so many crops or blocks, evenly spaced over all; 0: all"
    add_scene_options(group, split="test", purpose="denoise", max_images=0, max_images_help=most, several=True)
    group.add_argument(
        "--noisy_blocks",
        type=given_path,
        default=None,
        metavar="FILE",
        help="ValidationNoisyBlocksSrgb.mat of SIDD, in place of scenes; with --gt_blocks",
    )
    group.add_argument(
        "--gt_blocks", type=given_path, default=None, metavar="FILE", help="ValidationGtBlocksSrgb.mat of SIDD"
    )


def _add_choice_options(group) -> None:
    group.add_argument(
        "--denoisers",
        type=given_path,
        nargs="+",
        default=["noisy", "nlm"],
        metavar="[NAME=]WHAT",
        help=DENOISER_FORM + "; the noisy image is always among them",
    )
    group.add_argument(
        "--seeds",
        type=natural_int,
        nargs="+",
        default=[],
        help="of runs with the same recipe: {seed} in a path stands for each of them, as in "
        "real=saves/denoising/real_{seed}",
    )
    group.add_argument(
        "--pgap_of",
        default=None,
        metavar="NAME",
        help="the denoiser trained on real noise: PGap is its PSNR minus that of each other one, seed by seed; "
        "without it the one called real, if there is one",
    )
    group.add_argument(
        "--skip_missing", action="store_true", help="print which checkpoints are missing, and go on with the others"
    )


def _add_result_options(group) -> None:
    group.add_argument(
        "--output_dir",
        type=given_path,
        default=None,
        help="folder for the results (default: ./saves/evaluation/denoise_<cameras>/)",
    )
    group.add_argument("--html", action="store_true", help="also write report.html, one file with all of it")
    group.add_argument(
        "--num_workers",
        type=thread_count,
        default=2,
        help="threads that read, measure and run the classic methods, and processes of bm3d; 0: none of their own",
    )
