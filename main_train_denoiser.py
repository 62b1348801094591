"""Train a denoiser on real noise, on noise made while it learns, or on mixes of them."""

import argparse
from functools import partial
from pathlib import Path

import torch

from data.batches import SAMPLING, Batches, steps_per_epoch
from data.mixture import Mixture, MixtureSampler, all_pairs, fingerprint_of_sets
from data.mosaic import find_origins, with_origins
from data.pairs import find_pairs
from data.splits import read_list
from data.training import TrainingData, open_reader, split_scenes
from evaluation.during_training import measure_denoiser
from metrics.images import SSIM_SIDE
from models.architectures import build_denoiser, describe_denoiser
from models.model_denoiser import DenoiserModel
from models.networks import describe
from options import train_denoiser as options
from options.training import batch_settings, precision_of, schedule_of
from synthesis.training_noise import MixedNoise, fits_of_run, make_training_noise
from utils.checkpoints import has_state
from utils.command import blame, keep_freed_memory, run_command
from utils.distributed import launch, main_first, rank, share_of, world_size
from utils.run import Best, Run, terminal_log
from utils.runtime import allow_tf32, choose_devices
from utils.trainer import test_only, train


def main(arguments: list[str] | None = None) -> int | None:
    """Train a denoiser, in a process for each GPU."""
    parser = options.train_denoiser_parser()
    args = options.train_denoiser_options(parser, arguments)
    with blame("--device or --gpu_ids"):
        devices = choose_devices(args.device, args.gpu_ids)
    return launch(partial(train_denoiser, args, options.fixed_denoiser_options(parser)), devices)


def train_denoiser(args: argparse.Namespace, fixed: dict, device: torch.device) -> None:
    """Find the data and make the noise, build the model, open the run, train and test."""
    log = terminal_log()
    folder, settings = Path(args.dir_save) / args.name, batch_settings(args)
    if not args.train and not has_state(folder):
        raise ValueError(f"--not_train: {folder} has no checkpoint to test; train first")
    with blame("--batch_size"):
        share = share_of(args.batch_size)
    allow_tf32(args.tf32)
    keep_freed_memory()

    # Data: pairs of the sources; real test images of the cameras.
    mixture = Mixture(tuple(source.weight for source in args.source), args.seed)
    with blame("--val_list"):
        validation = read_list(args.val_list) if args.val_list else []
    with main_first():
        with blame("--cam_name, --train_img_dir or --data_prep_dir, or use --generate_data_lists"):
            lists = args.data_prep_dir, args.generate_data_lists, args.seed
            scenes = split_scenes(args.train_img_dir, args.cam_name, *lists, log, validation)
        with blame("--train_img_dir or --patch_size"):
            train_pairs = find_pairs(scenes[0], settings.smallest, args.img_channels)
            test_pairs = find_pairs(scenes[1], SSIM_SIDE, args.img_channels)
            if args.keep_phase or options.needs_origins(args.source):
                train_pairs = with_origins(train_pairs, find_origins([*scenes[0], *scenes[1]], args.num_workers))
        sets = {}  # by folder, in the order of the sources
        for given in dict.fromkeys(source.folder for source in args.source):
            with blame(f"--source folder={given}"):
                sets[given] = all_pairs(given, settings.smallest, args.img_channels, log) if given else train_pairs
        set_of_source = [list(sets).index(source.folder) for source in args.source]
        with blame("--batch_size"):
            per_epoch = steps_per_epoch(len(next(iter(sets.values()))), args.batch_size)  # of the first source
            schedule = schedule_of(args, per_epoch)
        with blame("--cache_dir, or use --no_cache (with crops only)"):
            mixed = partial(MixtureSampler, mixture=mixture, data_set=set_of_source, sizes=[*map(len, sets.values())])
            data = TrainingData([*sets.values()], test_pairs, settings, log, mixed=mixed, test_images=args.test_images)

    # Noise: of each sample, by its source.
    with main_first(), blame("--pretrain_dir, --source, --gain_from or --img_channels"):
        reader = partial(open_reader, train_pairs, settings, log)
        fits = fits_of_run(folder / "fitted_noise.pth", reader, args.fit_images, args.num_workers)
        models, depends_on = make_training_noise(options.noise_choice(args), fits[0], device, fits[1])
    noise = MixedNoise(models, mixture, rank(), world_size())

    # Model.
    network = build_denoiser(args.arch, options.network_config(args), args.init_type, args.seed)
    if args.verbose:
        log.info(describe(describe_denoiser(network), network))
    model = DenoiserModel(network, options.denoiser_options(args), device, precision_of(args), world_size())

    # Run.
    recorded = vars(args) | {"source": options.shares(args.source), "sampling": SAMPLING} | depends_on
    recorded["training images"] = fingerprint_of_sets(sets)
    with blame("--dir_save"):
        run = Run(folder, recorded, fixed, log, args.use_tb)
    log.info(
        "%s on %d %s: %d training and %d test crops, %s; %s",
        *(args.name, world_size(), device.type, len(data), len(data.test_images), schedule, folder),
    )

    def batches_after(step: int) -> Batches:
        return noise.added_to(data.batches_after(step, schedule.last_step, device, share), step)

    test = partial(measure_denoiser, model, data.test_images, args.num_workers)
    best = Best("psnr", highest=True) if args.keep_best else None
    try:
        if args.train:
            train(model, batches_after, test, schedule, run, best)
        else:
            test_only(model, test, schedule, run)
    finally:
        run.close()


if __name__ == "__main__":
    run_command(main)
