"""Training samples of several sources, each with a share of them and perhaps a data set of its own."""

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.batches import MIXTURE, BatchSampler
from data.pairs import ImagePair, find_pairs, pairs_fingerprint
from data.sidd import find_scenes, log_unread


class MixtureDraw(NamedTuple):
    """Random numbers of a batch with several sources, one per sample: (N,)."""

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
        """Draw for a whole batch."""
        random = np.random.default_rng((self.seed, step, MIXTURE))
        limits = np.cumsum(self.weights) / sum(self.weights)
        source = np.searchsorted(limits[:-1], random.random(count), side="right")
        return MixtureDraw(source, random.random(count), random.random(count), int(random.integers(2**63)))


class MixtureSampler:
    """The (step, indices) of batches whose samples have several sources, each with one of several data sets.

    A reader has the data sets' pairs one after the other, `sizes` of each. `sampler` goes through the first one, epoch
    by epoch. A sample whose source has another data set takes an image of that at random in place of the one whose turn
    it is.
    """

    def __init__(self, sampler: BatchSampler, mixture: Mixture, data_set: Sequence[int], sizes: Sequence[int]):
        self.sampler = sampler
        self.mixture = mixture
        self.data_set = np.array(data_set)  # of each source
        self.sizes = np.array(sizes)  # of each data set
        self.starts = np.cumsum(self.sizes) - self.sizes

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        for step, indices in self.sampler:
            draw = self.mixture.draw(step, len(indices))
            chosen = self.data_set[draw.source]
            drawn = self.starts[chosen] + (draw.image * self.sizes[chosen]).astype(int)
            yield step, np.where(chosen == 0, indices, drawn)


def all_pairs(
    folder: str | Path, patch_size: int, channels: int = 3, log: logging.Logger | None = None
) -> list[ImagePair]:
    """Find the pairs of all scenes of a folder, whatever their camera. Raises as `find_scenes` and `find_pairs`."""
    scenes = find_scenes(folder)
    log_unread(scenes, log or logging.getLogger(__name__))
    return find_pairs(scenes, patch_size, channels)


def fingerprint_of_sets(sets: Mapping[str | None, list[ImagePair]]) -> str:
    """Describe the pairs of each folder (None: the cameras' own), so that a resumed run can tell that they changed."""
    return "; ".join(
        pairs_fingerprint(pairs) if folder is None else f"{pairs_fingerprint(pairs)}, {_checksum(pairs)}"
        for folder, pairs in sets.items()
    )


def _checksum(pairs: list[ImagePair]) -> str:
    """Return a checksum that differs between data sets of the same names, which main_synthesize.py makes."""
    return f"{zlib.crc32(pairs[0].noisy.read_bytes() + pairs[-1].noisy.read_bytes()):08x}"
