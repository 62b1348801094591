"""Options of main_train_denoiser.py."""

import argparse
from pathlib import Path
from typing import Any

from models.blocks import ACT_MODES, INIT_TYPES
from models.model_denoiser import ARCHITECTURES, LOSSES, DenoiserOptions
from models.network_ncnet import STRIDE
from options.common import Parser, given_path, natural_int, non_negative_float, positive_int
from options.noise_sources import Source, add_source_options, shares
from options.training import add_data_options, add_precision_options, add_run_options, fixed_options

DEFAULTS = DenoiserOptions()
# Beside those of every training: the run's own name, and where the weights are, which are compared themselves.
CHANGEABLE = {"name", "pretrain_dir", "test_images"}


def train_denoiser_parser() -> Parser:
    """Build the parser of the command that trains a denoiser."""
    parser = Parser(
        "Train a denoiser on real noise, on noise that is made while it learns, or on mixes of them, and test it on "
        "real noise. The defaults are the paper's protocol: each camera's generator noises that camera's clean images. "
        "Run the same command again to continue an interrupted run."
    )
    run = parser.add_argument_group("run")
    run.add_argument("--dir_save", default="./saves/denoising/", help="the run goes to <dir_save>/<name>/")
    run.add_argument("--name", type=_folder_name, default=None, help="default: from the sources and the cameras")
    add_run_options(run, 300, "the denoiser of the test with the highest PSNR")
    run.add_argument(
        "--test_images",
        type=natural_int,
        default=0,
        help="test on so many crops, evenly spaced over the cameras' test crops; 0: on all",
    )
    add_source_options(parser.add_argument_group("noise"))
    add_data_options(parser.add_argument_group("data"), batch_size=16)
    _add_network_options(parser.add_argument_group("network"))
    _add_optimisation_options(parser.add_argument_group("optimisation"))
    add_precision_options(parser.add_argument_group("precision and speed"))
    return parser


def _add_network_options(group) -> None:
    group.add_argument("--arch", choices=tuple(ARCHITECTURES), default="dncnn", help="the denoiser")
    group.add_argument("--nc", type=positive_int, default=64, help="width")
    group.add_argument("--nb", type=_layers, default=20, help="number of convolutions")
    group.add_argument(
        "--act_mode", choices=ACT_MODES, default="BR", help="R ReLU, L leaky ReLU, with B batch or I instance norm"
    )
    group.add_argument("--init_type", choices=INIT_TYPES, default="normal", help="initial weights")


def _add_optimisation_options(group) -> None:
    group.add_argument("--loss", choices=tuple(LOSSES), default=DEFAULTS.loss, help="rec, against the clean patch")
    group.add_argument("--lr", type=non_negative_float, default=DEFAULTS.lr, help="learning rate (Adam)")
    group.add_argument(
        "--lr_decay",
        type=positive_int,
        nargs="+",
        default=list(DEFAULTS.lr_decay),
        help="epochs after which it decays by 10",
    )
    group.add_argument("--beta1", type=non_negative_float, default=DEFAULTS.betas[0], help="Adam")
    group.add_argument("--beta2", type=non_negative_float, default=DEFAULTS.betas[1], help="Adam")
    group.add_argument(
        "--ema",
        type=non_negative_float,
        default=DEFAULTS.ema,
        help="decay of a moving average of the weights, saved to models/ema/ and tested too; 0: none",
    )


def train_denoiser_options(parser: Parser, arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the options, and end in one line where they do not fit together."""
    args = parser.parse_args(arguments)
    args.source = args.source or [Source("neca-w", 1.0)]
    kinds = [source.kind for source in args.source]
    named = [source.name for source in args.source]
    for given, what in ((named, "--source"), (args.cam_name, "--cam_name")):
        if len(set(given)) < len(given):
            parser.error(f"{what}: {next(one for one in given if given.count(one) > 1)} is there twice")
    for option, kind in (("noise_level", "neca-s"), ("sigma", "awgn")):
        if getattr(args, option) is not None and kind not in kinds:
            parser.error(f"--{option}: only with --source {kind}")
    if args.gain_from == "bank" and "neca-w" not in kinds:
        parser.error("--gain_from bank: only with --source neca-w")
    if {"neca-w", "neca-s"} & set(kinds) and args.patch_size % STRIDE:
        parser.error(f"--patch_size {args.patch_size}: NCNet needs a multiple of {STRIDE}")
    for name in ("beta1", "beta2", "ema"):
        if getattr(args, name) >= 1:
            parser.error(f"--{name} {getattr(args, name)}: expected less than 1")
    args.name = args.name or f"{'+'.join(shares(args.source))}_{'+'.join(args.cam_name)}"
    return args


def fixed_denoiser_options(parser: Parser) -> dict[str, tuple[str, Any]]:
    """Options that a resumed run must not change, {name: (flag, default)}."""
    return {name: value for name, value in fixed_options(parser).items() if name not in CHANGEABLE}


def denoiser_options(args: argparse.Namespace) -> DenoiserOptions:
    """Take what the training step needs out of the parsed options."""
    return DenoiserOptions(args.loss, args.lr, tuple(args.lr_decay), (args.beta1, args.beta2), args.ema)


def network_config(args: argparse.Namespace) -> dict:
    """Take the network's constructor arguments out of the parsed options."""
    return {"in_nc": 3, "out_nc": 3, "nc": args.nc, "nb": args.nb, "act_mode": args.act_mode}


def _layers(text: str) -> int:
    value = positive_int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text!r}, expected at least 2, the first and the last convolution")
    return value


def _folder_name(text: str) -> str:
    if given_path(text) != Path(text).name or text in (".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a folder's name without a path")
    return text
