"""The noise generator as a library: load a camera, put its noise on images of any size.

from neca import load_neca
model = load_neca("DC")
noisy = model.synthesize(clean, gain=0.05, seed=1)
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inference.fast import FastGENet, FastNPNet, fast_ncnet
from inference.image_batch import NOISY_RANGE, ImageBatch, draw_white_noise, image_keys, per_image
from inference.pretrained import (
    MissingWeightsError,
    find_checkpoint_folder,
    find_checkpoints,
    hash_weights,
    load_generators,
    shipped_folder,
)
from inference.tiled import Window, correlated_tiles, estimate_gain, noise_levels
from models.blocks import exact_convolutions
from models.neca import Synthesis
from models.networks import config_of

# Pixels of a tile's side: about 1.5 GB; smaller tiles spend more on the surroundings that they share.
SYNTHESIS_TILE = 1024


class NoiseGenerator(nn.Module):
    """A camera's noise: GENet, NPNet and NCNet in their inference forms.

    networks: {letter: network}; E and G1 may be absent. tile: side of a tile in pixels, rounded up to a multiple of 8,
    0 for whole images and batches; it changes memory and speed, not the noise. dtype: what is computed in. C, the
    `channels` of the images, are those of the networks: 3, or 1 for grey-scale ones.
    channels_last: the memory format, None for the faster one: it on the CPU, the usual one on CUDA.

    One of `load_neca` knows its origin: `folder`, `files` by letter and `weights_hash`, the SHA-256 over them.
    """

    def __init__(
        self,
        networks: Mapping[str, Any],
        tile: int = SYNTHESIS_TILE,
        dtype: torch.dtype = torch.float32,
        channels_last: bool | None = None,
    ):
        super().__init__()
        if isinstance(tile, bool) or not isinstance(tile, int) or tile < 0:
            raise ValueError(f"tile {tile!r}, expected a number of pixels, or 0 for whole images")
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ValueError(f"dtype {dtype}, expected a floating-point type to compute in")
        if "G2" not in networks:
            raise ValueError(f"networks {', '.join(networks) or 'none'}, expected at least G2 (NCNet)")
        self.tile, self.channels_last = -(-tile // 8) * 8, channels_last
        self.channels: int = config_of(networks["G2"])["in_nc"]
        self.folder = Path()
        self.files: dict[str, Path] = {}
        self.weights_hash = ""
        self.genet = FastGENet(networks["E"]) if "E" in networks else None
        self.npnet = FastNPNet(networks["G1"]) if "G1" in networks else None
        self.ncnet = fast_ncnet(networks["G2"])
        self.requires_grad_(False).eval().to(dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> "NoiseGenerator":
        """Follow `.to()`, `.half()` and the like, NPNet in no less than float32: its normalisation suffers from it."""
        super()._apply(fn, recurse)
        if self.npnet is not None:
            self.npnet.to(self._precise)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Return the number format of the computation."""
        return next(self.ncnet.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Return the device of the weights."""
        return next(self.ncnet.parameters()).device

    @torch.no_grad()
    def estimate_gain(self, noisy: Any) -> Any:
        """Estimate the gain of a noisy image, about its noise's standard deviation in [0, 1] units, by GENet.

        noisy: as in `synthesize`; floats may lead out of [0, 1] by the noise. One number, for a batch a list of them.
        Raises ValueError as `synthesize`, and when there is no GENet.
        """
        if self.genet is None:
            raise ValueError("this generator has no GENet (E) to estimate a gain, expected checkpoint_E.pth")
        images = ImageBatch(noisy, self.channels, "noisy", NOISY_RANGE)
        with exact_convolutions(self.device):
            parts = [images.pixels[part] for part in self._parts(images.pixels)]
            gains = [estimate_gain(self.genet, part, self.tile, self.to_network) for part in parts]
        numbers = torch.cat(gains).flatten().tolist()
        return numbers[0] if images.is_single else numbers

    @torch.no_grad()
    def synthesize(
        self,
        clean: Any,
        gain: float | Sequence[float] | Tensor | None = None,
        *,
        noise_level: float | Sequence[float] | Tensor | None = None,
        gain_of: Any = None,
        seed: int = 0,
        key: str | Sequence[str] = "",
        z: Tensor | None = None,
        clip: bool = False,
        as_uint8: bool | None = None,
        maps: bool = False,
    ) -> Any:
        """Put the camera's noise on clean images of any size.

        clean: an (H, W, C) array or a (C, H, W) or (N, C, H, W) tensor, uint8 or float in [0, 1]; the answer has the
        same kind, shape and device. uint8 is clipped and rounded, float is neither, unless `clip`; `as_uint8` asks
        for the other type. With `maps` the answer is a models.neca.Synthesis of four of the kind, all float.

        Exactly one of: gain, the noise's strength within [0, 1] (NeCA-W); gain_of, a noisy image, or a batch, whose
        gain GENet estimates; noise_level in grey levels (NeCA-S). A batch may have one for each image.

        (seed, key) determine the white noise, whatever the device and the tile; `key` is any text, such as a file's
        name and the number of the draw, or one text for each image. z, of clean's shape, replaces them.

        Raises ValueError that says what was wrong and what was expected, also when the noise is not finite.
        """
        images = ImageBatch(clean, self.channels)
        if not isinstance(seed, int) or isinstance(seed, bool):
            raise ValueError(f"seed {seed!r}, expected an integer")
        if maps and as_uint8:
            raise ValueError("maps are floats, expected as_uint8 without maps")
        is_uint8 = (images.pixels.dtype == torch.uint8) if as_uint8 is None else as_uint8
        strength = self._strength(len(images.pixels), gain, gain_of, noise_level)
        keys = image_keys(key, len(images.pixels))
        expected = (images.pixels[0] if images.is_single else images.pixels).shape
        if z is not None and not (isinstance(z, Tensor) and z.is_floating_point() and z.shape == expected):
            shown = f"has the shape {tuple(z.shape)}" if isinstance(z, Tensor) else f"is a {type(z).__name__}"
            raise ValueError(f"z {shown}, expected floats of the clean image's shape")
        out = _outputs(images.pixels, torch.uint8 if is_uint8 else _float_type(images.pixels.dtype), maps)
        for part in self._parts(images.pixels):
            noise = torch.empty(images.pixels[part].shape, dtype=self._precise, device=self.device)
            if z is None:
                draw_white_noise(noise, seed, keys[part])
            else:
                noise.copy_(z.detach().reshape(images.pixels.shape)[part])
            target = {name: tensor[part] for name, tensor in out.items()}
            with exact_convolutions(self.device):
                self._synthesize(images.pixels[part], strength[part], noise_level is None, noise, clip, target)
        given = {name: images.like_given(tensor) for name, tensor in out.items()}
        return Synthesis(**given) if maps else given["fake"]

    def _synthesize(
        self, clean: Tensor, strength: Tensor, by_gain: bool, noise: Tensor, clip: bool, out: dict[str, Tensor]
    ) -> None:
        """Fill those fields of `Synthesis` that `out` has; `noise` holds z, and then sdnu."""
        strength = strength.to(self.device, noise.dtype)
        levels: Iterable[tuple[Window, Tensor]] = [((slice(None), slice(None)), strength)]
        if by_gain:
            assert self.npnet
            levels = noise_levels(self.npnet, clean, strength, partial(self.to_network, dtype=noise.dtype))
        for window, level in levels:
            noise[(..., *window)] *= level
            if "noise_level" in out:
                out["noise_level"][(..., *window)] = level
        if "sdnu" in out:
            out["sdnu"].copy_(noise)
        to_uint8 = out["fake"].dtype == torch.uint8
        for window, sdnc in correlated_tiles(self.ncnet, noise, self.tile, self.to_network):
            fake = self.to_network(clean[(..., *window)], noise.dtype) + sdnc
            if not torch.isfinite(fake).all():
                raise ValueError("the networks give noise that is not finite; check their weights (or dtype)")
            if "sdnc" in out:
                out["sdnc"][(..., *window)] = sdnc
            if clip or to_uint8:
                fake.clamp_(0, 1)
            out["fake"][(..., *window)] = fake.mul_(255).round_() if to_uint8 else fake

    def _strength(self, count: int, gain: Any, gain_of: Any, noise_level: Any) -> Tensor:
        """Return the gains, or the noise levels in [0, 1] units, of a batch's images: (N, 1, 1, 1) float64."""
        if (gain is not None) + (gain_of is not None) + (noise_level is not None) != 1:
            raise ValueError("expected exactly one of gain, gain_of (NeCA-W) and noise_level (NeCA-S)")
        if noise_level is not None:
            return per_image(noise_level, count, "noise_level", 255.0) / 255
        if self.npnet is None:
            raise ValueError("this generator has no NPNet (G1) to follow a gain, expected checkpoint_G1.pth")
        if gain is not None:
            return per_image(gain, count, "gain", 1.0)
        gains = torch.tensor(self.estimate_gain(gain_of), dtype=torch.float64, device="cpu").reshape(-1, 1, 1, 1)
        if len(gains) not in (1, count):
            raise ValueError(f"gain_of: {len(gains)} images for {count} clean ones, expected one or {count}")
        return gains.expand(count, 1, 1, 1)

    def _parts(self, pixels: Tensor) -> list[slice]:
        """Cut a batch into parts of about a tile's pixels."""
        size = max(1, self.tile**2 // pixels[0, 0].numel()) if self.tile else len(pixels)
        return [slice(start, start + size) for start in range(0, len(pixels), size)]

    @property
    def _precise(self) -> torch.dtype:
        """Return the number format of sums, and of the noise itself."""
        return torch.float32 if self.dtype.itemsize < 4 else self.dtype

    def to_network(self, part: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Bring a part of an image to the networks' device, type and memory format, in [0, 1]."""
        dtype, device = dtype or self.dtype, self.device
        last = self.channels_last if self.channels_last is not None else device.type == "cpu"
        part = part.to(device).to(self._precise).div_(255) if part.dtype == torch.uint8 else part.to(device, dtype)
        return part.to(dtype).contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def load_neca(
    folder: str | Path,
    camera: str | None = None,
    device: str | torch.device = "cpu",
    tile: int = SYNTHESIS_TILE,
    dtype: torch.dtype = torch.float32,
    channels_last: bool | None = None,
    networks: Sequence[str] | None = None,
    channels: int | None = None,
) -> NoiseGenerator:
    """Load a camera's noise generator from a folder of checkpoints, released or of a training run.

    Args:
        folder: The checkpoints' folder or, with `camera`, one of cameras such as `pretrain` or `saves`; or the name of
            a camera that ships, such as "S6".
        camera: The camera's name within the folder.
        device: Where to compute.
        tile: As in NoiseGenerator.
        dtype: As in NoiseGenerator.
        channels_last: As in NoiseGenerator.
        networks: Letters of the networks that are needed. Without them, as many as there are: a folder that lacks
            GENet (E) gives a generator that cannot estimate gains, NCNet (G2) alone one for NeCA-S only.
        channels: Of the images that it is for: 3, or 1 for grey ones; None: it is asked.

    Returns:
        The generator, which knows its origin: `folder`, `files` by letter, and `weights_hash` over the files.

    Raises:
        MissingWeightsError: A network has no file; names where it looked, and which other cameras are there.
        ValueError: A file is damaged or does not fit, or is for other channels, or the tile or dtype is none.
    """
    folder = shipped_folder(folder)
    choices = [tuple(networks)] if networks else [("E", "G1", "G2"), ("G1", "G2"), ("G2",)]
    for letters in choices:
        try:
            place = find_checkpoint_folder(folder, camera, letters)
            break
        except MissingWeightsError:
            if letters == choices[-1]:
                raise
    generator = NoiseGenerator(load_generators(place, letters), tile, dtype, channels_last).to(device)
    if channels not in (None, generator.channels):
        raise ValueError(f"{place}: makes noise for images of {generator.channels} channels, expected {channels}")
    generator.folder, generator.files = place, find_checkpoints(place, letters)
    generator.weights_hash = hash_weights(generator.files)
    return generator


def _outputs(clean: Tensor, kind: torch.dtype, maps: bool) -> dict[str, Tensor]:
    """Make room for the fields of `Synthesis` that are wanted, all of floats or the fake image alone of a `kind`."""
    if maps:
        kind = _float_type(clean.dtype)
    return {
        name: torch.empty(clean.shape, dtype=kind, device=clean.device)
        for name in (Synthesis._fields if maps else ("fake",))
    }


def _float_type(kind: torch.dtype) -> torch.dtype:
    return torch.float32 if kind == torch.uint8 else kind
