"""Options of the commands that use a trained noise generator."""

import argparse

from options.common import Parser, add_device_options, add_seed_option, non_negative_float

NECA_TYPES = ("W", "S")


def quick_test_parser() -> Parser:
    """Build the parser of the quick test."""
    parser = Parser(
        "Put a camera's noise on clean images and compare it with the real one: reads clean.png and noisy.png, and "
        "further pairs <name>_clean.png and <name>_noisy.png; writes the fake noisy images, the noises and panels."
    )
    parser.add_argument("--cam_name", default="IP", help="camera whose weights are used")
    parser.add_argument("--dir_test_save", default="./test/saves/", help="folder for the results")
    parser.add_argument("--dir_test_img", default="./test/imgs/", help="folder of the image pairs")
    parser.add_argument(
        "--NeCA_type",
        choices=NECA_TYPES,
        default="W",
        help="W: signal-dependent noise, of the gain of the noisy image; S: signal-independent noise of one level",
    )
    parser.add_argument(
        "--noise_level", type=non_negative_float, default=25, help="NeCA-S: standard deviation in grey levels"
    )
    parser.add_argument(
        "--gain",
        type=non_negative_float,
        default=None,
        help="NeCA-W: gain to use in place of the noisy image's, about the noise's standard deviation / 255",
    )
    parser.add_argument(
        "--pretrain_dir",
        default="./pretrain/",
        help="folder of the weights, <cam_name>/checkpoint_{E,G1,G2}.pth, or a --dir_save of the training",
    )
    add_seed_option(parser)
    add_device_options(parser)
    return parser


def without_effect(args: argparse.Namespace) -> list[str]:
    """Say which options are set to something, yet have no effect with this `--NeCA_type`: -> one line each."""
    notes = {
        "W": [(args.noise_level != 25, f"--noise_level {args.noise_level:g}", "the gain sets the level")],
        "S": [(args.gain is not None, "--gain", "--noise_level sets the level")],
    }
    return [
        f"note: {option} has no effect with --NeCA_type {args.NeCA_type}: {reason}"
        for given, option, reason in notes[args.NeCA_type]
        if given
    ]
