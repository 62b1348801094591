"""A camera's noise as a data augmentation, in the manner of torchvision.transforms.v2."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from inference.generator import NoiseGenerator, load_neca
from noise.camera import CameraNoise
from noise.interface import Images, needed
from noise.kinds import load_noise
from noise.strengths import Known

Choice = float | tuple[float, float] | Sequence[float]
HIGHEST_ISO = 10_000_000
OVERSHOOT = 0.5  # beyond [0, 1]; bicubic resizing overshoots by up to 0.4454, twice 1.1875 times 0.1875


class AddCameraNoise(nn.Module):
    """Put a camera's noise on images, new at every call: (3, H, W) or (N, 3, H, W) -> the same, uint8 or float.

    Images may stand in tuples, lists and dicts, beside labels, boxes and masks, which pass as they are. As in
    torchvision, each `tv_tensors.Image` and `Video` gets noise and keeps its type; without one, the first tensor that
    can be an image. PIL images are refused: `v2.ToImage` or `v2.PILToTensor` come before.

    Floats belong to [0, 1]. Those that resizing has taken up to 0.5 beyond are clamped before they get noise; an image
    with values further out, such as up to 255, or not finite, is refused.

    Random numbers come from PyTorch's own generators, so that torch.manual_seed and the seeds of a DataLoader's workers
    rule: the strengths from the CPU's, the white noise from that of the images' device. Nothing of it is
    differentiated. It stands in v2.Compose as any module does (the base class v2.Transform got its public methods only
    in torchvision 0.21).

    Args:
        generator: A NoiseGenerator; a camera's noise of `load_noise`; or a folder, of checkpoints for a gain or a noise
            level, else of a camera's noise; or the name of a camera that ships, such as "S6".
        gain: The gain of NeCA-W: a number; a pair, a tuple (low, high), to draw from uniformly; or a list of numbers
            to choose from. Each sample of a batch draws its own.
        noise_level: The level of NeCA-S in grey levels, in the same forms.
        iso: The ISO of a camera's noise, in the same forms, a pair drawn log-uniformly; without it, one of those that
            the noise was measured at is drawn. A NoiseGenerator needs a gain or a noise level.
        p: The probability that a sample gets noise at all.
        clip: Clip float images to [0, 1]; uint8 is clipped and rounded always.

    Raises:
        ValueError: A strength or probability is impossible; there is no image in a sample; images that
            `NoiseGenerator.synthesize` refuses.
    """

    def __init__(
        self,
        generator: NoiseGenerator | CameraNoise | str | Path,
        gain: Choice | None = None,
        noise_level: Choice | None = None,
        p: float = 1.0,
        clip: bool = True,
        iso: Choice | None = None,
    ):
        super().__init__()
        choices: dict[str, Choice | None] = {"gain": gain, "noise_level": noise_level, "iso": iso}
        chosen = [name for name, choice in choices.items() if choice is not None]
        by_networks = isinstance(generator, NoiseGenerator) or chosen in (["gain"], ["noise_level"])
        if by_networks and (chosen not in (["gain"], ["noise_level"]) or isinstance(generator, CameraNoise)):
            raise ValueError(
                "AddCameraNoise: expected exactly one of gain (NeCA-W) and noise_level (NeCA-S), or iso for a camera's "
                "noise of load_noise"
            )
        if len(chosen) > 1:
            raise ValueError(f"AddCameraNoise: {' and '.join(chosen)}, expected one of them")
        self.name = chosen[0] if chosen else "iso"
        highest = {"gain": 1, "noise_level": 255, "iso": HIGHEST_ISO}[self.name]
        self.generator: NoiseGenerator | CameraNoise
        if isinstance(generator, NoiseGenerator | CameraNoise):
            self.generator = generator
        else:
            self.generator = load_neca(generator) if by_networks else load_noise(generator)
        self.channels = self.generator.channels or 3
        given = choices[self.name] if chosen else list(getattr(self.generator, "isos", ()) or (0,))
        if not 0 <= p <= 1:
            raise ValueError(f"AddCameraNoise: p {p}, expected a probability")
        self.even = isinstance(given, tuple)
        self.strengths = [float(value) for value in (given if isinstance(given, Sequence) else [needed(given)])]
        if not self.strengths or not all(0 <= value <= highest for value in self.strengths):
            raise ValueError(f"AddCameraNoise: {self.name} {given}, expected numbers within [0, {highest}]")
        if self.even and (len(self.strengths) != 2 or self.strengths[0] > self.strengths[1]):
            raise ValueError(f"AddCameraNoise: {self.name} {given}, expected a pair (low, high), or a list of choices")
        self.p, self.clip = p, clip

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Put noise on the images of a sample: a (3, H, W) or (N, 3, H, W), or any nesting of them -> the same."""
        leaves, structure = tree_flatten(inputs[0] if len(inputs) == 1 else inputs)
        for place in self._find_images(leaves):
            leaves[place] = self._noisy(leaves[place])
        return tree_unflatten(leaves, structure)

    def _find_images(self, leaves: list[Any]) -> list[int]:
        """Return the places of a sample's images. Raise ValueError if there are none, or PIL images."""
        # Where nobody has imported these there are none of them.
        tv, pillow = sys.modules.get("torchvision.tv_tensors"), sys.modules.get("PIL.Image")
        if pillow and any(isinstance(leaf, pillow.Image) for leaf in leaves):
            raise ValueError("AddCameraNoise: a PIL image, expected a tensor; put v2.ToImage or v2.PILToTensor before")
        typed = [place for place, leaf in enumerate(leaves) if tv and isinstance(leaf, tv.Image | tv.Video)]
        plain = [
            place
            for place, leaf in enumerate(leaves)
            if isinstance(leaf, Tensor) and leaf.ndim in (3, 4) and not (tv and isinstance(leaf, tv.TVTensor))
        ]
        found = typed or [place for place in plain if self._fits(leaves[place])][:1]
        if not found or not all(self._fits(leaves[place]) for place in found):
            unfit = [leaves[place] for place in found] or leaves
            kinds = [
                f"{tuple(leaf.shape)} of {leaf.dtype}" if isinstance(leaf, Tensor) else type(leaf).__name__
                for leaf in unfit
            ]
            shape = f"({self.channels}, H, W)"
            raise ValueError(
                f"AddCameraNoise: {', '.join(kinds) or 'nothing'}, expected a tensor {shape} or (N, "
                f"{shape[1:]}, uint8 or float; v2.ToImage makes one of an image"
            )
        return found

    def _fits(self, tensor: Tensor) -> bool:
        is_number = tensor.dtype == torch.uint8 or tensor.is_floating_point()
        return tensor.ndim >= 3 and tensor.shape[-3] == self.channels and is_number

    def _noisy(self, images: Tensor) -> Tensor:
        """Put noise on an image, a batch or a video, whose frames share their strength."""
        plain, tv = images.detach().as_subclass(Tensor), sys.modules.get("torchvision.tv_tensors")
        if plain.is_floating_point():
            _require_near_unit(plain)
        batch = plain.reshape(-1, *plain.shape[-3:])
        frames = plain.shape[-4] if tv and isinstance(images, tv.Video) else 1
        samples = (torch.rand(len(batch) // frames, device="cpu") < self.p).repeat_interleave(frames)
        chosen = samples.nonzero().flatten()
        noisy = batch.clone()
        if len(chosen):
            clean = batch[chosen.to(batch.device)]
            strengths = self._draw(len(clean) // frames).repeat_interleave(frames)
            clean = clean.clamp(0, 1) if clean.is_floating_point() else clean
            noisy[chosen.to(batch.device)] = self._with_noise(clean, strengths)
        noisy = noisy.reshape(images.shape)
        if type(images) in (Tensor, nn.Parameter):
            return noisy
        typed = noisy.as_subclass(type(images))
        typed.__dict__.update(images.__dict__)
        return typed

    def _with_noise(self, clean: Tensor, strengths: Tensor) -> Tensor:
        """Put noise of some strengths on images: (N, C, H, W), (N,) -> (N, C, H, W)."""
        if isinstance(self.generator, NoiseGenerator):
            z = torch.randn(clean.shape, device=clean.device, dtype=torch.float32)
            given: dict[str, Any] = {self.name: strengths}
            return self.generator.synthesize(clean, z=z, clip=self.clip, **given)
        isos = [round(iso) for iso in strengths.tolist()]
        draws = torch.rand(len(clean), dtype=torch.float64, device="cpu").numpy()
        images = Images(clean, isos=isos, uniform=draws)
        model = self.generator.model(Known(self.generator.of_iso()(images)))
        size = [side + model.margin for side in clean.shape[-2:]]
        white = torch.randn(len(clean), clean.shape[1], *size, device=clean.device, dtype=torch.float32)
        if self.clip or clean.dtype == torch.uint8:
            return model.noisy(images, white)
        return clean + needed(model.noise(images, white))

    def _draw(self, count: int) -> Tensor:
        """Draw a strength for each sample: (count,) float64."""
        strengths = torch.tensor(self.strengths, dtype=torch.float64, device="cpu")
        if self.even and self.name == "iso":
            logs = strengths.clamp(min=1).log()
            return torch.lerp(logs[0], logs[1], torch.rand(count, dtype=torch.float64, device="cpu")).exp()
        if self.even:
            return torch.lerp(strengths[0], strengths[1], torch.rand(count, dtype=torch.float64, device="cpu"))
        return strengths[torch.randint(len(strengths), (count,), device="cpu")]

    def extra_repr(self) -> str:
        """Describe the settings, for `print`."""
        how = "from {} to {}".format(*self.strengths) if self.even else f"of {self.strengths}"
        return f"{self.name} {how}, p={self.p}, clip={self.clip}"


def _require_near_unit(images: Tensor) -> None:
    """Raise ValueError for floats that are not finite, or further out of [0, 1] than resizing takes them."""
    lowest, highest = (value.item() for value in torch.aminmax(images)) if images.numel() else (0.0, 0.0)
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("AddCameraNoise: an image holds values that are not finite, expected floats in [0, 1]")
    if lowest < -OVERSHOOT or highest > 1 + OVERSHOOT:
        raise ValueError(
            f"AddCameraNoise: an image has values from {lowest:.6g} to {highest:.6g}, expected floats in [0, 1]; "
            "scale it by v2.ToDtype(torch.float32, scale=True), and put v2.Normalize after the noise"
        )
