"""The data of a training, from the folder to the batches: find and check, cache and open."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from data.batches import (
    Batches,
    BatchSampler,
    PatchDataset,
    Sampler,
    training_batches,
    whole_image_loader,
)
from data.cache import open_pairs
from data.pairs import FileReader, ImagePair, Reader
from data.sidd import find_scenes, log_unread
from data.splits import choose_scenes
from utils.randomness import evenly_spaced


@dataclass(frozen=True)
class BatchSettings:
    """Settings of how pairs are read and batches made of them."""

    patch_size: int
    batch_size: int  # of all ranks
    augment: bool
    keep_phase: bool
    shuffle: bool
    seed: int
    num_workers: int
    cache_dir: Path | None  # None: decode the files anew for every patch

    @property
    def smallest(self) -> int:
        """Return the fewest pixels a side that images need: those that keep the phase are cut a pixel further."""
        return self.patch_size + self.keep_phase


def split_scenes(
    folder: str | Path,
    cameras: Sequence[str],
    lists_dir: str | Path,
    generate_lists: bool,
    seed: int,
    log: logging.Logger,
    validation: Sequence[str] = (),
) -> tuple[list[Path], list[Path]]:
    """Find the cameras' scenes and return the folders of those that train and of those that test, see `choose_scenes`.

    validation: scenes to test on in place of the test scenes, which are then not used; they do not train.
    Raises ValueError for a camera without scenes, for one without a way to a split, and for a validation scene that is
    not there.
    """
    halves: tuple[list[Path], list[Path]] = ([], [])
    found = {camera: {scene.name: scene for scene in find_scenes(folder, camera)} for camera in cameras}
    for camera, scenes in found.items():
        split = choose_scenes(camera, scenes, lists_dir, generate=generate_lists, seed=seed, log=log)
        for half, names in zip(halves, split):
            half.extend(scenes[name] for name in names)
    if validation:
        folders = {name: scene for scenes in found.values() for name, scene in scenes.items()}
        if absent := [name for name in validation if name not in folders]:
            raise ValueError(f"{folder}: has no scene {absent[0]} of {', '.join(cameras)} to validate on")
        halves = [scene for scene in halves[0] if scene.name not in validation], [folders[name] for name in validation]
        if not halves[0]:
            raise ValueError(f"all scenes of {', '.join(cameras)} that train are validated on; leave some to train")
    log_unread(chain(*halves), log)
    return halves


class TrainingData:
    """Image pairs to learn from and to test on, cached and opened."""

    def __init__(
        self,
        sets: Sequence[list[ImagePair]],
        test_pairs: list[ImagePair],
        settings: BatchSettings,
        log: logging.Logger,
        *,
        mixed: Callable[[BatchSampler], Sampler] | None = None,
        test_images: int = 0,
        train: bool = True,
    ):
        """Cache what is not cached yet, and open it.

        Args:
            sets: pairs to learn from; an epoch goes through the first set.
            mixed: lets a sampler of the first set take pairs of the others, too: `data.mixture.MixtureSampler`.
            test_images: number of images to test on, evenly spaced; 0: all.
            train: False if only tests are wanted; the other images are not cached then.

        Raises:
            ValueError: an image is damaged, the cache cannot be written, or there are whole frames but no cache.
        """
        self.settings, self.mixed, self.count = settings, mixed, len(sets[0])
        every = [pair for pairs in sets for pair in pairs]
        self.reader = open_reader(every, settings, log) if train else Reader([])
        reader = open_reader(test_pairs, settings, log)
        tested = evenly_spaced(range(len(reader)), test_images)
        workers = 0 if settings.cache_dir else settings.num_workers
        self.test_images: DataLoader = whole_image_loader(reader, workers, tested)

    def __len__(self) -> int:
        """Count the pairs of an epoch."""
        return self.count

    def batches_after(self, step: int, last_step: int, device: torch.device, share: slice = slice(None)) -> Batches:
        """Open the batches after `step`: clean, noisy (N, C, P, P) uint8 on the device; name. `share`: of this rank."""
        settings = self.settings
        dataset = PatchDataset(
            self.reader, settings.patch_size, settings.augment, settings.seed, share, settings.keep_phase
        )
        batches = BatchSampler(len(self), settings.batch_size, settings.shuffle, settings.seed, step, last_step)
        sampler = self.mixed(batches) if self.mixed else batches
        return training_batches(dataset, sampler, settings.num_workers, device)


def open_reader(pairs: list[ImagePair], settings: BatchSettings, log: logging.Logger) -> Reader:
    """Open pairs by the cache, or the files themselves."""
    if settings.cache_dir is None:
        return FileReader(pairs)
    return open_pairs(pairs, settings.cache_dir, settings.num_workers, log)
