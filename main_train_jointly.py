"""Train the noise generator of a camera jointly with its critics and a denoiser (NeCA)."""

import argparse
from contextlib import closing
from functools import partial
from pathlib import Path

import torch

from data.batches import SAMPLING, steps_per_epoch
from data.mosaic import find_origins, with_origins
from data.pairs import find_pairs, pairs_fingerprint
from data.splits import read_list
from data.training import TrainingData, split_scenes
from evaluation.costs import costs_of
from evaluation.during_training import measure_joint
from inference.pretrained import begin_from, require_unmixed
from models.model_joint import JointModel
from models.network_ncnet import UNET_STRIDE
from models.networks import GENERATORS, build_networks, describe_networks
from noise.gains import write_run_banks
from noise.measured import FIT_ONLY, measured_start
from options.train_jointly import MEASURED, joint_options, network_configs, train_jointly_parser
from options.training import batch_settings, fixed_options, precision_of, schedule_of
from utils.checkpoints import has_state
from utils.command import blame, keep_freed_memory, run_command
from utils.distributed import is_main, launch, main_first, rank, share_of, world_size
from utils.run import Best, Run, terminal_log
from utils.runtime import allow_tf32, choose_devices
from utils.trainer import test_only, train


def main(arguments: list[str] | None = None) -> int | None:
    """Start the training in this process, or in one for each GPU."""
    parser = train_jointly_parser()
    args = parser.parse_args(arguments)
    with blame("--device or --gpu_ids"):
        devices = [torch.device("cpu")] if args.dry_run else choose_devices(args.device, args.gpu_ids)
    return launch(partial(train_camera, args, fixed_options(parser)), devices)


def train_camera(args: argparse.Namespace, fixed: dict, device: torch.device) -> None:
    """Train, or only test, the networks of a camera on this rank."""
    log, folder, is_measured = terminal_log(), Path(args.dir_save) / args.cam_name, args.init_type == MEASURED
    configs, options, settings = network_configs(args), joint_options(args), batch_settings(args)
    if not (args.train or args.use_pretrained or has_state(folder)):
        raise ValueError(f"--not_train: {folder} has no checkpoint to test; train first or use --use_pretrained")
    allow_tf32(args.tf32)
    keep_freed_memory()

    # Data: the camera's scenes, split by the lists, as pairs of crops (or what would be crops).
    with blame("--val_list"):
        validation = read_list(args.val_list) if args.val_list else []
    with main_first():
        with blame("--cam_name, --train_img_dir or --data_prep_dir, or use --generate_data_lists"):
            lists = args.data_prep_dir, args.generate_data_lists and not args.dry_run, args.seed
            scenes = split_scenes(args.train_img_dir, [args.cam_name], *lists, log, validation)
        with blame("--train_img_dir or --patch_size"):
            train_pairs = find_pairs(scenes[0], settings.smallest, args.img_channels)
            test_pairs = find_pairs(scenes[1], UNET_STRIDE, args.img_channels)
            if args.keep_phase and not args.dry_run:
                train_pairs = with_origins(train_pairs, find_origins([*scenes[0], *scenes[1]], args.num_workers))
        with blame("--batch_size"):
            share, drawn = share_of(args.batch_size), 1 if args.steps == 0 else args.batch_size
            schedule = schedule_of(args, steps_per_epoch(len(train_pairs), drawn))  # without steps any number will do
    if args.dry_run:
        with blame("--patch_size, --pd_stride or --E_nb"):
            plan = precision_of(args), schedule, train_pairs, test_pairs, is_measured
            return print(costs_of(vars(args), configs, options, *plan))

    # Model.
    with blame("--patch_size, --pd_stride or --E_nb"):
        networks = build_networks(configs, "kaiming" if is_measured else args.init_type, args.seed)
    begin_epoch = None
    if args.use_pretrained and not has_state(folder):
        names = {letter: getattr(args, f"checkpoint_{letter}_name") for letter in networks}
        with blame("--checkpoint_*_name or --cam_name, or give the sizes of the checkpoint, such as --G2_nc"):
            begin_epoch = begin_from(networks, names, [folder / "models", Path("pretrain") / args.cam_name], log)
        log.info("going on after epoch %d, that of the checkpoints", begin_epoch)
    begin = (begin_epoch or 0) * schedule.steps_per_epoch
    if args.train:
        with blame("--dir_save, or continue from them with --use_pretrained and --checkpoint_*_name"):
            require_unmixed(folder, begin_epoch)
        if begin and begin >= schedule.last_step:
            raise ValueError(f"nothing to train after epoch {begin_epoch}; ask for more --epochs or --steps")
    if args.verbose:
        log.info(describe_networks(networks))

    # Run.
    recorded = vars(args) | {"training images": pairs_fingerprint(train_pairs), "sampling": SAMPLING}
    # Runs older than this record name neither their images nor their sampling, which was by patch.
    fixed |= {"training images": ("", None), "sampling": ("", "by patch")}
    with blame("--dir_save"):
        run = Run(folder, recorded, fixed, log, args.use_tb)
    log.info(
        "camera %s on %d %s: %d training and %d test crops, %s; %s",
        *(args.cam_name, world_size(), device.type, len(train_pairs), len(test_pairs), schedule, folder),
    )
    with main_first(), blame("--cache_dir, or use --no_cache (with crops only)"):
        data = TrainingData([train_pairs], test_pairs, settings, log, train=args.train)

    # Train.
    if is_measured and args.train and begin_epoch is None and not has_state(folder):
        with blame("--train_img_dir, --init_type, --G2_nc, --G2_act_mode or --G2_final_act"):
            measured_start(data.reader, networks, args.num_workers, to_train=args.steps != 0)
        if args.steps == 0:
            log.info(FIT_ONLY)
    model = JointModel(networks, options, args.seed, device, precision_of(args), rank(), world_size())
    batches_after = partial(data.batches_after, last_step=schedule.last_step, device=device, share=share)
    test = partial(measure_joint, model, data.test_images, args.seed, args.use_tb, args.num_workers)
    best = Best("score", networks=GENERATORS) if args.keep_best else None
    with closing(run):
        if not args.train:
            test_only(model, test, schedule, run, begin)
        elif train(model, batches_after, test, schedule, run, best, begin, begin_with_test=is_measured) and is_main():
            write_run_banks(run.models, scenes[0], args.cam_name, device, args.num_workers, log)


if __name__ == "__main__":
    run_command(main)
