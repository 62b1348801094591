"""Train a denoiser on real noise, on noise made while it learns, or on mixes of them."""

import argparse
from functools import partial
from pathlib import Path

import torch

from data.batches import SAMPLING, StepBatches, TrainingPatches, steps_per_epoch
from data.cache import open_images
from data.data_sets import DataSet, find_data_sets
from data.loading import training_batches, whole_image_loader
from data.mixture import MixedBatches, Mixture, evenly_chosen
from data.training_set import find_training_set
from evaluation.denoiser_test import keep_best, measure_denoiser
from metrics.images import SSIM_SIDE
from models.model_denoiser import ARCHITECTURES, DenoiserModel
from models.networks import build_networks, describe
from options.train_denoiser import (
    denoiser_options,
    fixed_denoiser_options,
    network_config,
    noise_choice,
    shares,
    train_denoiser_options,
    train_denoiser_parser,
)
from options.training import cache_folder, precision_of
from synthesis.training_noise import Fits, MixedNoise, NoiseChoice, fit_training_images, make_training_noise
from utils.command import run_command
from utils.distributed import first_of_machine_first, share_of
from utils.run import has_state, open_run, terminal_log
from utils.runtime import allow_tf32, in_processes, keep_freed_memory
from utils.trainer import Schedule, test_only, train


def main(arguments: list[str] | None = None) -> int | None:
    parser = train_denoiser_parser()
    args = train_denoiser_options(parser, arguments)
    return in_processes(partial(train_denoiser, args, fixed_denoiser_options(parser)), args.device, args.gpu_ids)


def train_denoiser(args: argparse.Namespace, fixed: dict, device: torch.device, process: tuple[int, int]) -> None:
    log = terminal_log()
    folder, cache = Path(args.dir_save) / args.name, cache_folder(args)
    if not args.train and not has_state(folder):
        raise ValueError(f"--not_train: {folder} has no checkpoint to test; train first")
    share = share_of(args.batch_size)
    allow_tf32(args.tf32)
    keep_freed_memory()

    # Data: pairs of the sources; real test images of the cameras.
    with first_of_machine_first():
        images = find_training_set(args, args.cam_name, SSIM_SIDE, log)
        test_list = evenly_chosen(images.test, args.test_images)
        folders = [source.folder for source in args.source]
        sets = find_data_sets(DataSet(args.train_img_dir, images.train), folders, args.patch_size)
        reader = sets.open(cache, args.num_workers, log)
        [test_reader] = open_images([test_list], args.train_img_dir, cache, args.num_workers, log)
    test_images = whole_image_loader(test_reader, 0 if args.cache else args.num_workers)
    count = len(sets.sets[0].images)  # an epoch goes through the first source's images
    per_epoch = steps_per_epoch(count, args.batch_size)

    # Noise: of each sample, by its source.
    def fit() -> Fits:
        own = reader.readers[sets.of_source[folders.index(None)]]
        return fit_training_images(folder / "fitted_noise.pth", images.train, own, args.fit_images, args.num_workers)

    with first_of_machine_first():
        models, depends_on = make_training_noise(NoiseChoice(**noise_choice(args)), fit, device)
    mixture = Mixture(tuple(source.weight for source in args.source), args.seed)
    noise = MixedNoise(models, mixture, *process)

    # Model.
    letter = ARCHITECTURES[args.arch]
    networks = build_networks({letter: network_config(args)}, args.init_type, args.seed)
    if args.verbose:
        log.info(describe(networks))
    model = DenoiserModel(letter, networks[letter], denoiser_options(args), device, precision_of(args), process[1])

    # Run.
    recorded = vars(args) | {"source": shares(args.source), "sampling": SAMPLING} | depends_on
    recorded["training images"] = sets.fingerprint()
    run = open_run(folder, recorded, fixed, log, args.use_tb)
    schedule = Schedule.of(args, per_epoch)
    log.info(
        "%s on %d %s: %d training and %d test crops, %s; %s",
        *(args.name, process[1], device.type, count, len(test_list), schedule, folder),
    )

    def batches_after(step: int):
        patches = TrainingPatches(reader, args.patch_size, args.augment, args.seed, share)
        order = StepBatches(count, args.batch_size, args.shuffle, args.seed, step, schedule.last_step)
        mixed = MixedBatches(order, mixture, sets.of_source, reader.starts)
        return noise.added_to(training_batches(patches, mixed, args.num_workers, device), step)

    def test(step: int) -> dict[str, float]:
        metrics, panel = measure_denoiser(model, test_images)
        run.picture(f"test_{step:08d}", "panel", step, panel)
        if args.keep_best and args.train:
            keep_best(model, run.models / "best", metrics, step, schedule.epoch(step))
        return metrics

    try:
        train(model, batches_after, test, schedule, run) if args.train else test_only(model, test, schedule, run)
    finally:
        run.close()


if __name__ == "__main__":
    run_command(main)
