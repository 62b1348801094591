"""A camera's noise as one file that PyTorch alone runs: a program of torch.export, for images of any even size."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, export, save

from inference import load_generators
from models.neca import synthesize_w
from models.network_ncnet import UNET_STRIDE
from noise.camera import CameraNoise, GainNoise, PipelineNoise
from noise.pipeline import Pipeline, raw_lookup, render_noise
from utils.files import atomic_path

HIGHEST_ISO = 10_000_000
EXAMPLE = 64  # pixels a side of the images that it is made with


class PipelineProgram(nn.Module):
    """Put a pipeline's noise on images at their ISOs, with the typical light of the training scenes.

    Logarithms of shot and read noise are linear in that of the ISO between nodes, as `Pipeline.numbers` has it.
    """

    places: Tensor
    numbers: Tensor
    shape: Tensor

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self.rendering = pipeline.rendering.balanced(pipeline.balance())
        isos = sorted({1, *pipeline.isos, HIGHEST_ISO})
        self.register_buffer("places", torch.tensor(isos).double().log())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the ends are extrapolated
            numbers = torch.stack([pipeline.numbers(iso) for iso in isos])
        self.register_buffer("numbers", numbers.double().log())
        self.register_buffer("shape", pipeline.shape)

    def forward(self, clean: Tensor, white: Tensor, iso: Tensor) -> Tensor:
        """Make noisy images: clean (N, 3, H, W) in [0, 1], white noise (N, 1, H, W), ISOs (N,) -> (N, 3, H, W)."""
        place = iso.double().clamp(1, HIGHEST_ISO).log()
        above = torch.bucketize(place, self.places).clamp(1, len(self.places) - 1)
        low, high = self.places[above - 1], self.places[above]
        share = ((place - low) / (high - low))[:, None, None]
        noise = torch.lerp(self.numbers[above - 1], self.numbers[above], share).exp().float()
        lookup = raw_lookup(noise, self.shape, self.rendering.white)
        return render_noise(self.rendering, clean, lookup, white, self.rendering.phase((0, 0)))


class NecaProgram(nn.Module):
    """Put NeCA-W's noise on images by their gains."""

    def __init__(self, networks: Mapping[str, nn.Module]):
        super().__init__()
        self.npnet, self.ncnet = networks["G1"], networks["G2"]

    def forward(self, clean: Tensor, white: Tensor, gain: Tensor) -> Tensor:
        """Make noisy images: clean and white noise (N, 3, H, W), gains (N,) -> (N, 3, H, W) in [0, 1]."""
        return synthesize_w(self.npnet, self.ncnet, clean, gain.view(-1, 1, 1, 1), white).fake.clamp(0, 1)


def program_of(noise: CameraNoise) -> PipelineProgram | NecaProgram:
    """Make the module of a camera's noise, of a pipeline or NeCA-W. Raises ValueError for others."""
    if isinstance(noise, PipelineNoise):
        return PipelineProgram(noise.pipeline)
    if isinstance(noise, GainNoise):
        return NecaProgram(load_generators(noise.folder))
    raise ValueError(f"{noise.folder}: expected a pipeline or NeCA-W")


def write_program(module: PipelineProgram | NecaProgram, path: str | Path) -> None:
    """Export a program whose number of images, height and width are free; sides are multiples of 2, NeCA's of 8."""
    step, planes = (2, 1) if isinstance(module, PipelineProgram) else (UNET_STRIDE, 3)
    count, height, width = (Dim(name, min=2, max=2**24) for name in ("images", "height", "width"))
    sides = {2: step * height, 3: step * width}
    clean, white = torch.rand(2, 3, EXAMPLE, EXAMPLE), torch.randn(2, planes, EXAMPLE, EXAMPLE)
    shapes = ({0: count} | sides, {0: count} | sides, {0: count})
    given = (clean, white, torch.full((2,), 0.05))
    program = export(module.requires_grad_(False).eval(), given, dynamic_shapes=shapes, strict=False)
    with atomic_path(path) as temporary:
        save(program, temporary)
