"""A camera's noise: raw noise, sent through the camera's own rendering. This file needs PyTorch alone.

An sRGB image was rendered from a mosaic of sensor values: demosaicking, a colour matrix, a tone curve, rounding to 8
bit. Its noise is the sensor's, nearly white and of a level that follows the sensor value, sent through that rendering.
With the file of a fit, this one can be copied into another project:

pipeline = Pipeline.load("pretrain/S6/noise.json")
noisy = pipeline.synthesize(clean, pipeline.numbers(iso=800))  # (N, 3, H, W) in [0, 1] -> the same

`noise.identify` finds a rendering from noisy images, `noise.raw_noise` the sensor's noise from image pairs. Part of
sRGB-Noise-Synthesis, MIT License.
"""

import contextlib
import json
import math
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FORMAT, VERSION, KIND = "neca-noise", 1, "pipeline"
SNR_KNOTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 24.0)  # of the shape of raw noise: raw value over its std
SHAPE_NAMES = ("level", "mean", "skew", "tail")
POWERS = (1.0, 2.0)  # of the ISO, by which shot and read noise grow where only one ISO was measured
LEAST_NOISE = 1e-8  # shot or read noise
MOST_BALANCE = 8.0  # amplification of red or blue
TABLE = 2048  # entries of a lookup by raw value, evenly spaced in its root
LEVELS = 1 << 16  # entries of a lookup from linear light to grey levels, evenly spaced in its root
QUANTILES = 201  # by which moments are computed
LOOKED_UP = ("scale", "offset", "skew", "tail")
TENSORS = ("matrix", "overexposed", "out_of_gamut", "light")  # of a rendering
# Lowest and highest level of red, green and blue that is not clipped. SIDD's rendering cuts colours in CIE XYZ also,
# and with blue up to 242 no colour of sRGB is cut there: Z = .019 R + .119 G + .950 B in linear light.
UNCLIPPED = ((1.5, 1.5, 1.5), (254.0, 254.0, 242.0))
# Linear sRGB light to CIE XYZ over that of white (IEC 61966-2-1), and a pixel's neighbours: left, right, above, below.
SRGB_TO_XYZ = ((0.4339, 0.3763, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1095, 0.8728))
CROSS = ((0, -1), (0, 1), (-1, 0), (1, 0))
REACH, MARGIN = 2, 6  # pixels that linear demosaicking looks around, and those (even) that bands share
SMALLEST = 8  # pixels of an image's side
BAND = 1 << 20  # pixels that are rendered at a time

Phase = tuple[int, int]  # row and column of the first red pixel, 0 or 1


def _planar(green: Sequence, row: Sequence, diagonal: Sequence, divisor: float) -> Tensor:
    """Make one filter of the 2x2 positions of a mosaic, red first, out of 5x5 taps: -> (3 colours x 4, 4, 3, 3).

    The taps give green at red and at blue; red at green in rows of red, transposed in columns of red; red at blue.
    """
    taps, same = [torch.tensor(one) / divisor for one in (green, row, diagonal)], torch.zeros(5, 5)
    same[2, 2] = 1
    of = [[same, taps[1], taps[1].T, taps[2]], [taps[0], same, same, taps[0]], [taps[2], taps[1].T, taps[1], same]]
    planar = torch.zeros(3, 4, 4, 3, 3)
    for colour, place, i, j in product(range(3), range(4), range(5), range(5)):
        y, x = place // 2 + i - REACH, place % 2 + j - REACH
        planar[colour, place, y % 2 * 2 + x % 2, y // 2 + 1, x // 2 + 1] = of[colour][place][i, j]
    return planar.view(12, 4, 3, 3)


# Gradient-corrected linear interpolation (Malvar, He and Cutler, ICASSP 2004), and plain bilinear interpolation.
MALVAR = _planar(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]],
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]],
    [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]],
    divisor=8,
)
BILINEAR = _planar(
    [[0] * 5, [0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0] * 5],
    [[0] * 5, [0] * 5, [0, 2, 0, 2, 0], [0] * 5, [0] * 5],
    [[0] * 5, [0, 1, 0, 1, 0], [0] * 5, [0, 1, 0, 1, 0], [0] * 5],
    divisor=4,
)


def _filtered(planar: Tensor, raw: Tensor, phase: Phase, to_srgb: Tensor) -> Tensor:
    """Interpolate by linear filters, mirrored at the borders."""
    (y, x), (height, width) = phase, raw.shape[-2:]
    sides = (REACH + x, REACH + (width + x) % 2, REACH + y, REACH + (height + y) % 2)  # so that red comes first
    planes = F.pixel_unshuffle(F.pad(raw, sides, mode="reflect"), 2)
    return F.pixel_shuffle(F.conv2d(planes, planar.to(raw)), 2)[..., y : y + height, x : x + width]


def _homogeneous(raw: Tensor, phase: Phase, to_srgb: Tensor) -> Tensor:
    """Adaptive homogeneity-directed interpolation (Hirakawa and Parks 2005), as dcraw and LibRaw have it (`AHD`).

    Both directions are interpolated. Of each pixel the one is taken in which more of the surroundings have like
    lightness and colour in CIELAB, where what is alike is measured along either direction; the mean where as many have.
    """
    both = [_colours(raw, green, phase).clamp(min=0) for green in _greens(raw, phase)]
    with torch.no_grad():
        lab = [_lab((to_srgb @ colours.flatten(2)).view_as(colours)) for colours in both]
        lightness, colour = ([[part(one, step) for step in CROSS] for one in lab] for part in (_lighter, _coloured))
        alike = [torch.minimum(torch.maximum(*one[0][:2]), torch.maximum(*one[1][2:])) for one in (lightness, colour)]
        across, down = (
            _surroundings(torch.stack([one <= alike[0], two <= alike[1]]).all(0))
            for one, two in ((torch.stack(lightness[way]), torch.stack(colour[way])) for way in (0, 1))
        )
        share = ((across - down).sign() + 1) / 2
    return torch.lerp(both[1], both[0], share)


def _patterned(raw: Tensor, phase: Phase, to_srgb: Tensor) -> Tensor:
    """Patterned pixel grouping (Lin 2003), as dcraw and LibRaw have it (`PPG`): along the lesser gradient."""
    greens, gradients = _greens(raw, phase), []
    for y, x in ((0, 1), (1, 0)):
        left3, left2, left, right, right2, right3 = (_at(raw, k * y, k * x) for k in (-3, -2, -1, 1, 2, 3))
        same, other = (left2 - raw).abs() + (right2 - raw).abs(), (left3 - left).abs() + (right3 - right).abs()
        gradients.append(3 * (same + (left - right).abs()) + 2 * other)
    green = torch.where(gradients[0] > gradients[1], greens[1], greens[0])
    difference, found, steps = raw - green, [], []
    for y, x in ((1, 1), (1, -1)):
        found.append((_at(difference, -y, -x) + _at(difference, y, x)) / 2)
        bend = (_at(green, -y, -x) - green).abs() + (_at(green, y, x) - green).abs()
        steps.append((_at(raw, -y, -x) - _at(raw, y, x)).abs() + bend)
    return _colours(raw, green, phase, torch.lerp(found[0], found[1], ((steps[0] - steps[1]).sign() + 1) / 2)).clamp(
        min=0
    )


def _at(image: Tensor, down: int, right: int) -> Tensor:
    """Shift an image, mirrored at the borders, by up to 3 pixels: what lies so far down and right of each pixel."""
    (height, width), reach = image.shape[-2:], 3
    wide = F.pad(image, (reach,) * 4, mode="reflect")
    return wide[..., reach + down : reach + down + height, reach + right : reach + right + width]


def _greens(raw: Tensor, phase: Phase) -> list[Tensor]:
    """Interpolate green along rows and along columns, corrected by red or blue, between its neighbours' values."""
    is_green, found = colour_index(raw.shape, phase, raw.device) == 1, []
    for y, x in ((0, 1), (1, 0)):
        one, other = _at(raw, -y, -x), _at(raw, y, x)
        corrected = (2 * (one + raw + other) - _at(raw, -2 * y, -2 * x) - _at(raw, 2 * y, 2 * x)) / 4
        low, high = torch.minimum(one, other), torch.maximum(one, other)
        found.append(torch.where(is_green, raw, torch.minimum(torch.maximum(corrected, low), high)))
    return found


def _colours(raw: Tensor, green: Tensor, phase: Phase, diagonal: Tensor | None = None) -> Tensor:
    """Interpolate the differences of red and blue from green; diagonal: those of red at blue and of blue at red."""
    difference, colour = raw - green, colour_index(raw.shape, phase, raw.device)
    along = (_at(difference, 0, -1) + _at(difference, 0, 1)) / 2
    across = (_at(difference, -1, 0) + _at(difference, 1, 0)) / 2
    if diagonal is None:
        diagonal = (_at(along, -1, 0) + _at(along, 1, 0)) / 2
    in_red_row = ((torch.arange(raw.shape[-2], device=raw.device) - phase[0]) % 2 == 0)[:, None]
    red, blue = (
        green
        + torch.where(colour == own, difference, torch.where(colour == 1, torch.where(row, along, across), diagonal))
        for own, row in ((0, in_red_row), (2, ~in_red_row))
    )
    return torch.cat([red, green, blue], 1)


def _lab(light: Tensor) -> Tensor:
    """Convert linear sRGB light to CIELAB."""
    xyz = torch.einsum("ij,njhw->nihw", torch.tensor(SRGB_TO_XYZ).to(light), light).clamp(0, 1)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116).split(1, 1)
    return torch.cat([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def _surroundings(alike: Tensor) -> Tensor:
    """Count the neighbours of each pixel's 3x3 surroundings that are alike: (4, N, 1, H, W) bool -> (N, 1, H, W)."""
    return F.avg_pool2d(F.pad(alike.float().sum(0), (1,) * 4, mode="reflect"), 3, 1, divisor_override=1)


def _lighter(lab: Tensor, step: tuple[int, int]) -> Tensor:
    return (lab[:, :1] - _at(lab[:, :1], *step)).abs()


def _coloured(lab: Tensor, step: tuple[int, int]) -> Tensor:
    return (lab[:, 1:] - _at(lab[:, 1:], *step)).square().sum(1, keepdim=True)


# Each turns a mosaic, (N, 1, H, W), with its first red pixel, into (N, 3, H, W). The matrix from the camera's colours
# to linear sRGB, (3, 3) or (N, 3, 3), is for those that choose directions by colour.
DEMOSAICKING: dict[str, Callable[[Tensor, Phase, Tensor], Tensor]] = {
    "malvar": partial(_filtered, MALVAR),
    "bilinear": partial(_filtered, BILINEAR),
    "ahd": _homogeneous,
    "ppg": _patterned,
}
LINEAR = ("malvar", "bilinear")  # the others choose directions by pixel


@dataclass(frozen=True, eq=False)
class Rendering:
    """A camera's way from sensor values to an sRGB image and, as far as that is possible, back.

    light: (256,) linear light of the 8-bit levels, from 0 to 1: the inverse tone curve. matrix: (3, 3), from linear
    sRGB to the camera's colours; its green row sums to 1. demosaicking: a name of `DEMOSAICKING`. clips: whether
    negative values are cut after demosaicking. red: row and column of a red pixel in an image of origin (0, 0).
    white: the sensor value at which all colours saturate. overexposed: (3,), linear light that a clean level of 255
    stands for, at least 1. out_of_gamut: (3,), what a clean level of 0 stands for beside brighter channels, for colours
    that sRGB does not have: so much negative light for each light of the brightest one.
    """

    light: Tensor
    matrix: Tensor
    demosaicking: str = "malvar"
    clips: bool = True
    red: tuple[int, int] = (0, 0)
    white: float = 1.0
    overexposed: Tensor = field(default_factory=lambda: torch.ones(3))
    out_of_gamut: Tensor = field(default_factory=lambda: torch.zeros(3))

    def to(self, *args: Any, **kwargs: Any) -> "Rendering":
        """Move the tensors as `Tensor.to` does."""
        return replace(self, **{name: getattr(self, name).to(*args, **kwargs) for name in TENSORS})

    def balanced(self, factors: Tensor) -> "Rendering":
        """Return the rendering with its matrix's red and blue row times these (2,) factors, as under another light."""
        scale = torch.cat([factors[:1], factors.new_ones(1), factors[1:]])
        return replace(self, matrix=self.matrix * scale[:, None])

    def linear(self, image: Tensor, is_clean: bool = False) -> Tensor:
        """Undo the tone curve: (N, 3, H, W) in [0, 1] -> linear light.

        is_clean: levels of 255 and 0 mean `overexposed` and `out_of_gamut` light.
        """
        table = self.light.repeat(3, 1)
        if is_clean:
            table[:, 255] = self.overexposed
        position = image * 255
        low = position.detach().floor().clamp(0, 254)
        index = low.int() + 256 * torch.arange(3, dtype=torch.int32, device=image.device)[:, None, None]
        light = torch.lerp(look_up(table, index), look_up(table, index + 1), position - low)
        if is_clean:
            negative = -self.out_of_gamut[:, None, None] * light.amax(1, keepdim=True)
            light = torch.where(position < 0.5, negative, light)
        return light

    def camera(self, image: Tensor, is_clean: bool = False) -> Tensor:
        """Convert an image to the camera's colours before white is cut: (N, 3, H, W) -> (N, 3, H, W)."""
        return mix(self.matrix, self.linear(image, is_clean))

    def develop(self, camera: Tensor, rounded: bool = True) -> Tensor:
        """Render demosaicked values: matrix, tone curve and, if `rounded`, 8 bit: (N, 3, H, W) -> [0, 1]."""
        light = mix(torch.linalg.inv(self.matrix), camera).clamp(0, 1)
        if rounded:
            root = torch.linspace(0, 1, LEVELS, device=light.device)
            levels = torch.bucketize(root.square(), (self.light[1:] + self.light[:-1]) / 2)
            return look_up(levels.to(light.dtype) / 255, _nearest(light, LEVELS))
        low = torch.bucketize(light, self.light[1:-1].contiguous(), right=True)
        return (low + (light - self.light[low]) / (self.light[low + 1] - self.light[low])) / 255

    def phase(self, origin: tuple[int, int]) -> Phase:
        """Return row and column of the first red pixel of an image with this origin in the mosaic."""
        return (self.red[0] - origin[0]) % 2, (self.red[1] - origin[1]) % 2

    def raw(self, image: Tensor, phase: Phase, is_clean: bool = False) -> Tensor:
        """Read off the sensor's values: (N, 3, H, W) -> (N, 1, H, W)."""
        return mosaic(self.camera(image, is_clean), phase)

    def demosaick(self, raw: Tensor, phase: Phase) -> Tensor:
        """Interpolate a mosaic: (N, 1, H, W) -> (N, 3, H, W)."""
        return DEMOSAICKING[self.demosaicking](raw, phase, torch.linalg.inv(self.matrix))

    def rerender(self, image: Tensor, phase: Phase) -> tuple[Tensor, Tensor]:
        """Render an image again from its own read-off mosaic: the error in grey levels, and where it counts.

        (N, 3, H, W) -> (N, 3, H, W), (N, 1, H, W) bool: pixels whose surroundings are nowhere clipped.
        """
        camera = self.camera(image)
        again = self.demosaick(mosaic(camera, phase), phase)
        error = mix(torch.linalg.inv(self.matrix), (again.clamp(min=0) if self.clips else again) - camera)
        level = (image * 255).round().long().clamp(0, 255)
        slope = (self.light[(level + 1).clamp(max=255)] - self.light[(level - 1).clamp(min=0)]) / 2
        return error / slope.clamp(min=1e-6), unclipped(image)

    def find_phase(self, image: Tensor) -> Phase:
        """Find the first red pixel of a noisy image: the one with the least re-render error; (N, 3, H, W) of one."""
        rendering = self.to(image.device)

        def error(phase: Phase) -> float:
            residual, counts = rendering.rerender(image, phase)
            counts = counts if counts.any() else unclipped(image, reach=0)
            return float((residual.square().sum(1, keepdim=True) * counts).sum())

        return min(((0, 0), (0, 1), (1, 0), (1, 1)), key=error)


@dataclass(frozen=True)
class SceneNoise:
    """Noise and light measured on a training scene.

    iso; illuminant: in kelvin, 0 if it is not known. balance: factors of the matrix's red and blue row. noise: shot and
    read noise of red, green and blue; the variance of raw noise is shot * raw value + read.
    """

    iso: int
    illuminant: int
    balance: tuple[float, float]
    noise: tuple[tuple[float, float], ...]


@dataclass(frozen=True, eq=False)
class Pipeline:
    """A camera's rendering and its raw noise.

    shape: (4, 3, K) by colour and knot of `SNR_KNOTS`: logarithm of the level beside the law, mean over std, and skew
    and logarithm of the tail of a sinh-arcsinh distribution (Jones and Pewsey 2009). 0 everywhere: Gaussian, by the
    law. error: re-render error by channel, in grey levels. remark: what the fit was made of.
    """

    camera: str
    rendering: Rendering
    scenes: tuple[SceneNoise, ...]
    shape: Tensor = field(default_factory=lambda: torch.zeros(4, 3, len(SNR_KNOTS)))
    error: tuple[float, ...] = (0.0, 0.0, 0.0)
    remark: str = ""

    @property
    def isos(self) -> list[int]:
        """List the ISOs of the training scenes."""
        return sorted({scene.iso for scene in self.scenes})

    def numbers(self, iso: int, share: float | None = None) -> Tensor:
        """Return shot and read noise of red, green and blue at an ISO: (3, 2).

        They are typical of the training scenes, interpolated between ISOs as powers; beyond them they follow the power
        law through all of them, and a warning tells. Red and blue beside green are typical of the scenes, too, or by
        share in [0, 1), one scene's.
        """
        levels = self.isos
        noise = [torch.tensor([scene.noise for scene in self.scenes if scene.iso == level]) for level in levels]
        logs = torch.tensor([max(level, 1) for level in levels]).double().log()
        found = _interpolated(logs, torch.stack(list(map(_typical, noise))).log(), math.log(max(iso, 1))).exp().float()
        if not levels[0] <= iso <= levels[-1]:
            warnings.warn(
                f"{self.camera}: ISO {iso} is extrapolated from ISO {levels[0]} to {levels[-1]}", stacklevel=2
            )
        gains = self._white_balance(self._like(0, share)) / self._white_balance(self.scenes)
        return found * torch.stack([gains, gains.square()], 1)

    def balance(self, illuminant: int = 0, share: float | None = None) -> Tensor:
        """Return the factors of the matrix's red and blue row: (2,).

        They are those of the training scenes of the nearest illuminant in kelvin, of all scenes where it is 0: typical
        ones or, by share in [0, 1), one scene's.
        """
        return _typical(torch.tensor([scene.balance for scene in self._like(illuminant, share)])).float()

    def _like(self, illuminant: int, share: float | None) -> Sequence[SceneNoise]:
        known = [scene.illuminant for scene in self.scenes if scene.illuminant]
        nearest = min(known, key=lambda one: abs(one - illuminant)) if illuminant and known else None
        scenes = [scene for scene in self.scenes if nearest in (None, scene.illuminant)]
        return scenes if share is None else [scenes[int(share * len(scenes))]]

    def _white_balance(self, scenes: Sequence[SceneNoise]) -> Tensor:
        """Return the factors that the sensor's red and blue were amplified by, relative to green: (3,)."""
        shot = torch.tensor([scene.noise for scene in scenes])[..., 0].clamp(min=LEAST_NOISE)
        return _typical((shot / shot[:, 1:2]).clamp(1 / MOST_BALANCE, MOST_BALANCE)).float()

    @torch.no_grad()
    def synthesize(
        self,
        clean: Tensor,
        numbers: Tensor,
        white_noise: Tensor | None = None,
        phases: Sequence[Phase] | None = None,
        balances: Tensor | None = None,
        rounded: bool = True,
    ) -> Tensor:
        """Put the camera's noise on clean images, band by band: (N, 3, H, W) float in [0, 1] -> the same.

        numbers: (3, 2) or (N, 3, 2) shot and read noise, of `numbers` or of a noisy image. white_noise: (N, 1, H, W),
        N(0, 1); None: new, from PyTorch's generator. phases: the first red pixel of each image; None: that of an image
        of origin (0, 0). balances: (N, 2) factors of `balance`; None: 1. rounded: to whole grey levels, as cameras do.

        Raises ValueError for images of another shape or type, or smaller than `SMALLEST` pixels a side.
        """
        if clean.ndim != 4 or clean.shape[1] != 3 or not clean.is_floating_point() or min(clean.shape[2:]) < SMALLEST:
            shown = f"{tuple(clean.shape)} {clean.dtype}"
            raise ValueError(f"images {shown}, expected floats (N, 3, H, W) with sides from {SMALLEST} pixels")
        count, _, height, width = clean.shape
        if white_noise is None:
            white_noise = torch.randn(count, 1, height, width, device=clean.device)
        numbers = numbers.to(clean.device, torch.float32).expand(count, 3, 2)
        phases = phases or [self.rendering.phase((0, 0))] * count
        rows, out = max(BAND // width // 2 * 2, SMALLEST), torch.empty_like(clean)
        shape, rendering = self.shape.to(clean.device), self.rendering.to(clean.device)
        factors = torch.ones(count, 2) if balances is None else balances.float().cpu()
        alike: dict[tuple, list[int]] = {}  # images of one phase and light are rendered together
        for index, phase in enumerate(phases):
            alike.setdefault((phase, *factors[index].tolist()), []).append(index)
        most = max(BAND // (height * width), 1)
        for (phase, *factor), of in alike.items():
            own = rendering.balanced(torch.tensor(factor).to(rendering.matrix))
            for some in (of[start : start + most] for start in range(0, len(of), most)):
                lookup = raw_lookup(numbers[some], shape, rendering.white)
                for top in range(0, height, rows):
                    first, last = max(top - MARGIN, 0), min(top + rows + MARGIN, height)
                    part = (some, slice(None), slice(first, last))
                    made = render_noise(own, clean[part].float(), lookup, white_noise[part].float(), phase, rounded)
                    out[some, :, top : top + rows] = made[:, :, top - first : top - first + rows].to(out)
        return out

    def save(self, path: str | os.PathLike) -> None:
        """Write the fit as JSON, by a temporary file. Raises ValueError if it cannot be written."""
        rendering = self.rendering
        content = {
            "format": FORMAT,
            "version": VERSION,
            "model": KIND,
            "camera": self.camera,
            "remark": self.remark,
            "rendering": {
                "demosaicking": rendering.demosaicking,
                "clips": rendering.clips,
                "red": list(rendering.red),
                "white": rendering.white,
                **{name: getattr(rendering, name).tolist() for name in TENSORS},
            },
            "error": list(self.error),
            "shape": {"snr": list(SNR_KNOTS), **dict(zip(SHAPE_NAMES, self.shape.tolist()))},
            "scenes": [vars(scene) for scene in self.scenes],
        }
        temporary = f"{os.fspath(path)}.part"
        try:
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(_rounded(content), file)
                file.write("\n")
            os.replace(temporary, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise ValueError(f"{os.fspath(path)}: cannot be written ({error.strerror})") from None

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Pipeline":
        """Read a fit. Raises ValueError, in one line, for a file that is damaged, of another kind or version."""
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            if content["format"] != FORMAT or content["model"] != KIND or content["version"] != VERSION:
                kind = f"{content['format']}, {content['model']}, version {content['version']}"
                raise ValueError(f"{kind}, expected {FORMAT}, {KIND}, version {VERSION}")
            return cls._from(content)
        except OSError as error:
            raise ValueError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{os.fspath(path)}: not the fit of a camera's noise, or damaged ({reason})") from None

    @classmethod
    def _from(cls, content: dict) -> "Pipeline":
        given, shape = content["rendering"], content["shape"]
        tensors = {
            "light": _numbers(given["light"], (256,), 0, 1, "light"),
            "matrix": _numbers(given["matrix"], (3, 3), -20, 20, "matrix"),
            "overexposed": _numbers(given["overexposed"], (3,), 1, 10, "overexposed"),
            "out_of_gamut": _numbers(given.get("out_of_gamut", [0, 0, 0]), (3,), 0, 1, "out_of_gamut"),
        }
        if not (tensors["light"].diff() > 0).all() or abs(torch.linalg.det(tensors["matrix"])) < 1e-3:
            raise ValueError("light that does not rise, or a matrix that cannot be inverted")
        if given["demosaicking"] not in DEMOSAICKING or not isinstance(given["clips"], bool):
            raise ValueError(f"demosaicking {given['demosaicking']!r}, expected {', '.join(DEMOSAICKING)}")
        row, column = _numbers(given["red"], (2,), 0, 1, "red").int().tolist()
        white = float(_numbers(given["white"], (), 1e-3, 10, "white"))
        rendering = Rendering(
            demosaicking=given["demosaicking"], clips=given["clips"], red=(row, column), white=white, **tensors
        )
        if shape["snr"] != list(SNR_KNOTS) or not content["scenes"]:
            raise ValueError("other knots of the shape, or no scenes")
        scenes = tuple(
            SceneNoise(
                int(_numbers(scene["iso"], (), 0, 1e9, "iso")),
                int(_numbers(scene["illuminant"], (), 0, 1e6, "illuminant")),
                tuple(_numbers(scene["balance"], (2,), 1e-2, 1e2, "balance").tolist()),
                tuple(map(tuple, _numbers(scene["noise"], (3, 2), 0, 10, "noise").tolist())),
            )
            for scene in content["scenes"]
        )
        tables = torch.stack([_numbers(shape[name], (3, len(SNR_KNOTS)), -5, 5, name) for name in SHAPE_NAMES])
        error = tuple(_numbers(content["error"], (3,), 0, 255, "error").tolist())
        return cls(str(content["camera"]), rendering, scenes, tables, error, str(content["remark"]))


def _numbers(values: Any, shape: tuple[int, ...], low: float, high: float, name: str) -> Tensor:
    """Read numbers of a file. Raises ValueError for another shape, and for numbers beyond the limits."""
    found = torch.tensor(values, dtype=torch.float32)
    if tuple(found.shape) != shape or not ((found >= low) & (found <= high)).all():
        raise ValueError(f"{name}: expected {'x'.join(map(str, shape)) or '1'} numbers within [{low:g}, {high:g}]")
    return found


def _rounded(content: Any) -> Any:
    """Keep six digits of all numbers, so that the file is readable."""
    if isinstance(content, float):
        return float(f"{content:.6g}")
    if isinstance(content, dict):
        return {name: _rounded(value) for name, value in content.items()}
    return [_rounded(value) for value in content] if isinstance(content, list | tuple) else content


def _typical(values: Tensor) -> Tensor:
    """Return the geometric mean of the middle half, along the first dimension; of less than four, of all."""
    ordered = values.double().clamp(min=LEAST_NOISE).log().sort(0).values
    cut = len(ordered) // 4
    return ordered[cut : len(ordered) - cut].mean(0).exp()


def _interpolated(places: Tensor, values: Tensor, place: float) -> Tensor:
    """Interpolate between places, and follow the least-squares line beyond them: (L,), (L, 3, 2) -> (3, 2)."""
    if places[0] <= place <= places[-1]:
        above = max(int(torch.searchsorted(places, place)), 1) if len(places) > 1 else 0
        if not above:
            return values[0]
        share = (place - places[above - 1]) / (places[above] - places[above - 1])
        return torch.lerp(values[above - 1], values[above], share)
    end = 0 if place < places[0] else -1
    spread = places - places.mean()
    powers = torch.tensor(POWERS).double().expand(3, 2)
    if len(places) > 1:
        slope = (spread[:, None, None] * values).sum(0) / spread.square().sum()
        powers = slope.clamp(min=0).minimum(powers)
    return values[end] + powers * (place - places[end])


@dataclass(frozen=True, eq=False)
class Lookup:
    """Raw noise by raw value, as four tables (N, 3, TABLE): noise = scale * sinh((asinh z + skew) * tail) + offset."""

    scale: Tensor
    offset: Tensor
    skew: Tensor
    tail: Tensor


def raw_lookup(noise: Tensor, shape: Tensor, white: float) -> Lookup:
    """Tabulate raw noise by raw value, evenly spaced in its root from 0 to white.

    noise: (N, 3, 2) shot and read noise of each image; shape: (4, 3, K), see `Pipeline`.
    """
    raw = white * torch.linspace(0, 1, TABLE, device=noise.device).square()
    std = (noise[..., :1] * raw + noise[..., 1:]).clamp(min=1e-12).sqrt()  # (N, 3, TABLE)
    knots = torch.tensor(SNR_KNOTS, device=noise.device)
    ratio = (raw / std.detach()).clamp(max=knots[-1])
    low = torch.bucketize(ratio, knots[1:-1].contiguous(), right=True)
    share = (ratio - knots[low]) / (knots[low + 1] - knots[low])
    level, mean, skew, tail = shape
    tail = (-tail).exp()
    # Mean and std of sinh((asinh z + skew) * tail) at the knots, by quadrature over the quantiles of z.
    quantiles = torch.special.ndtri((torch.arange(QUANTILES, device=noise.device) + 0.5) / QUANTILES)
    values = torch.sinh((torch.asinh(quantiles)[:, None, None] + skew) * tail)
    own_mean, own_std = values.mean(0), values.var(0, correction=0).clamp(min=1e-9).sqrt()
    colour = torch.arange(3, device=noise.device)[:, None]

    def at(table: Tensor) -> Tensor:
        return torch.lerp(table[colour, low], table[colour, low + 1], share)

    std = std * at(level).exp()
    scale = std / at(own_std)
    return Lookup(scale, std * at(mean) - scale * at(own_mean), at(skew), at(tail))


def render_noise(
    rendering: Rendering, clean: Tensor, lookup: Lookup, white_noise: Tensor, phase: Phase, rounded: bool = True
) -> Tensor:
    """Put raw noise on clean images and render them.

    clean: (N, 3, H, W) in [0, 1]; white_noise: (N, 1, H, W), N(0, 1) -> (N, 3, H, W) in [0, 1], whole grey levels if
    `rounded`.
    """
    camera = rendering.camera(clean, is_clean=True)
    raw = mosaic(camera, phase)
    colour = colour_index(raw.shape, phase, raw.device)
    image = torch.arange(lookup.scale.shape[0], device=raw.device)[
        :, None, None, None
    ]  # one table may serve all images
    index = _nearest((raw.detach() / rendering.white).clamp(0, 1), TABLE) + ((colour + 3 * image) * TABLE).int()
    scale, offset, skew, tail = (look_up(getattr(lookup, name), index) for name in LOOKED_UP)
    grown = ((white_noise + (white_noise.square() + 1).sqrt()).log() + skew) * tail  # asinh and sinh are slow
    noise = scale * ((grown.exp() - (-grown).exp()) / 2) + offset
    noisy = (raw + noise).clamp(0, rendering.white)
    if rendering.demosaicking in LINEAR:
        camera = camera + rendering.demosaick(noisy - raw, phase)
    else:
        camera = rendering.demosaick(noisy, phase)
    return rendering.develop(camera.clamp(min=0 if rendering.clips else None, max=rendering.white), rounded)


def _nearest(values: Tensor, entries: int) -> Tensor:
    """Find the entries of a table that is evenly spaced in the root of its values, from 0 to 1."""
    return (values.sqrt() * (entries - 1)).round().int()


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """Look up entries of a flattened table; several times faster than indexing."""
    return table.flatten().index_select(0, index.flatten()).view(index.shape)


def mix(matrix: Tensor, colours: Tensor) -> Tensor:
    """Multiply each pixel's colour by a matrix: (3, 3), (N, 3, H, W) -> (N, 3, H, W)."""
    return torch.einsum("ij,njhw->nihw", matrix, colours)


def unclipped(image: Tensor, reach: int = REACH) -> Tensor:
    """Find pixels whose surroundings lie within `UNCLIPPED`: (N, 3, H, W) -> (N, 1, H, W) bool.

    Surroundings are what demosaicking takes, a diamond: at most `reach` steps along rows and columns.
    """
    low, high = (torch.tensor(levels, device=image.device)[:, None, None] / 255 for levels in UNCLIPPED)
    clipped = ((image < low) | (image > high)).any(1, keepdim=True).to(image.dtype)
    for _ in range(reach):
        clipped = torch.maximum(F.max_pool2d(clipped, (3, 1), 1, (1, 0)), F.max_pool2d(clipped, (1, 3), 1, (0, 1)))
    inside = clipped == 0
    inside[..., :3, :] = inside[..., -3:, :] = inside[..., :3] = inside[..., -3:] = False
    return inside


def colour_index(shape: Sequence[int], phase: Phase, device: Any = None) -> Tensor:
    """Return the colour of each pixel of the mosaic, 0 red, 1 green, 2 blue: (..., H, W) -> (H, W)."""
    height, width = shape[-2:]
    row = (torch.arange(height, device=device)[:, None] - phase[0]) % 2
    return row + (torch.arange(width, device=device) - phase[1]) % 2


def mosaic(colours: Tensor, phase: Phase) -> Tensor:
    """Keep of each pixel the colour that the sensor has there: (N, 3, H, W) -> (N, 1, H, W)."""
    raw = colours[:, 1:2].clone()
    y, x = phase
    raw[..., y::2, x::2] = colours[:, :1, y::2, x::2]
    raw[..., 1 - y :: 2, 1 - x :: 2] = colours[:, 2:, 1 - y :: 2, 1 - x :: 2]
    return raw
