"""Options of the commands that use a trained noise generator."""

import argparse

from options.common import Parser, add_device_options, add_pretrain_option, add_seed_option, non_negative_float

NECA_TYPES = ("W", "S")
DEFAULT_NOISE_LEVEL = 25


def add_neca_type_option(parser) -> None:
    """`--NeCA_type`, of commands that put noise on images."""
    parser.add_argument(
        "--NeCA_type",
        choices=NECA_TYPES,
        default="W",
        help="W: signal-dependent noise of a gain, by default the noisy image's or the camera's; S: signal-independent "
        "noise of one level",
    )


def quick_test_parser() -> Parser:
    """Build the parser of the quick test."""
    parser = Parser(
        "Put a camera's noise on clean images and compare it with the real one: reads clean.png and noisy.png, and "
        "further pairs <name>_clean.png and <name>_noisy.png; writes the fake noisy images, the noises and panels."
    )
    parser.add_argument("--cam_name", default="IP", help="camera whose weights are used")
    parser.add_argument("--dir_test_save", default="./test/saves/", help="folder for the results")
    parser.add_argument("--dir_test_img", default="./test/imgs/", help="folder of the image pairs")
    add_neca_type_option(parser)
    parser.add_argument(
        "--noise_level",
        type=non_negative_float,
        default=DEFAULT_NOISE_LEVEL,
        help="NeCA-S: standard deviation of the noise before NCNet, in grey levels",
    )
    parser.add_argument(
        "--gain",
        type=_gain,
        default=None,
        help="NeCA-W: gain to use in place of the noisy image's, about the noise's standard deviation / 255",
    )
    add_pretrain_option(parser)
    add_seed_option(parser)
    add_device_options(parser)
    return parser


def export_parser() -> Parser:
    """Build the parser of the command that takes weights out of a training run."""
    parser = Parser(
        "Copy the newest E, G1 and G2 of a training run to <output_dir>/<cam_name>/checkpoint_{E,G1,G2}.pth, where the "
        "quick test finds them."
    )
    parser.add_argument("--cam_name", default="DC", help="camera whose weights are taken")
    parser.add_argument(
        "--pretrain_dir",
        default="./saves/noise_syn/",
        help="a --dir_save of the training, or a folder of checkpoints, such as <dir_save>/<cam_name>/models/ema/",
    )
    parser.add_argument("--output_dir", default="./pretrain/", help="folder of the weights")
    parser.add_argument("--half", action="store_true", help="store half precision; loading makes it float32 again")
    return parser


def needed_networks(args: argparse.Namespace) -> tuple[str, ...]:
    """Letters of the networks that the quick test runs: GENet only where the gain comes from the noisy image."""
    if args.NeCA_type == "S":
        return ("G2",)
    return ("E", "G1", "G2") if args.gain is None else ("G1", "G2")


def without_effect(args: argparse.Namespace) -> list[str]:
    """Say which options differ from their defaults, yet have no effect with this `--NeCA_type`: -> one line each."""
    if args.NeCA_type == "W" and args.noise_level != DEFAULT_NOISE_LEVEL:
        return [f"note: --noise_level {args.noise_level:g} has no effect with --NeCA_type W, whose level is the gain's"]
    if args.NeCA_type == "S" and args.gain is not None:
        return [f"note: --gain {args.gain:g} has no effect with --NeCA_type S, whose level is --noise_level"]
    return []


def _gain(text: str) -> float:
    """Argparse type: a gain, in [0, 1] units like the images."""
    value = non_negative_float(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected 0 to 1: so many grey levels / 255")
    return value
