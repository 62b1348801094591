"""Images in any kind that the generator takes, as batches, and their white noise."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

NOISE_BLOCK = 128  # pixels of a white-noise block's side; another number would give other noise from the same seed
SMALLEST_IMAGE = 8  # pixels; the U-Net's stride
CLEAN_RANGE = (0.0, 1.0)
NOISY_RANGE = (-1.0, 2.0)  # noise may lead out of [0, 1]; values up to 255 would be a mistake


def white_noise(seed: int, key: str, height: int, width: int, channels: int = 3) -> Tensor:
    """Draw an image's white noise, N(0, 1): (channels, height, width) float32 on the CPU."""
    noise = torch.empty(1, channels, height, width)
    draw_white_noise(noise, seed, [key])
    return noise[0]


def draw_white_noise(images: Tensor, seed: int, keys: list[str]) -> None:
    """Fill images, (N, C, H, W) on any device, with the white noise of their keys.

    Each block of 128x128 pixels follows from (seed, key, block row, block column) alone: a larger image begins with the
    same numbers, whatever device they then go to. The key tells images apart that share a seed.
    """
    channels, height, width = images.shape[-3:]
    for image, key in zip(images, keys):
        for top in range(0, height, NOISE_BLOCK):
            for left in range(0, width, NOISE_BLOCK):
                place = image[:, top : top + NOISE_BLOCK, left : left + NOISE_BLOCK]
                block = _block(seed, key, top // NOISE_BLOCK, left // NOISE_BLOCK, channels)
                place.copy_(block[:, : place.shape[1], : place.shape[2]])


def _block(seed: int, key: str, row: int, column: int, channels: int) -> Tensor:
    """Draw a block from a counter-based generator (Salmon et al. 2011): the key is the image, the counter the place."""
    words = np.frombuffer(hashlib.sha256(f"{seed} {key}".encode(errors="backslashreplace")).digest()[:16], "<u8")
    random = np.random.Generator(np.random.Philox(key=words, counter=[0, 0, row, column]))
    return torch.from_numpy(random.standard_normal((channels, NOISE_BLOCK, NOISE_BLOCK), dtype=np.float32))


class ImageBatch:
    """An image or a batch in any of the accepted kinds, as a batch.

    Kinds: (H, W, C) arrays, (C, H, W) and (N, C, H, W) tensors, all uint8 or float within the limits. `pixels` is
    (N, C, H, W) in the given type and shares the given memory. Raises ValueError, which says what was expected, for
    other types, shapes and ranges, sides below 8 pixels and values that are not finite.
    """

    def __init__(self, image: Any, channels: int, name: str = "clean", limits: tuple[float, float] = CLEAN_RANGE):
        self.is_array = not isinstance(image, Tensor)
        pixels = _from_array(image, channels, name, limits) if self.is_array else image.detach()
        self.is_single = pixels.ndim == 3
        expected = f"(H, W, {channels})" if self.is_array else f"({channels}, H, W) or (N, {channels}, H, W)"
        shape = tuple(pixels.shape)
        if self.is_array and pixels.ndim == 3:
            pixels = pixels.permute(2, 0, 1)
        if (
            (pixels.ndim != 3 and (self.is_array or pixels.ndim != 4))
            or pixels.shape[-3] != channels
            or not pixels.shape[0]
        ):
            raise ValueError(f"{name} has the shape {shape}, expected {expected}")
        if min(pixels.shape[-2:]) < SMALLEST_IMAGE:
            raise ValueError(f"{name} has the shape {shape}, expected sides of at least {SMALLEST_IMAGE} pixels")
        if pixels.dtype != torch.uint8:
            _check_floats(pixels, name, limits)
        self.pixels = pixels[None] if self.is_single else pixels

    def like_given(self, batch: Tensor) -> Any:
        """Bring (N, C, H, W) into the given kind's shape, on its device: tensor or array."""
        batch = (batch[0] if self.is_single else batch).to(self.pixels.device)
        return batch.permute(1, 2, 0).contiguous().numpy() if self.is_array else batch


def _from_array(image: Any, channels: int, name: str, limits: tuple[float, float]) -> Tensor:
    if not all(hasattr(image, attribute) for attribute in ("flags", "strides", "dtype", "shape")):
        expected = f"an (H, W, {channels}) array or a ({channels}, H, W) tensor"
        raise ValueError(f"{name} is a {type(image).__name__}, expected {expected}")
    if not image.flags.writeable or any(stride < 0 for stride in image.strides):
        image = image.copy()  # PyTorch takes neither read-only nor mirrored arrays
    try:
        return torch.as_tensor(image, device="cpu")
    except TypeError:
        expected = f"uint8 or float in {_spelled(limits)}"
        raise ValueError(f"{name} is an array of {image.dtype}, expected {expected}") from None


def _check_floats(pixels: Tensor, name: str, limits: tuple[float, float]) -> None:
    spelled = _spelled(limits)
    if not pixels.is_floating_point():
        raise ValueError(f"{name} is {pixels.dtype}, expected uint8 or float in {spelled}")
    lowest, highest = (value.item() for value in torch.aminmax(pixels))
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError(f"{name} holds values that are not finite, expected floats in {spelled}")
    if lowest < limits[0] or highest > limits[1]:
        raise ValueError(f"{name} has values from {lowest:.6g} to {highest:.6g}, expected floats in {spelled}")


def _spelled(limits: tuple[float, float]) -> str:
    return f"[{limits[0]:g}, {limits[1]:g}]"


def per_image(values: Any, count: int, name: str, highest: float) -> Tensor:
    """Spread one number for all images, or one for each, over a batch: (count, 1, 1, 1) float64.

    Raises ValueError for another count and for numbers outside [0, highest].
    """
    try:
        numbers = torch.as_tensor(values, dtype=torch.float64, device="cpu").detach().reshape(-1)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{name} {values!r}, expected a number or one for each image") from None
    if len(numbers) not in (1, count):
        raise ValueError(f"{name}: {len(numbers)} numbers for {count} images, expected one for all or one for each")
    for number in numbers.tolist():
        if not 0 <= number <= highest:  # not a number fails too
            raise ValueError(f"{name} {number:g}, expected within [0, {highest:g}]")
    return numbers.expand(count)[:, None, None, None]


def image_keys(key: str | Sequence[str], count: int) -> list[str]:
    """Return a key for each image of a batch; a single key is that of the first, as if it were alone."""
    if isinstance(key, str):
        return [key, *(f"{key} image {number}" for number in range(1, count))]
    keys = list(key) if isinstance(key, Sequence) else [key]
    if len(keys) != count or not all(isinstance(name, str) for name in keys):
        raise ValueError(f"key: {keys!r} for {count} images, expected one text or one for each")
    return keys
