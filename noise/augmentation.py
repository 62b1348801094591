"""A camera's noise as a data augmentation, in the manner of torchvision.transforms.v2."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.generator import NoiseGenerator, load_neca

Choice = float | tuple[float, float] | Sequence[float]


class AddCameraNoise(nn.Module):
    """Put a camera's noise on images, new at every call: (3, H, W) or (N, 3, H, W) -> the same, uint8 or float.

    Random numbers come from PyTorch's own generators, so that torch.manual_seed and the seeds of a DataLoader's workers
    rule: the strengths from the CPU's, the white noise from that of the images' device. Nothing of it is
    differentiated. It stands in v2.Compose as any module does (the base class v2.Transform got its public methods only
    in torchvision 0.21).

    Args:
        generator: A NoiseGenerator, or a folder of checkpoints.
        gain: The gain of NeCA-W: a number; a pair, a tuple (low, high), to draw from uniformly; or a list of numbers
            to choose from. Each sample of a batch draws its own.
        noise_level: The level of NeCA-S in grey levels, in the same forms. Exactly one of the two is expected.
        p: The probability that a sample gets noise at all.
        clip: Clip float images to [0, 1]; uint8 is clipped and rounded always.

    Raises:
        ValueError: A strength or probability is impossible; images that `NoiseGenerator.synthesize` refuses.
    """

    def __init__(
        self,
        generator: NoiseGenerator | str | Path,
        gain: Choice | None = None,
        noise_level: Choice | None = None,
        p: float = 1.0,
        clip: bool = True,
    ):
        super().__init__()
        given: Choice
        if gain is not None and noise_level is None:
            self.name, given, highest = "gain", gain, 1
        elif noise_level is not None and gain is None:
            self.name, given, highest = "noise_level", noise_level, 255
        else:
            raise ValueError("AddCameraNoise: expected exactly one of gain (NeCA-W) and noise_level (NeCA-S)")
        if not 0 <= p <= 1:
            raise ValueError(f"AddCameraNoise: p {p}, expected a probability")
        self.even = isinstance(given, tuple)
        self.strengths = [float(value) for value in (given if isinstance(given, Sequence) else [given])]
        if not self.strengths or not all(0 <= value <= highest for value in self.strengths):
            raise ValueError(f"AddCameraNoise: {self.name} {given}, expected numbers within [0, {highest}]")
        if self.even and (len(self.strengths) != 2 or self.strengths[0] > self.strengths[1]):
            raise ValueError(f"AddCameraNoise: {self.name} {given}, expected a pair (low, high), or a list of choices")
        self.p, self.clip = p, clip
        self.generator = generator if isinstance(generator, NoiseGenerator) else load_neca(generator)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Put noise on images: (3, H, W) or (N, 3, H, W) -> the same."""
        if not isinstance(images, Tensor) or images.ndim not in (3, 4):
            kind = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"AddCameraNoise: {kind}, expected a tensor (3, H, W) or (N, 3, H, W)")
        batch = images if images.ndim == 4 else images[None]
        chosen = (torch.rand(len(batch)) < self.p).nonzero().flatten()
        noisy = batch.clone()
        if len(chosen):
            clean = batch[chosen.to(batch.device)]
            strengths: dict[str, Any] = {self.name: self._draw(len(clean))}
            z = torch.randn(clean.shape, device=clean.device)
            noisy[chosen.to(batch.device)] = self.generator.synthesize(clean, z=z, clip=self.clip, **strengths)
        return noisy.reshape(images.shape)

    def _draw(self, count: int) -> Tensor:
        """Draw a strength for each sample: (count,) float64."""
        strengths = torch.tensor(self.strengths, dtype=torch.float64)
        if self.even:
            return torch.lerp(strengths[0], strengths[1], torch.rand(count, dtype=torch.float64))
        return strengths[torch.randint(len(strengths), (count,))]

    def extra_repr(self) -> str:
        """Describe the settings, for `print`."""
        how = "from {} to {}".format(*self.strengths) if self.even else f"of {self.strengths}"
        return f"{self.name} {how}, p={self.p}, clip={self.clip}"
