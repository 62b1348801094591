"""Options of main_eval.py, which has a command of its own for each kind of model."""

import argparse

from options.common import (
    Parser,
    add_device_options,
    add_pretrain_option,
    add_scene_options,
    add_seed_option,
    natural_int,
    non_negative_float,
    positive_int,
    thread_count,
)
from options.denoise import add_denoise_command, add_submit_command


def evaluate_parser(model_names: tuple[str, ...]) -> Parser:
    """Build the parser; `model_names` are the noise models there are."""
    parser = Parser("Judge models. `main_eval.py <command> --help` explains the options of a command.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    noise = commands.add_parser(
        "noise",
        help="noise models against the real noise of the same images",
        description="Set fake noise beside the real noise of the same images: by the published metrics, and by "
        "autocorrelation, spectrum, channel correlation and noise level function, which those do not see. Writes "
        "report.md, results.csv (a row per image, model and draw), results.json and plots.",
    )
    _add_data_options(noise)
    _add_model_options(noise, model_names)
    _add_output_options(noise)
    add_seed_option(noise)
    add_device_options(noise)
    add_denoise_command(commands)
    add_submit_command(commands)
    return parser


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images")
    most = "evaluate so many crops, evenly spaced over all; 0: all"
    add_scene_options(group, split="test", purpose="evaluate on", max_images=0, max_images_help=most)


def _add_model_options(parser: argparse.ArgumentParser, model_names: tuple[str, ...]) -> None:
    group = parser.add_argument_group("models")
    group.add_argument(
        "--models",
        nargs="+",
        choices=model_names,
        default=None,
        help="noise models to compare; without it all that can be had with these images: the generator, Gaussian "
        "references fitted on the training scenes in --data_dir, and the other frame of a scene (real)",
    )
    add_pretrain_option(group)
    group.add_argument(
        "--noise_level",
        type=non_negative_float,
        default=None,
        help="NeCA-S: grey levels; without it each image's true standard deviation",
    )
    group.add_argument(
        "--fake_dir",
        nargs="+",
        default=[],
        metavar="[NAME=]DIR",
        help="folders of fake noisy images made elsewhere, named as the noisy ones, flat or below <scene>/",
    )
    group.add_argument("--draws", type=positive_int, default=1, help="independent fakes of each image and model")
    group.add_argument(
        "--fit_images",
        type=natural_int,
        default=100,
        help="crops of each ISO that the Gaussian references are fitted on, evenly spaced over the training scenes; "
        "0: all",
    )


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument(
        "--output_dir", default=None, help="folder for the results (default: ./saves/evaluation/<cam_name>/)"
    )
    group.add_argument("--html", action="store_true", help="also write report.html, one file with all of it")
    group.add_argument(
        "--num_workers", type=thread_count, default=2, help="threads that read and measure; 0: none of their own"
    )
