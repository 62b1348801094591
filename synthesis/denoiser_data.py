"""What a denoiser learns from: images of all its sources, and the noise that each sample gets."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from data.batches import StepBatches, TrainingPatches
from data.data_sets import DataSet, find_data_sets
from data.loading import training_batches
from data.mixture import MixedBatches, Mixture
from data.pairs import ImageList
from synthesis.fitted_noise import FittedNoise, fitted_noise
from synthesis.mixed_noise import MixedNoise, noised_batches
from synthesis.noise_source_setup import build_sources
from utils.distributed import process, share_of

# What of the disk a resumed run must find unchanged -> what users call it, and no default, for no run is older.
FIXED_ORIGINS = {
    "training images": ("crops and lists", None),
    "weights of the generators": ("--pretrain_dir", None),
    "gain banks": ("--pretrain_dir", None),
    "fitted noise": ("training images", None),
}


class DenoiserData:
    """Opens the data sets and the noise models of `--source`.

    args: the options of main_train_denoiser.py; train: the cameras' training images; cache_dir: as for `open_images`.
    `origins` tells what of the disk the samples follow from, {what: fingerprint}. Raises ValueError, naming what to
    change, when something is missing or does not fit.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        train: ImageList,
        run_folder: Path,
        cache_dir: Path | None,
        device: torch.device,
        log: logging.Logger,
    ):
        self.args, self.device, self.share = args, device, share_of(args.batch_size)
        folders = [source.folder for source in args.source]
        self.sets = find_data_sets(DataSet(args.train_img_dir, train), folders, args.patch_size)
        self.reader = self.sets.open(cache_dir, args.num_workers, log)

        def fit() -> FittedNoise:
            own = self.reader.readers[self.sets.of_source[folders.index(None)]]
            return fitted_noise(run_folder / "fitted_noise.pth", train, own, args.fit_images, args.num_workers)

        sources, origins = build_sources(args, fit, device)
        self.origins = {"training images": self.sets.fingerprint(), **origins}
        self.mixture = Mixture(tuple(source.weight for source in args.source), args.seed)
        self.noise = MixedNoise(sources, self.mixture, process())

    def __len__(self) -> int:
        """Images of an epoch: those of the first source's data set."""
        return len(self.sets.sets[0].images)

    def batches_after(self, step: int, last_step: int) -> AbstractContextManager[Iterator[dict]]:
        """Open the batches after `step`, with their noise: clean, noisy (N, 3, P, P) uint8 on the device; name."""
        args = self.args
        patches = TrainingPatches(self.reader, args.patch_size, args.augment, args.seed, self.share)
        order = StepBatches(len(self), args.batch_size, args.shuffle, args.seed, step, last_step)
        mixed = MixedBatches(order, self.mixture, self.sets.of_source, self.reader.starts)
        return noised_batches(training_batches(patches, mixed, args.num_workers, self.device), self.noise, step)
