"""Options of main_train_jointly.py: the published flags with the published defaults, and ours."""

import argparse
from typing import Any

from models.blocks import ACT_MODES
from models.init import INIT_TYPES
from models.losses import GAN_MODES
from models.model_joint import JointOptions
from models.network_ncnet import DOWN_MODES, FINAL_ACTIVATIONS, PADDING_MODES, STRIDE, UP_MODES
from models.networks import HALVINGS, LETTERS
from options.common import (
    Parser,
    add_device_options,
    add_seed_option,
    natural_int,
    non_negative_float,
    positive_int,
)

# A run may be resumed with other values of these: the weights of a step do not depend on them. (On another device, or
# on a machine with other cores, they do in the last bits.) The images are compared by name, whatever their folder.
CHANGEABLE = {
    "help", "epochs", "steps", "log_step", "test_epoch", "val_step", "keep_checkpoints", "keep_best", "num_workers",
    "verbose", "use_tb", "device", "gpu_ids", "train", "generate_data_lists", "dir_save", "train_img_dir",
    "data_prep_dir", "cache_dir", "cache",
}  # fmt: skip
WIDTHS = {"E": 96, "G1": 96, "G2": 64, "D1": 64, "D2": 64, "G3": 64}
ACTIVATIONS = {"E": "R", "G2": "R", "D1": "L", "D2": "L", "G3": "BR"}
LAMBDAS = {
    "reg": (1, "noise level near the gain"),
    "std1": (50, "gain equal to the global noise level"),
    "std2": (10, "noise level equal to the local one"),
    "adv1": (0.1, "correlated noise fools D1"),
    "adv2": (0.1, "uncorrelated noise fools D2"),
    "gp": (10, "gradient penalty of the critics"),
    "rec": (1, "denoiser restores the clean image"),
}


def train_jointly_parser() -> argparse.ArgumentParser:
    """Build the parser of the joint training command."""
    parser = Parser(
        "Train the noise generator of one camera (GENet, NPNet, NCNet) jointly with its critics and a denoiser. "
        "Run the same command again to continue an interrupted run."
    )
    _add_run_options(parser.add_argument_group("run"))
    _add_data_options(parser.add_argument_group("data"))
    _add_network_options(parser.add_argument_group("networks (letters as in the README)"))
    _add_optimisation_options(parser.add_argument_group("optimisation"))
    return parser


def _add_run_options(group) -> None:
    group.add_argument("--cam_name", default="IP", help="camera code, two characters of the scene names")
    group.add_argument("--dir_save", default="./saves/noise_syn/", help="the run goes to <dir_save>/<cam_name>/")
    group.add_argument("--epochs", type=positive_int, default=5000, help="train for so many epochs")
    group.add_argument("--steps", type=positive_int, default=None, help="stop after so many steps, if that is sooner")
    group.add_argument("--test_epoch", type=positive_int, default=1, help="test and save every so many epochs")
    group.add_argument("--val_step", type=positive_int, default=100000000, help="and every so many steps")
    group.add_argument("--log_step", type=positive_int, default=20, help="log the mean losses every so many steps")
    group.add_argument(
        "--keep_checkpoints", type=natural_int, default=0, help="newest checkpoints kept of each network; 0: all"
    )
    group.add_argument(
        "--keep_best",
        action="store_true",
        help="keep the generators of the test with the lowest structure-aware score in models/best/, beside the newest",
    )
    group.add_argument("--not_train", dest="train", action="store_false", help="only test the newest checkpoint")
    group.add_argument("--verbose", action="store_true", help="print the networks")
    group.add_argument("--use_tb", action="store_true", help="write TensorBoard files to tb/, with plots of each test")
    group.add_argument(
        "--use_pretrained",
        action="store_true",
        help="begin from given checkpoints (see --checkpoint_*_name); networks without one begin afresh",
    )
    for letter in LETTERS:
        group.add_argument(
            f"--checkpoint_{letter}_name",
            default=f"{letter}.pth",
            help=f"checkpoint of {letter}: a path, or a name in ./pretrain/<cam_name>/ (checkpoint_ may precede it)",
        )
    add_seed_option(group)
    add_device_options(group)


def _add_data_options(group) -> None:
    group.add_argument(
        "--train_img_dir",
        default="./Datasets/SIDD_Medium_Crop/",
        help="output of Crop_SIDD.py, or its uncropped --source: then the same crops are taken from the cached frames",
    )
    group.add_argument(
        "--cache_dir",
        default=None,
        help="the images are decoded once into files here, which all runs on them share and which may be deleted "
        "between runs: 1.6 MB a pair of crops, less for uncropped frames; default: cache/ beside --dir_save",
    )
    group.add_argument(
        "--no_cache", dest="cache", action="store_false", help="decode two files for every patch, as published (slow)"
    )
    group.add_argument(
        "--data_prep_dir", default="./data_preparation/", help="folder of <cam_name>_train.txt and <cam_name>_test.txt"
    )
    group.add_argument(
        "--generate_data_lists",
        action="store_true",
        help="write these lists where there are none: a random 80/20 split within each ISO level, from --seed. Without "
        "it, the five SIDD cameras get the published split",
    )
    group.add_argument("--img_channels", type=int, choices=(3,), default=3, help="channels of the images, RGB")
    group.add_argument("--patch_size", type=positive_int, default=96, help="side of the training patches, in pixels")
    group.add_argument("--pd_stride", type=positive_int, default=3, help="stride of the pixel-shuffle down-sampling")
    group.add_argument("--batch_size", type=positive_int, default=8, help="patches per step")
    group.add_argument("--not_aug", dest="augment", action="store_false", help="no random flips and rotations")
    group.add_argument("--not_train_shuffle", dest="shuffle", action="store_false", help="take images in list order")
    group.add_argument("--num_workers", type=natural_int, default=4, help="processes that read images; 0: none")


def _add_network_options(group) -> None:
    for letter in LETTERS:
        group.add_argument(f"--{letter}_in_nc", type=int, choices=(3,), default=3, help="input channels, RGB")
        if letter in ("G1", "G2", "G3"):
            group.add_argument(f"--{letter}_out_nc", type=int, choices=(3,), default=3, help="output channels, RGB")
        group.add_argument(f"--{letter}_nc", type=positive_int, default=WIDTHS[letter], help="(first) width")
        if letter in ACTIVATIONS:
            group.add_argument(
                f"--{letter}_act_mode",
                choices=ACT_MODES,
                default=ACTIVATIONS[letter],
                help="R ReLU, L leaky ReLU, with B batch or I instance norm before it",
            )
    group.add_argument("--E_out_nc", type=int, choices=(1,), default=1, help="output channels, the gain")
    group.add_argument("--E_nb", type=positive_int, default=5, help="number of convolutions")
    group.add_argument("--G2_downsample_mode", choices=DOWN_MODES, default="strideconv", help="how NCNet shrinks")
    group.add_argument("--G2_upsample_mode", choices=UP_MODES, default="upsampling", help="how NCNet grows")
    group.add_argument("--G2_padding_mode", choices=PADDING_MODES, default="zeros", help="padding of NCNet")
    group.add_argument("--G2_final_act", choices=tuple(FINAL_ACTIVATIONS), default="Tanh", help="last layer of NCNet")
    group.add_argument("--init_type", choices=INIT_TYPES, default="normal", help="initial weights")


def _add_optimisation_options(group) -> None:
    group.add_argument("--gan_mode", choices=GAN_MODES, default="wgangp", help="adversarial loss")
    group.add_argument("--joint_start_epoch", type=natural_int, default=50, help="first epoch that trains the denoiser")
    group.add_argument(
        "--separate_train",
        "--seperate_train",
        dest="separate_train",
        action="store_true",
        help="the denoiser's loss does not reach the generators",
    )
    for letter in LETTERS:
        default = 0.001 if letter == "G3" else 0.0001
        group.add_argument(f"--lr_{letter}", type=non_negative_float, default=default, help="learning rate (Adam)")
    group.add_argument(
        "--lr_decay_1",
        type=positive_int,
        nargs="+",
        default=[1000000],
        help="epochs after which all but G3 decay by 10",
    )
    group.add_argument(
        "--lr_decay_2", type=positive_int, nargs="+", default=[100], help="epochs after which G3 decays by 10"
    )
    group.add_argument("--beta1", type=non_negative_float, default=0.5, help="Adam")
    group.add_argument("--beta2", type=non_negative_float, default=0.9, help="Adam")
    group.add_argument(
        "--adv_every",
        type=positive_int,
        default=None,
        help="steps between adversarial terms of the generators; default: 5 for wgangp, otherwise 1 (published)",
    )
    group.add_argument(
        "--ema",
        type=non_negative_float,
        default=0.0,
        help="decay of a moving average of E, G1 and G2, saved to models/ema/ and tested too; 0: none (published)",
    )
    for name, (default, meaning) in LAMBDAS.items():
        group.add_argument(f"--lambda_{name}", type=non_negative_float, default=default, help=f"weight: {meaning}")


def fixed_options(parser: argparse.ArgumentParser) -> dict[str, tuple[str, Any]]:
    """Options that a resumed run must not change, {name: (flag, default)}."""
    return {
        action.dest: (action.option_strings[0], action.default)
        for action in parser._actions
        if action.option_strings and action.dest not in CHANGEABLE
    }


def joint_options(args: argparse.Namespace) -> JointOptions:
    """Take what the training step needs out of the parsed options."""
    for name in ("beta1", "beta2", "ema"):
        if getattr(args, name) >= 1:
            raise ValueError(f"--{name} {getattr(args, name)}: expected less than 1")
    return JointOptions(
        gan_mode=args.gan_mode,
        pd_stride=args.pd_stride,
        joint_start_epoch=args.joint_start_epoch,
        separate_train=args.separate_train,
        lambdas={name: getattr(args, f"lambda_{name}") for name in LAMBDAS},
        lr={letter: getattr(args, f"lr_{letter}") for letter in LETTERS},
        lr_decay_1=tuple(args.lr_decay_1),
        lr_decay_2=tuple(args.lr_decay_2),
        betas=(args.beta1, args.beta2),
        adv_every=args.adv_every,
        ema=args.ema,
    )


def network_configs(args: argparse.Namespace) -> dict[str, dict]:
    """Take the networks' constructor arguments out of the parsed options: -> {letter: arguments}.

    Raises ValueError for patches that NCNet or the pixel-shuffle down-sampling cannot divide.
    """
    if args.patch_size % STRIDE:
        raise ValueError(f"--patch_size {args.patch_size}: NCNet needs a multiple of {STRIDE}")
    if args.patch_size % args.pd_stride:
        raise ValueError(
            f"--patch_size {args.patch_size} is no multiple of --pd_stride {args.pd_stride}; change one of them"
        )
    configs: dict[str, dict] = {letter: {} for letter in LETTERS}
    for name, value in vars(args).items():
        letter, _, argument = name.partition("_")
        if letter in configs:
            configs[letter][argument] = value
    critic_sizes = {"D1": args.patch_size, "D2": args.patch_size // args.pd_stride}
    for letter, size in critic_sizes.items():
        configs[letter] |= {"patch_size": size, "halvings": HALVINGS[letter]}
    return configs
