"""Batches of training patches and whole test images. They travel as uint8 and become float on the device."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from utils.image import read_image

Pair = tuple[Path, Path]  # clean, noisy
# How samples follow from the seed. A run that was begun with another way cannot go on with this one.
SAMPLING = "by step"


class PairReader:
    """Gives the pixels of numbered image pairs.

    names: (n, 2) clean and noisy file as bytes (`os.fsencode`); boxes: (n, 4), of which height and width come last.
    """

    def __init__(self, names: np.ndarray, boxes: np.ndarray):
        self.names = names
        self.boxes = boxes

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """What a pair is called: its noisy file."""
        return os.fsdecode(self.names[index, 1])

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """-> clean and noisy image, (H, W, 3) uint8."""
        raise NotImplementedError

    def fill(self, patches: np.ndarray, indices: np.ndarray, corners: np.ndarray) -> None:
        """Copy patches with upper left `corners` (N, 2) of pairs `indices` (N,) -> patches (N, P, P, 6)."""
        raise NotImplementedError


class StepKey(NamedTuple):
    """What a batch follows from, together with the seed."""

    step: int  # from 0
    indices: np.ndarray  # (N,) pairs


class TrainingPatches(Dataset):
    """Batches of random square patches of image pairs.

    Indexed by `StepKey`: all randomness follows from the seed and the step. So batches do not depend on workers, nor
    on what was drawn before. Of several processes each draws for the whole batch and reads `share`, its samples of it.
    """

    def __init__(self, reader: PairReader, patch_size: int, augment: bool, seed: int, share: slice = slice(None)):
        self.reader = reader
        self.patch_size = patch_size
        self.augment = augment
        self.seed = seed
        self.share = share

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, key: StepKey) -> dict:
        """-> pixels: (N, P, P, 6) uint8, clean and noisy RGB; modes: (N,) of `dihedral`, to be done; name: files."""
        step, indices = key
        # The 2 keeps it apart from the permutations, see `StepBatches`.
        random = np.random.default_rng((self.seed, step, 2))
        room = self.reader.boxes[indices, 2:] - self.patch_size
        corners = random.integers(0, room, endpoint=True)  # (N, 2)
        modes = random.integers(0, 8, len(indices)) if self.augment else np.zeros(len(indices), int)
        indices, corners, modes = (drawn[self.share] for drawn in (indices, corners, modes))
        patches = np.empty((len(indices), self.patch_size, self.patch_size, 6), np.uint8)
        self.reader.fill(patches, indices, corners)
        names = [self.reader.name(index) for index in indices]
        return {"pixels": torch.from_numpy(patches), "modes": torch.from_numpy(modes), "name": names}


class WholePairs(Dataset):
    """Image pairs as they are, for testing."""

    def __init__(self, reader: PairReader):
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> dict:
        """-> clean, noisy: (3, H, W) uint8; name: the noisy file."""
        clean, noisy = self.reader.pair(index)
        return {"clean": to_chw(clean), "noisy": to_chw(noisy), "name": self.reader.name(index)}


def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Read a clean and a noisy image, (H, W, 3) uint8 each. Raises ValueError when their sizes differ."""
    clean, noisy = (read_image(path) for path in pair)
    if clean.shape != noisy.shape:
        sizes = [f"{image.shape[0]}x{image.shape[1]}" for image in (noisy, clean)]
        raise ValueError(f"{pair[1]}: {sizes[0]} pixels, but its clean image has {sizes[1]}")
    return clean, noisy


def to_chw(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) uint8 tensor with memory of its own."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


class StepBatches:
    """Keys of a whole run's batches, step after step, for `TrainingPatches`.

    Every epoch is a new permutation that follows from (seed, epoch); its incomplete last batch is dropped. Starting at
    any step gives what an uninterrupted run gets from there on.
    """

    def __init__(self, count: int, batch_size: int, shuffle: bool, seed: int, first_step: int, last_step: int):
        self.count = count
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.first_step = first_step  # from 0
        self.last_step = last_step  # exclusive
        self.steps_per_epoch = steps_per_epoch(count, batch_size)

    def __len__(self) -> int:
        return self.last_step - self.first_step

    def __iter__(self) -> Iterator[StepKey]:
        order_epoch, order = None, np.zeros(0, int)
        for step in range(self.first_step, self.last_step):
            epoch, batch = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order_epoch, order = epoch, self._order(epoch)
            start = batch * self.batch_size
            yield StepKey(step, order[start : start + self.batch_size])

    def _order(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        # A seed sequence of its own, or epoch e would share its random numbers with batch e.
        return np.random.default_rng((self.seed, epoch, 1)).permutation(self.count)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in an epoch. Raises ValueError when there is none."""
    if count < batch_size:
        raise ValueError(f"--batch_size {batch_size}: there are only {count} training images; choose a smaller one")
    return count // batch_size
