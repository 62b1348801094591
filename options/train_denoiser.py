"""Options of main_train_denoiser.py."""

import argparse
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from models.architectures import ARCHITECTURES, DEFAULT_ARCH, OWN
from models.blocks import ACT_MODES, INIT_TYPES
from models.model_denoiser import LOSSES, DenoiserOptions
from models.network_ncnet import UNET_STRIDE
from noise.kinds import KINDS
from options.common import (
    Group,
    Parser,
    add_pretrain_option,
    given_path,
    natural_int,
    non_negative_float,
    positive_int,
)
from options.synthesize import grey_levels
from options.training import (
    add_adam_options,
    add_data_options,
    add_ema_option,
    add_precision_options,
    add_run_options,
    fixed_options,
)
from synthesis.training_noise import NoiseChoice

SIDD_CAMERAS = ("G4", "GP", "IP", "N6", "S6")
DEFAULTS = DenoiserOptions()
# Beside those of every training: the run's own name, and where the weights are, which are compared themselves.
CHANGEABLE = {"name", "pretrain_dir", "test_images"}
# What of the disk and the code a resumed run must find unchanged, and what chooses it; no run is older.
FROM_DISK = {
    "training images": ("", None),
    "weights of the generators": ("--pretrain_dir", None),
    "gain banks": ("--pretrain_dir", None),
    "fitted noise": ("", None),
    "sampling": ("", None),
}


class Source(NamedTuple):
    """A share of the training samples and the kind of its noise; folder: the data set of a source of kind "folder"."""

    kind: str
    weight: float
    folder: str | None = None

    @property
    def name(self) -> str:
        """Return the kind, or the folder's own name, wherever it is."""
        return Path(self.folder).resolve().name if self.folder else self.kind


def train_denoiser_parser() -> Parser:
    """Build the parser of the command that trains a denoiser."""
    parser = Parser(
        "Train a denoiser on real noise, on noise that is made while it learns, or on mixes of them, and test it on "
        "real noise. The defaults are the paper's protocol: each camera's generator noises that camera's clean images. "
        "Run the same command again to continue an interrupted run."
    )
    run = parser.add_argument_group("run")
    run.add_argument("--dir_save", default="./saves/denoising/", help="the run goes to <dir_save>/<name>/")
    run.add_argument("--name", type=_folder_name, help="name of the run (default: the sources and the cameras)")
    add_run_options(run, 300, "the denoiser of the test with the highest PSNR")
    run.add_argument(
        "--test_images",
        type=natural_int,
        default=0,
        help="crops to test on, evenly spaced over those of the cameras; 0: all",
    )
    _add_source_options(parser.add_argument_group("noise"))
    add_data_options(parser.add_argument_group("data"), batch_size=16)
    _add_network_options(parser.add_argument_group("network"))
    _add_optimisation_options(parser.add_argument_group("optimisation"))
    add_precision_options(parser.add_argument_group("precision and speed"))
    return parser


def _add_source_options(group: Group) -> None:
    group.add_argument(
        "--source",
        type=_source,
        nargs="+",
        metavar="KIND[:SHARE]",
        help=f"noise to train on: real, {', '.join(KINDS)}, or folder=DIR, the pairs of another data set, such as "
        "main_synthesize.py --layout sidd writes. x-std: scaled to the real noisy patch's std, x-channel-std: channel "
        "by channel. Pipelines and copulas are the cameras' fits in --pretrain_dir; a copula without one is fitted "
        "here. Several are mixed: each sample takes one at random, by the shares (default: neca-w)",
    )
    group.add_argument(
        "--cam_name", nargs="+", default=list(SIDD_CAMERAS), help="codes of the cameras whose images are used"
    )
    add_pretrain_option(group)
    group.add_argument(
        "--gain_from",
        choices=("pair", "bank"),
        default="pair",
        help="gain of neca-w. pair: GENet's estimate on the pair's noisy patch, as in the paper; bank: one of the same "
        "ISO from the camera's gains.json, without a noisy image",
    )
    group.add_argument(
        "--noise_level",
        type=grey_levels,
        metavar="S[:S]",
        help="level of neca-s in grey levels; LOW:HIGH draws it uniformly (default: std of the noise of the camera's "
        "training images of the same ISO)",
    )
    group.add_argument(
        "--sigma",
        type=grey_levels,
        metavar="S[:S]",
        help="std of awgn in grey levels; LOW:HIGH draws it uniformly (default: as for neca-s)",
    )
    group.add_argument(
        "--fit_images",
        type=natural_int,
        default=100,
        help="crops per camera and ISO that copulas and Gaussian noise are fitted to, evenly spaced over the "
        "training scenes; 0: all",
    )


def _add_network_options(group: Group) -> None:
    """Add the architecture, and the sizes that any architecture has, without defaults: these differ."""
    group.add_argument("--arch", choices=tuple(ARCHITECTURES), default=DEFAULT_ARCH, help="network")
    for name in dict.fromkeys(name for kind in ARCHITECTURES.values() for name in kind.sizes):
        having = {arch: kind for arch, kind in ARCHITECTURES.items() if name in kind.sizes}
        default = next(iter(having.values())).default(name)
        number = default[0] if isinstance(default, tuple) else default
        known: dict[str, Any] = {"choices": ACT_MODES} if name == "act_mode" else {}
        known |= {"type": positive_int if isinstance(number, int) else type(number)}
        known |= {"nargs": "+"} if isinstance(default, tuple) else {}
        meanings = [f"{arch}: {kind.sizes[name]} ({_words(kind.default(name))})" for arch, kind in having.items()]
        group.add_argument(f"--{name}", help="; ".join(meanings), **known)
    own = ", ".join(f"{arch}: {kind.init_type}" for arch, kind in ARCHITECTURES.items())
    group.add_argument(
        "--init_type",
        choices=(*INIT_TYPES, OWN),
        help=f"initial weights; {OWN}: PyTorch's for each layer (default: {own})",
    )


def _words(value: Any) -> str:
    """Write a default as one types it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _add_optimisation_options(group: Group) -> None:
    group.add_argument(
        "--loss",
        choices=tuple(LOSSES),
        default=DEFAULTS.loss,
        help="error between output and clean patch to minimise: squared or absolute",
    )
    group.add_argument("--lr", type=non_negative_float, default=DEFAULTS.lr, help="learning rate (Adam)")
    group.add_argument(
        "--lr_decay",
        type=positive_int,
        nargs="+",
        default=list(DEFAULTS.lr_decay),
        help="epochs after which the learning rate falls to a tenth",
    )
    add_adam_options(group, DEFAULTS.betas)
    add_ema_option(group, "the weights")


def shares(sources: list[Source]) -> list[str]:
    """Name the sources, with their shares where these differ; a folder goes by its own name, wherever it is."""
    alike = len({source.weight for source in sources}) == 1
    return [source.name if alike else f"{source.name}{source.weight:g}" for source in sources]


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
    if {"neca-w", "neca-s"} & set(kinds) and args.patch_size % UNET_STRIDE:
        parser.error(f"--patch_size {args.patch_size}: NCNet needs a multiple of {UNET_STRIDE}")
    args.name = args.name or f"{'+'.join(shares(args.source))}_{'+'.join(args.cam_name)}"
    _choose_network(parser, args)
    return args


def _choose_network(parser: Parser, args: argparse.Namespace) -> None:
    """Put an architecture's defaults in place of sizes that are not given; those of other architectures stay None."""
    chosen = ARCHITECTURES[args.arch]
    args.init_type = args.init_type or chosen.init_type
    for name in {name for kind in ARCHITECTURES.values() for name in kind.sizes}:
        if getattr(args, name) is None and name in chosen.sizes:
            default = chosen.default(name)
            setattr(args, name, list(default) if isinstance(default, tuple) else default)
        elif getattr(args, name) is not None and name not in chosen.sizes:
            takes = ", ".join(f"--{size}" for size in chosen.sizes)
            parser.error(f"--{name}: {args.arch} has none, expected {takes}")
    if args.arch == "dncnn" and args.nb < 2:
        parser.error(f"--nb {args.nb}: expected at least 2, the first and the last convolution")
    try:
        with torch.device("meta"):  # no memory
            chosen.network(**network_config(args))
    except ValueError as error:
        parser.error(f"--arch {args.arch}: {error}")


def needs_origins(sources: list[Source]) -> bool:
    """Return whether a kind of noise depends on where images begin in the mosaic."""
    return any(source.kind in KINDS and KINDS[source.kind].by_phase for source in sources)


def fixed_denoiser_options(parser: Parser) -> dict[str, tuple[str, Any]]:
    """Collect the options that a resumed run must not change, {name: (flag, default)}."""
    return {name: value for name, value in fixed_options(parser).items() if name not in CHANGEABLE} | FROM_DISK


def denoiser_options(args: argparse.Namespace) -> DenoiserOptions:
    """Take what the training step needs out of the parsed options."""
    return DenoiserOptions(args.loss, args.lr, tuple(args.lr_decay), (args.beta1, args.beta2), args.ema)


def noise_choice(args: argparse.Namespace) -> NoiseChoice:
    """Take the noise of the training out of the parsed options."""
    return NoiseChoice(
        kinds=[source.kind for source in args.source],
        cameras=args.cam_name,
        pretrain_dir=args.pretrain_dir,
        from_bank=args.gain_from == "bank",
        noise_level=args.noise_level,
        sigma=args.sigma,
        channels=args.img_channels,
    )


def network_config(args: argparse.Namespace) -> dict:
    """Take the network's constructor arguments out of the parsed options."""
    channels = {"in_nc": args.img_channels, "out_nc": args.img_channels}
    return channels | {name: getattr(args, name) for name in ARCHITECTURES[args.arch].sizes}


def _folder_name(text: str) -> str:
    if given_path(text) != Path(text).name or text in (".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r}, expected a folder's name without a path")
    return text


def _source(text: str) -> Source:
    """Parse KIND or folder=DIR, each perhaps with :SHARE; a folder that exists may have ":" in its name."""
    expected = f"real, {', '.join(KINDS)} or folder=DIR, with a share such as real:0.5"
    kind, _, folder = text.partition("=")
    if kind == "folder":
        name, weight = folder, "1"
        if not os.path.isdir(folder) and ":" in folder:
            name, _, weight = folder.rpartition(":")
        source = Source("folder", _share(text, weight), given_path(name))
    else:
        kind, _, weight = text.partition(":")
        if kind not in ("real", *KINDS):
            raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
        source = Source(kind, _share(text, weight or "1"))
    return source


def _share(text: str, weight: str) -> float:
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a share above 0, and below a million, after the colon")
    return value
