"""All that is drawn at random within a joint training step."""

import random
from typing import NamedTuple

import torch
from torch import Tensor


class StepRandomness(NamedTuple):
    """Draws for a batch of N patches."""

    z: Tensor  # (N, 3, H, W), N(0, 1)
    phase: tuple[int, int]  # of the pixel-shuffle down-sampling, shared by the batch
    mixing: dict[str, Tensor]  # per critic (N, 1, 1, 1), uniform in [0, 1]

    def part(self, samples: slice) -> "StepRandomness":
        """What is drawn for some samples of the batch."""
        mixing = {letter: weights[samples] for letter, weights in self.mixing.items()}
        return StepRandomness(self.z[samples], self.phase, mixing)


def draw_step(shape: torch.Size, pd_stride: int, seed: int, step: int, device: torch.device) -> StepRandomness:
    """Draw a step's randomness from (seed, step) alone, so that a resumed run draws what an uninterrupted one does."""
    source = random.Random(f"{seed} step {step}")
    phase = (source.randrange(pd_stride), source.randrange(pd_stride))
    generator = torch.Generator().manual_seed(source.getrandbits(63))  # on the CPU: the same numbers for every device
    z = torch.randn(shape, generator=generator).to(device, non_blocking=True)
    mixing = {letter: torch.rand(shape[0], 1, 1, 1, generator=generator).to(device) for letter in ("D1", "D2")}
    return StepRandomness(z, phase, mixing)
