"""Train a camera's noise generator jointly with its critics and a denoiser (NeCA)."""

import argparse
from functools import partial
from pathlib import Path

import torch

from data.batches import SAMPLING, steps_per_epoch
from data.pairs import find_pairs, pairs_fingerprint
from data.training import BatchSettings, TrainingData, split_scenes
from evaluation.during_training import keep_best, measure_joint
from models.model_joint import JointModel
from models.network_ncnet import STRIDE
from models.networks import build_networks, describe
from models.pretrained import begin_from
from options.train_jointly import joint_options, network_configs, train_jointly_parser
from options.training import batch_settings, fixed_options, precision_of
from synthesis.gains import write_run_banks
from utils.command import blame, run_command
from utils.distributed import first_of_machine_first, share_of
from utils.run import has_state, open_run, terminal_log
from utils.runtime import allow_tf32, in_processes, keep_freed_memory
from utils.trainer import Schedule, test_only, train


def main(arguments: list[str] | None = None) -> int | None:
    parser = train_jointly_parser()
    args = parser.parse_args(arguments)
    return in_processes(partial(train_camera, args, fixed_options(parser)), args.device, args.gpu_ids)


def train_camera(args: argparse.Namespace, fixed: dict, device: torch.device, process: tuple[int, int]) -> None:
    log = terminal_log()
    configs, options, share = network_configs(args), joint_options(args), share_of(args.batch_size)
    settings = BatchSettings(**batch_settings(args))
    allow_tf32(args.tf32)
    keep_freed_memory()

    # Data: the camera's scenes, split by the lists, as pairs of crops (or what would be crops).
    with first_of_machine_first():
        with blame("--cam_name, --train_img_dir or --data_prep_dir, or use --generate_data_lists"):
            lists = args.data_prep_dir, args.generate_data_lists, args.seed
            scenes = split_scenes(args.train_img_dir, [args.cam_name], *lists, log)
        with blame("--train_img_dir or --patch_size"):
            train_pairs, test_pairs = find_pairs(scenes[0], args.patch_size), find_pairs(scenes[1], STRIDE)
        with blame("--batch_size"):
            per_epoch = steps_per_epoch(len(train_pairs), args.batch_size)

    # Model.
    networks = build_networks(configs, args.init_type, args.seed)
    folder = Path(args.dir_save) / args.cam_name
    if not args.train and not args.use_pretrained and not has_state(folder):
        raise ValueError(f"--not_train: {folder} has no checkpoint to test; train first or use --use_pretrained")
    if args.use_pretrained and not has_state(folder):
        names = {letter: getattr(args, f"checkpoint_{letter}_name") for letter in networks}
        begin_from(networks, names, Path("pretrain") / args.cam_name, log)
    if args.verbose:
        log.info(describe(networks))
    model = JointModel(networks, options, args.seed, device, precision_of(args), process)

    # Run.
    recorded = vars(args) | {"training images": pairs_fingerprint(train_pairs), "sampling": SAMPLING}
    fixed |= {"training images": ("crops and lists", None), "sampling": ("version of this code", "by patch")}
    run = open_run(folder, recorded, fixed, log, args.use_tb)
    schedule = Schedule.of(args, per_epoch)
    log.info(
        "camera %s on %d %s: %d training and %d test crops, %s; %s",
        *(args.cam_name, process[1], device.type, len(train_pairs), len(test_pairs), schedule, folder),
    )
    with first_of_machine_first(), blame("--cache_dir, or use --no_cache (with crops only)"):
        data = TrainingData([train_pairs], test_pairs, settings, log, train=args.train)

    def batches_after(step: int):
        return data.batches_after(step, schedule.last_step, device, share)

    def test(step: int) -> dict[str, float]:
        metrics, pictures = measure_joint(model, data.test_images, args.seed, with_plots=args.use_tb)
        for name, picture in pictures.items():
            run.picture(f"test_{step:08d}" + (f"_{name}" if name != "panel" else ""), name, step, picture)
        if args.keep_best and args.train:
            keep_best(model, run.models / "best", metrics, step, schedule.epoch(step))
        return metrics

    try:
        if args.train and train(model, batches_after, test, schedule, run) and process[0] == 0:
            write_run_banks(run.models, scenes[0], args.cam_name, device, args.num_workers, log)
        elif not args.train:
            test_only(model, test, schedule, run)
    finally:
        run.close()


if __name__ == "__main__":
    run_command(main)
