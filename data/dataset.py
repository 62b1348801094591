"""Training patches and whole test images, as torch datasets. Images travel as uint8 and become float on the device."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from data.transforms import crop_patch, dihedral
from utils.image import png_size, read_image

Pair = tuple[Path, Path]  # clean, noisy


class TrainingPatches(Dataset):
    """Random square patches of image pairs.

    Indexed by (index, stream): the pair, and the number that all randomness of the sample follows from together with
    the seed. So samples do not depend on workers, nor on what was drawn before.
    """

    def __init__(self, pairs: list[Pair], patch_size: int, augment: bool, seed: int):
        self.pairs = pairs
        self.patch_size = patch_size
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        """-> clean, noisy: (3, P, P) uint8; name: the noisy file."""
        index, stream = key
        clean, noisy = read_pair(self.pairs[index])
        random = np.random.default_rng((self.seed, stream))
        top, left = (int(random.integers(0, side - self.patch_size + 1)) for side in clean.shape[:2])
        mode = int(random.integers(0, 8)) if self.augment else 0
        clean, noisy = (dihedral(crop_patch(image, top, left, self.patch_size), mode) for image in (clean, noisy))
        return {"clean": to_chw(clean), "noisy": to_chw(noisy), "name": str(self.pairs[index][1])}


class WholePairs(Dataset):
    """Image pairs as they are, for testing."""

    def __init__(self, pairs: list[Pair]):
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict:
        """-> clean, noisy: (3, H, W) uint8; name: the noisy file."""
        clean, noisy = read_pair(self.pairs[index])
        return {"clean": to_chw(clean), "noisy": to_chw(noisy), "name": str(self.pairs[index][1])}


def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Read a clean and a noisy image, (H, W, 3) uint8 each. Raises ValueError when their sizes differ."""
    clean, noisy = (read_image(path) for path in pair)
    if clean.shape != noisy.shape:
        raise ValueError(f"{pair[1]}: {_size(noisy.shape)} pixels, but its clean image has {_size(clean.shape)}")
    return clean, noisy


def to_chw(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, H, W) uint8 tensor with memory of its own."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def check_pairs(pairs: list[Pair], smallest: int, option: str) -> None:
    """Look at both ends of all files and raise ValueError for a truncated one, a pair of unequal sizes, or a side below
    `smallest` pixels, which `option` asks for.

    A run that would stop at its 3000th step over one bad file stops before its first. Damage in the middle of a file
    is found when it is read.
    """
    for pair in tqdm(pairs, desc="check", unit="pair", leave=False, disable=None):
        sizes = [png_size(path) for path in pair]
        for path, size in zip(pair, sizes):
            if size is None:
                raise ValueError(f"{path}: not a readable image (truncated, damaged or no PNG)")
        if sizes[0] != sizes[1]:
            raise ValueError(f"{pair[1]}: {_size(sizes[1])} pixels, but its clean image has {_size(sizes[0])}")
        if min(sizes[0]) < smallest:
            raise ValueError(f"{pair[1]}: {_size(sizes[0])} pixels, expected at least {smallest} a side ({option})")


def fingerprint(pairs: list[Pair]) -> str:
    """Describe a list of pairs by count and names (scene and file), so that a resumed run can tell that it changed."""
    names = "\n".join("/".join(path.parts[-3:]) for pair in pairs for path in pair)
    return f"{len(pairs)} crops, {hashlib.sha256(names.encode()).hexdigest()[:12]}"


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"


class StepBatches:
    """Batch sampler of a whole run: yields, step after step, a list of (index, stream) keys of `TrainingPatches`.

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

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order_epoch, order = None, []
        for step in range(self.first_step, self.last_step):
            epoch, batch = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order_epoch, order = epoch, self._order(epoch)
            start = batch * self.batch_size
            yield [(order[start + i], step * self.batch_size + i) for i in range(self.batch_size)]

    def _order(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(self.count))
        # A seed sequence of its own, or epoch e would share its random numbers with sample e.
        return np.random.default_rng((self.seed, epoch, 1)).permutation(self.count).tolist()


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Whole batches in an epoch. Raises ValueError when there is none."""
    if count < batch_size:
        raise ValueError(f"--batch_size {batch_size}: there are only {count} training images; choose a smaller one")
    return count // batch_size
