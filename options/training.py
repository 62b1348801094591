"""Options that the training commands share: options of a run, its data, and how it computes."""

import argparse
from pathlib import Path
from typing import Any

from data.training import BatchSettings
from models.optimise import AMP, Precision
from options.common import (
    Group,
    add_channels_option,
    add_device_options,
    add_seed_option,
    below_one,
    natural_int,
    positive_int,
)
from utils.trainer import Schedule

# A run may be resumed with other values of these: the weights of a step do not depend on them. (On another device, or
# on a machine with other cores, in more processes or with other kernels, they do in the last bits.) The images are
# compared by name, whatever their folder.
CHANGEABLE = {
    "help", "help_all", "epochs", "steps", "log_step", "test_epoch", "val_step", "keep_checkpoints", "keep_best",
    "num_workers", "verbose", "use_tb", "device", "gpu_ids", "train", "generate_data_lists", "dir_save",
    "train_img_dir", "data_prep_dir", "cache_dir", "cache", "dry_run", "tf32", "channels_last", "compile", "fused_adam",
}  # fmt: skip


def add_run_options(group: Group, epochs: int, best: str) -> None:
    """Add how long a run lasts, what it keeps, where it computes; best: what `--keep_best` keeps, for the help."""
    group.add_argument("--epochs", type=positive_int, default=epochs, help="epochs to train for")
    group.add_argument("--steps", type=natural_int, help="last step, if it comes before the last epoch")
    group.add_argument("--test_epoch", type=positive_int, default=1, help="epochs between tests; each test saves")
    group.add_argument("--val_step", type=positive_int, default=100000000, help="steps between further tests")
    group.add_argument("--log_step", type=positive_int, default=20, help="steps between log lines of the mean losses")
    group.add_argument(
        "--keep_checkpoints",
        type=natural_int,
        default=0,
        help="number of newest checkpoints to keep of each network; 0: all",
    )
    group.add_argument(
        "--keep_best",
        action="store_true",
        help=f"also keep {best} in models/best/. It is chosen on the test scenes, which makes figures on them "
        "optimistic, unless --val_list gives others",
    )
    group.add_argument(
        "--val_list",
        metavar="FILE",
        help="file of scene names to test on during the training, instead of the test scenes; the run does not train "
        "on them",
    )
    group.add_argument("--not_train", dest="train", action="store_false", help="only test the newest checkpoint")
    group.add_argument("--verbose", action="store_true", help="print the networks")
    group.add_argument("--use_tb", action="store_true", help="write TensorBoard files to tb/, with plots of each test")
    add_seed_option(group)
    add_device_options(group)


def add_data_options(group: Group, batch_size: int) -> None:
    """Add where the images come from, and how patches are cut out of them."""
    group.add_argument(
        "--train_img_dir",
        default="./Datasets/SIDD_Medium_Crop/",
        help="folder of scenes: the crops of Crop_SIDD.py, or its uncropped --source, of which the same crops are "
        "taken",
    )
    group.add_argument(
        "--cache_dir",
        help="folder for decoded images, which all runs share and which may be deleted between runs: 1.6 MB for a pair "
        "of crops, less for uncropped frames (default: cache/ beside --dir_save)",
    )
    group.add_argument(
        "--no_cache", dest="cache", action="store_false", help="decode two files for every patch, as published: slow"
    )
    group.add_argument(
        "--data_prep_dir",
        default="./data_preparation/",
        help="folder of the scene lists <cam_name>_train.txt and <cam_name>_test.txt",
    )
    group.add_argument(
        "--generate_data_lists",
        action="store_true",
        help="write these lists anew: a random 80/20 split within each ISO level, from --seed. Without it and without "
        "lists, the five SIDD cameras get the published split",
    )
    add_channels_option(group)
    group.add_argument("--patch_size", type=positive_int, default=96, help="side of the training patches, in pixels")
    group.add_argument(
        "--batch_size", type=positive_int, default=batch_size, help="patches per step, over all processes"
    )
    group.add_argument(
        "--not_aug", dest="augment", action="store_false", help="do not flip and rotate patches at random"
    )
    group.add_argument(
        "--keep_phase",
        action="store_true",
        help="begin patches at even rows and columns of the camera's mosaic, and flip them so that it stays; no "
        "rotations. Real noise depends on the place in the mosaic. Default: anywhere (published)",
    )
    group.add_argument("--not_train_shuffle", dest="shuffle", action="store_false", help="take images in list order")
    words = "processes that cut patches, and threads that measure in tests; 0: none"
    group.add_argument("--num_workers", type=natural_int, default=4, help=words)


def add_precision_options(group: Group) -> None:
    """Add how a training computes, `models.optimise.Precision`."""
    group.add_argument(
        "--amp",
        choices=tuple(AMP),
        help="networks compute in bfloat16, or in float16 with scaled losses: faster on GPUs that can, with two or "
        "three digits; weights, losses, gradient penalty and optimisers stay float32. Default: all float32 (published)",
    )
    group.add_argument(
        "--tf32",
        action="store_true",
        help="multiply float32 numbers by ten-bit factors on NVIDIA's tensor cores; no effect on a CPU. PyTorch 1.13 "
        "used TF32 in cuDNN's convolutions by default, so the published numbers were very probably made with it",
    )
    group.add_argument(
        "--channels_last", action="store_true", help="keep a pixel's channels together in memory, for tensor cores"
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile: minutes of compiling, then fewer and larger kernels; on a CPU it needs a C++ compiler",
    )
    group.add_argument("--fused_adam", action="store_true", help="update all weights of an optimiser in one kernel")


def add_adam_options(group: Group, betas: tuple[float, float]) -> None:
    """Add Adam's moments."""
    for number, (beta, moment) in enumerate(zip(betas, ("mean gradient", "mean squared gradient")), start=1):
        group.add_argument(f"--beta{number}", type=below_one, default=beta, help=f"Adam's decay of its {moment}")


def add_ema_option(group: Group, averaged: str) -> None:
    """Add the moving average of the weights; averaged: of which networks, for the help."""
    words = f"decay of a moving average of {averaged}, saved to models/ema/ and tested too; 0: none (published)"
    group.add_argument("--ema", type=below_one, default=0.0, help=words)


def precision_of(args: argparse.Namespace) -> Precision:
    """Take the precision out of the parsed options."""
    return Precision(args.amp, args.channels_last, args.compile, args.fused_adam)


def schedule_of(args: argparse.Namespace, steps_per_epoch: int) -> Schedule:
    """Take the schedule out of the parsed options."""
    return Schedule(
        steps_per_epoch=steps_per_epoch,
        epochs=args.epochs,
        steps=args.steps,
        log_step=args.log_step,
        test_epoch=args.test_epoch,
        val_step=args.val_step,
        keep_checkpoints=args.keep_checkpoints,
    )


def batch_settings(args: argparse.Namespace) -> BatchSettings:
    """Take how pairs are read, and batches made of them, out of the parsed options."""
    return BatchSettings(
        patch_size=args.patch_size,
        batch_size=args.batch_size,
        augment=args.augment,
        keep_phase=args.keep_phase,
        shuffle=args.shuffle,
        seed=args.seed,
        num_workers=args.num_workers,
        cache_dir=Path(args.cache_dir or Path(args.dir_save).parent / "cache") if args.cache else None,
    )


def fixed_options(parser: argparse.ArgumentParser) -> dict[str, tuple[str, Any]]:
    """Collect the options that a resumed run must not change, {name: (flag, default)}."""
    return {
        action.dest: (action.option_strings[0], action.default)
        for action in parser._actions
        if action.option_strings and action.dest not in CHANGEABLE
    }
