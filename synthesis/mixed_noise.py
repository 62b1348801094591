"""The noise of a denoiser's training batches, made for their clean patches at every step anew."""

from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.mixture import Mixture
from data.sidd import Scene, parse_scene
from synthesis.training_noise import NoiseSource, Patches


class MixedNoise:
    """Gives each sample of a batch its noise, that of the source which the mixture has drawn for it.

    What a batch gets follows from the mixture's seed and the step, not from the process that works on it: `process` is
    (rank, count) of processes with equal shares of every batch.
    """

    def __init__(self, sources: list[NoiseSource], mixture: Mixture, process: tuple[int, int] = (0, 1)):
        self.sources, self.mixture, self.process = sources, mixture, process
        margins = [source.margin for source in sources if source.margin is not None]
        self.margin = max(margins, default=None)

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any], step: int) -> dict[str, Any]:
        """Replace the noisy half of a batch, (N, 3, P, P) uint8 on the device, where it is to be made; step from 0."""
        if self.margin is None:
            return batch
        clean, noisy = batch["clean"], batch["noisy"].clone()
        rank, processes = self.process
        share = slice(rank * len(clean), (rank + 1) * len(clean))
        draw = self.mixture.draw(step, len(clean) * processes)
        white = self._white(clean, draw.seed, share)
        scenes = [_scene_of(name) for name in batch["name"]]
        groups: dict[Hashable, list[int]] = {}
        for row, (number, scene) in enumerate(zip(draw.source[share].tolist(), scenes)):
            groups.setdefault((number, self.sources[number].group(scene)), []).append(row)
        for (number, _), rows in groups.items():
            of = [scenes[row] for row in rows]
            patches = Patches(clean[rows], noisy[rows], white[rows], draw.strength[share][rows], of)
            noisy[rows] = self.sources[number].noisy(patches)
        return batch | {"noisy": noisy}

    def _white(self, clean: Tensor, seed: int, share: slice) -> Tensor:
        """White noise of a share of a batch, drawn on the CPU: the same numbers for every device."""
        count = len(clean) * self.process[1]
        size = [side + self.margin for side in clean.shape[-2:]]
        white = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))
        return white[share].to(clean.device, non_blocking=True)


@contextmanager
def noised_batches(
    opened: AbstractContextManager[Iterator[dict]], noise: MixedNoise, first_step: int
) -> Iterator[Iterator[dict]]:
    """Iterate over batches that get their noise on the way; the first is that of `first_step`, from 0."""
    with opened as batches:
        yield (noise(batch, step) for step, batch in enumerate(batches, first_step))


@lru_cache(maxsize=100_000)
def _scene_of(name: str) -> Scene:
    """The scene of a noisy crop, <scene>/noisy/<file>."""
    return parse_scene(Path(name).parent.parent.name)
