"""Training samples of several sources: which source each sample of a batch has, and images of several data sets."""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from data.batches import PairReader, StepBatches, StepKey
from data.pairs import ImageList
from utils.randomness import evenly_spaced


class MixtureDraw(NamedTuple):
    """What the samples of a batch are made with; of each sample (N,)."""

    source: np.ndarray  # number of its source
    image: np.ndarray  # in [0, 1): which image it takes of a data set that has no order of its own
    strength: np.ndarray  # in [0, 1): how strong its noise is among the strengths of the source
    seed: int  # of the batch's white noise


@dataclass(frozen=True)
class Mixture:
    """Sources mixed at random: source k has a share `weights[k]` of the samples."""

    weights: tuple[float, ...]
    seed: int

    def draw(self, step: int, count: int) -> MixtureDraw:
        """Draw for a whole batch, from (seed, step) alone; step counts from 0."""
        # The 3 keeps it apart from patches and permutations, see `data.batches`.
        random = np.random.default_rng((self.seed, step, 3))
        limits = np.cumsum(self.weights) / sum(self.weights)
        source = np.searchsorted(limits[:-1], random.random(count), side="right")
        return MixtureDraw(source, random.random(count), random.random(count), int(random.integers(2**63)))


class JoinedReader(PairReader):
    """The pairs of several readers, one after the other."""

    def __init__(self, readers: list[PairReader]):
        longest = max(reader.names.dtype.itemsize for reader in readers)
        super().__init__(
            np.concatenate([reader.names.astype(f"S{longest}") for reader in readers]),
            np.concatenate([reader.boxes for reader in readers]),
        )
        self.readers = readers
        self.starts = [0, *accumulate(len(reader) for reader in readers)]

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        part = bisect.bisect_right(self.starts, index) - 1
        return self.readers[part].pair(index - self.starts[part])

    def fill(self, patches: np.ndarray, indices: np.ndarray, corners: np.ndarray) -> None:
        parts = np.searchsorted(self.starts, indices, side="right") - 1
        for part in np.unique(parts):
            rows = np.flatnonzero(parts == part)
            chosen = np.empty((len(rows), *patches.shape[1:]), patches.dtype)
            self.readers[part].fill(chosen, indices[rows] - self.starts[part], corners[rows])
            patches[rows] = chosen


class MixedBatches:
    """Keys of batches whose samples have several sources, each with one of the data sets of a `JoinedReader`.

    `batches` goes through the first data set in its order, epoch by epoch. A sample whose source has another data set
    takes an image of that at random in place of the one whose turn it is.
    """

    def __init__(self, batches: StepBatches, mixture: Mixture, data_set: list[int], starts: list[int]):
        self.batches = batches
        self.mixture = mixture
        self.data_set = np.array(data_set)  # of each source
        self.starts = np.array(starts)  # of each data set, and the end

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[StepKey]:
        for key in self.batches:
            draw = self.mixture.draw(key.step, len(key.indices))
            chosen = self.data_set[draw.source]
            sizes = np.diff(self.starts)[chosen]
            drawn = self.starts[chosen] + (draw.image * sizes).astype(int)
            yield key._replace(indices=np.where(chosen == 0, key.indices, drawn))


def evenly_chosen(images: ImageList, most: int) -> ImageList:
    """Keep at most so many pairs, evenly spaced over the list; 0: all."""
    chosen = list(evenly_spaced(range(len(images)), most))
    return replace(images, names=images.names[chosen], source=images.source[chosen], boxes=images.boxes[chosen])
