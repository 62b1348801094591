"""Options of main_train_jointly.py: the published flags with the published defaults, and ours."""

import argparse

from models.blocks import ACT_MODES, INIT_TYPES
from models.losses import GAN_MODES
from models.model_joint import JointOptions
from models.network_ncnet import DOWN_MODES, FINAL_ACTIVATIONS, PADDING_MODES, UNET_STRIDE, UP_MODES
from models.networks import HALVINGS, LETTERS
from options.common import CAMERA, Group, Parser, natural_int, non_negative_float, positive_int
from options.training import (
    add_adam_options,
    add_data_options,
    add_ema_option,
    add_precision_options,
    add_run_options,
)

WIDTHS = {"E": 96, "G1": 96, "G2": 64, "D1": 64, "D2": 64, "G3": 64}
ACTIVATIONS = {"E": "R", "G2": "R", "D1": "L", "D2": "L", "G3": "BR"}
MEASURED = "measured"  # kaiming, and then `noise.measured`
DEFAULTS = JointOptions()  # of the published code; the authors' command is in recipes/published.txt
LAMBDAS = {
    "reg": "noise level near the gain",
    "std1": "gain equal to the global noise level",
    "std2": "noise level equal to the local one",
    "adv1": "correlated noise fools D1",
    "adv2": "uncorrelated noise fools D2",
    "gp": "gradient penalty of the critics",
    "rec": "denoiser restores the clean image",
}


def train_jointly_parser() -> argparse.ArgumentParser:
    """Build the parser of the joint training command."""
    parser = Parser(
        "Train NeCA, the noise generator of a camera (GENet, NPNet, NCNet), jointly with its critics and a denoiser. "
        "Run the same command again to continue an interrupted run. @FILE takes the options of a file: "
        "@options/recipes/published.txt is the published training, quick.txt takes minutes.",
        usage="%(prog)s [options]",
    )
    _add_run_options(parser.add_argument_group("run"))
    _add_data_options(parser.add_argument_group("data"))
    _add_start_options(parser.add_argument_group("start"))
    _add_training_options(parser.add_argument_group("training"))
    add_precision_options(parser.add_argument_group("precision and speed"))
    _add_checkpoint_options(parser.add_internal_group("checkpoints of --use_pretrained"))
    _add_network_options(parser.add_internal_group("networks (letters as in the README)"))
    _add_loss_options(parser.add_internal_group("losses"))
    _add_rate_options(parser.add_internal_group("learning rates"))
    return parser


def _add_run_options(group: Group) -> None:
    group.add_argument(
        "--cam_name", default=CAMERA, metavar="CAM", help="code of the camera, two characters of the scene names"
    )
    words = "the run goes to <dir_save>/<cam_name>/"
    group.add_argument("--dir_save", default="./saves/noise_syn/", help=words)
    add_run_options(group, 5000, "the generators of the test with the lowest structure-aware score")
    words = "print the options, steps, FLOPs, GPU memory and disk of the training, and write nothing"
    group.add_argument("--dry_run", action="store_true", help=words)


def _add_checkpoint_options(group: Group) -> None:
    for letter in LETTERS:
        group.add_argument(
            f"--checkpoint_{letter}_name",
            default=f"{letter}.pth",
            help=f"checkpoint of {letter}: a file in <dir_save>/<cam_name>/models/, else in ./pretrain/<cam_name>/ "
            "(checkpoint_ may precede the name), else a path",
        )


def _add_data_options(group: Group) -> None:
    add_data_options(group, batch_size=8)
    group.add_argument(
        "--pd_stride", type=positive_int, default=DEFAULTS.pd_stride, help="stride of the pixel-shuffle down-sampling"
    )


def _add_network_options(group: Group) -> None:
    of_images = "those of --img_channels"
    for letter in LETTERS:
        group.add_argument(
            f"--{letter}_in_nc", type=int, choices=(3, 1), default=3, help=f"input channels: {of_images}"
        )
        if letter in ("G1", "G2", "G3"):
            group.add_argument(
                f"--{letter}_out_nc", type=int, choices=(3, 1), default=3, help=f"output channels: {of_images}"
            )
        group.add_argument(
            f"--{letter}_nc", type=positive_int, default=WIDTHS[letter], help="channels of the first layer"
        )
        if letter in ACTIVATIONS:
            group.add_argument(
                f"--{letter}_act_mode",
                choices=ACT_MODES,
                default=ACTIVATIONS[letter],
                help="R ReLU, L leaky ReLU, with B batch or I instance norm before it",
            )
    group.add_argument("--E_out_nc", type=int, choices=(1,), default=1, help="output channels: the gain")
    group.add_argument("--E_nb", type=positive_int, default=5, help="number of convolutions")
    group.add_argument("--G2_downsample_mode", choices=DOWN_MODES, default="strideconv", help="how NCNet shrinks")
    group.add_argument("--G2_upsample_mode", choices=UP_MODES, default="upsampling", help="how NCNet grows")
    group.add_argument("--G2_padding_mode", choices=PADDING_MODES, default="zeros", help="padding of NCNet")
    group.add_argument("--G2_final_act", choices=tuple(FINAL_ACTIVATIONS), default="Tanh", help="last layer of NCNet")


def _add_start_options(group: Group) -> None:
    group.add_argument(
        "--init_type",
        choices=(*INIT_TYPES, MEASURED),
        default="normal",
        help=f"initial weights; {MEASURED}: GENet measures noise, NPNet has its level and NCNet its correlation, all "
        "from the training images, with a test before the first step; --steps 0 stops there",
    )
    group.add_argument(
        "--use_pretrained",
        action="store_true",
        help="go on from checkpoints (--checkpoint_<letter>_name, see --help-all), after their epoch; a network "
        "without one begins with new weights",
    )


def _add_training_options(group: Group) -> None:
    group.add_argument("--gan_mode", choices=GAN_MODES, default=DEFAULTS.gan_mode, help="adversarial loss")
    group.add_argument(
        "--joint_start_epoch",
        type=natural_int,
        default=DEFAULTS.joint_start_epoch,
        help="first epoch that trains the denoiser",
    )
    group.add_argument(
        "--separate_train",
        "--seperate_train",
        dest="separate_train",
        action="store_true",
        help="the denoiser's loss does not reach the generators",
    )
    words = "norm to which longer gradients of a network are shortened; 0: none is shortened"
    group.add_argument("--clip_grad_norm", type=non_negative_float, default=DEFAULTS.clip_grad_norm, help=words)
    add_ema_option(group, "E, G1 and G2")


def _add_rate_options(group: Group) -> None:
    for letter in LETTERS:
        group.add_argument(
            f"--lr_{letter}", type=non_negative_float, default=DEFAULTS.lr[letter], help="learning rate (Adam)"
        )
    group.add_argument(
        "--lr_decay_1",
        type=positive_int,
        nargs="+",
        default=list(DEFAULTS.lr_decay_1),
        help="epochs after which the learning rates of all networks but G3 fall to a tenth",
    )
    group.add_argument(
        "--lr_decay_2",
        type=positive_int,
        nargs="+",
        default=list(DEFAULTS.lr_decay_2),
        help="epochs after which the learning rate of G3 falls to a tenth",
    )
    add_adam_options(group, DEFAULTS.betas)


def _add_loss_options(group: Group) -> None:
    group.add_argument(
        "--adv_every",
        type=positive_int,
        help="steps between adversarial terms of the generators (default, published: 5 for wgangp, otherwise 1)",
    )
    for name, meaning in LAMBDAS.items():
        group.add_argument(
            f"--lambda_{name}", type=non_negative_float, default=DEFAULTS.lambdas[name], help=f"weight: {meaning}"
        )


def joint_options(args: argparse.Namespace) -> JointOptions:
    """Take what the training step needs out of the parsed options."""
    return JointOptions(
        gan_mode=args.gan_mode,
        pd_stride=args.pd_stride,
        joint_start_epoch=args.joint_start_epoch,
        separate_train=args.separate_train,
        lambdas={name: getattr(args, f"lambda_{name}") for name in LAMBDAS},
        lr={letter: getattr(args, f"lr_{letter}") for letter in LETTERS},
        clip_grad_norm=args.clip_grad_norm,
        lr_decay_1=tuple(args.lr_decay_1),
        lr_decay_2=tuple(args.lr_decay_2),
        betas=(args.beta1, args.beta2),
        adv_every=args.adv_every,
        ema=args.ema,
    )


def network_configs(args: argparse.Namespace) -> dict[str, dict]:
    """Take the networks' constructor arguments out of the parsed options: -> {letter: arguments}.

    Raises ValueError for patches that NCNet or the pixel-shuffle down-sampling cannot divide, and for channels that are
    not the images'.
    """
    for name, value in vars(args).items():
        if name.endswith(("_in_nc", "_out_nc")) and name != "E_out_nc" and value != args.img_channels:
            raise ValueError(f"--{name} {value}: expected that of --img_channels, {args.img_channels}")
    if args.patch_size % UNET_STRIDE:
        raise ValueError(f"--patch_size {args.patch_size}: NCNet needs a multiple of {UNET_STRIDE}")
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
