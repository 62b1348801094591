"""A denoiser for images of any size in bounded memory: tile by tile, as if at once."""

from typing import Any

import torch
from torch import Tensor, nn

from models.blocks import exact_convolutions
from models.fast import folded
from models.receptive_field import margin_before, needs_whole_image
from models.threads import on_cores
from models.tiled import Window, inside, require_one_tile, surroundings, windows

TILE = 512  # pixels of a tile's side
TURNS = tuple((quarters, flip) for quarters in range(4) for flip in (False, True))  # the symmetries of the square


class TiledDenoiser(nn.Module):
    """A network that takes off the noise which its layers `model` predict, as DnCNN does, in its inference form.

    tile: side of a tile in pixels, rounded up to a multiple of 8, 0 for whole images; it changes memory and speed, not
    the result. self_ensemble: the mean over the eight flips and rotations of the image (Timofte et al. 2016), eight
    times the work.
    """

    def __init__(
        self, network: nn.Module, tile: int = TILE, self_ensemble: bool = False, dtype: torch.dtype = torch.float32
    ):
        super().__init__()
        self.tile, self.self_ensemble = tile, self_ensemble
        self.margin, self.needs_whole_image = margin_before(network.model, 0), needs_whole_image(network)
        self.noise = folded(network.model)  # (N, 3, H, W) -> (N, 3, H, W)
        self.requires_grad_(False).eval().to(dtype)

    @torch.no_grad()
    def forward(self, noisy: Tensor) -> Tensor:
        """Denoise: (N, 3, H, W) in [0, 1] -> (N, 3, H, W), not clipped, where and in the type that the noisy one is.

        Raises ValueError when instance normalisation would have to see more than a tile.
        """
        if self.needs_whole_image:
            require_one_tile("the denoiser", noisy.shape, self.tile)
        with exact_convolutions():
            if not self.self_ensemble:
                return self._denoise(noisy)
            return sum(turned_back(self._denoise(turned(noisy, *turn)), *turn) for turn in TURNS) / len(TURNS)

    def _denoise(self, noisy: Tensor) -> Tensor:
        size, weight = noisy.shape[-2:], self.noise[0].weight
        memory = torch.channels_last if weight.device.type == "cpu" else torch.contiguous_format

        def noise_in(inner: Window) -> Tensor:
            outer = surroundings(inner, size, self.margin)
            part = noisy[(..., *outer)].to(weight.device, weight.dtype).contiguous(memory_format=memory)
            return self.noise(part)[(..., *inside(inner, outer))]

        tiles, denoised = windows(*size, self.tile), torch.empty_like(noisy)
        for inner, noise in zip(tiles, on_cores(noise_in, tiles, weight.device)):
            denoised[(..., *inner)] = noisy[(..., *inner)] - noise.to(noisy)
        return denoised


def turned(images: Tensor, quarters: int, flip: bool) -> Tensor:
    """Mirror images from left to right, if asked for, and rotate them by quarter turns: (..., H, W) -> a view."""
    return torch.rot90(images.flip(-1) if flip else images, quarters, (-2, -1))


def turned_back(images: Tensor, quarters: int, flip: bool) -> Tensor:
    """Undo `turned`."""
    images = torch.rot90(images, -quarters, (-2, -1))
    return images.flip(-1) if flip else images


def dncnn_config(weights: dict[str, Any]) -> dict[str, Any]:
    """Tell DnCNN's sizes by its weights, for files without `config`: state dict -> constructor arguments.

    Leaky ReLUs cannot be told from ReLUs, which are taken. Without any convolution: no arguments, the paper's sizes.
    """
    kernels = [weight for weight in weights.values() if isinstance(weight, Tensor) and weight.ndim == 4]
    if not kernels:
        return {}
    norms = sum(isinstance(weight, Tensor) and weight.ndim == 1 for weight in weights.values()) > len(kernels)
    act_mode = "R" if not norms else "BR" if any(name.endswith("running_mean") for name in weights) else "IR"
    return {"nc": kernels[0].shape[0], "nb": len(kernels), "act_mode": act_mode}
