"""Identify a camera's rendering from its noisy images: with the right one, an image rendered again equals itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from noise.pipeline import DEMOSAICKING, LINEAR, REACH, Phase, Rendering, look_up, unclipped
from utils.randomness import evenly_spaced
from utils.workers import in_threads

# A rendering is identified if no channel's re-render error is above GATE grey levels. Rounding leaves about .3 of them,
# but more in dark pixels beside bright ones where a curve is steep; then BEYOND_ROUNDING times that, which must be
# MOST_ROUNDING at most. A scene may have OF_SCENE times as much. Beyond rounding there may be UNEXPLAINED times the
# error with another mosaic: real phones have .01, images of little noise .6 if denoised, .1 if blurred by .4 pixels.
# Demosaicking that chooses directions by pixel: errors below CHOSEN grey levels count, of EXPLAINED pixels at least.
# Rounding changes some of the directions, so their gate is at least GATE_CHOSEN: the true rendering of PPG had .64.
CHOSEN, EXPLAINED, GATE_CHOSEN = 3.0, 0.8, 0.75
GATE, BEYOND_ROUNDING, MOST_ROUNDING, OF_SCENE, UNEXPLAINED = 0.6, 1.2, 1.0, 1.5, 0.08
PHASES: tuple[Phase, ...] = ((0, 0), (0, 1), (1, 0), (1, 1))  # of the first red pixel
KNOTS = 25  # of the tone curve's slope, evenly spaced in the root of the level: curves bend most near black
POWER = 2.2  # of the curve that the search begins from
SMOOTHNESS = 1e-3  # weight of the curve's second differences
LIKE_OTHERS = 1e-2  # weight of the differences between scenes' balances, which flat images do not tell
SIDE, SMALLEST, TRIED = 128, 48, 96  # pixels of a patch's side, the fewest, and those that candidates are tried on
PATCHES, TOGETHER, JUDGED = 6, 16, 96  # patches of an image and of the first frame, of the last fit, and judged ones
FEW = 6  # patches of the last fit where directions are chosen by pixel
STEPS, REFINED, LAST = 15, 40, 100  # of LBFGS: for each candidate, for the best, for all scenes together
REFINE, STARTS = 3, 3  # candidates that are refined; scenes whose balance a further scene's search begins from
PREFERENCE = 1.03  # sRGB's curve is taken if a learned one is not better by this factor
WORST = 1e6  # mean square error that stands for one that is not a number
SAME = 1.0001  # ratio of mean square errors: no pixel tells whether negative values are cut, which then is taken
USABLE = 0.005  # least share of pixels whose surroundings are unclipped


class Candidate(NamedTuple):
    """A rendering to try: demosaicking, whether negative values are cut after it, and the first red pixel."""

    demosaicking: str
    clips: bool
    phase: Phase


class NoisyImage(NamedTuple):
    """A noisy image to identify a rendering from.

    pixels: (3, H, W) uint8. scene: images of a scene have one illuminant. frame: images with the same one begin at the
    same position of the mosaic.
    """

    pixels: Tensor
    scene: str
    frame: str


class Patch(NamedTuple):
    """A part of a noisy image that begins at even rows and columns: (3, P, P) levels, and which pixels count."""

    level: Tensor
    counts: Tensor
    image: NoisyImage

    @property
    def detail(self) -> float:
        """Measure how much there is to tell renderings apart: second differences of pixels that count, summed up."""
        level = self.level.float()
        second = (level[..., 2:] - 2 * level[..., 1:-1] + level[..., :-2]).square()
        return float((second * self.counts[..., 1:-1]).sum())

    def middle(self, side: int) -> "Patch":
        """Cut out the middle, at even rows and columns."""
        first = max(self.level.shape[-1] - side, 0) // 4 * 2
        inside = (..., slice(first, first + side), slice(first, first + side))
        return patch_of(self.level[inside], self.image)


class Planes(NamedTuple):
    """Patches of one size, cut into the four positions of the mosaic, red first, so that all are rendered at once.

    level: (P, 12, h, w) of red, green and blue at each position; counts: (P, 4, h, w), 1 for pixels that count.
    """

    level: Tensor
    counts: Tensor

    @classmethod
    def of(cls, patches: Sequence[Patch], phases: Sequence[Phase]) -> "Planes":
        """Cut patches, whose first red pixel is given; their border, which is not rendered right, does not count."""
        height, width = (side // 2 * 2 - 2 for side in patches[0].level.shape[-2:])
        cut = [(..., slice(y, y + height), slice(x, x + width)) for y, x in phases]
        level = torch.stack([patch.level[inside] for patch, inside in zip(patches, cut)])
        counts = torch.stack([patch.counts[inside] for patch, inside in zip(patches, cut)])
        counts = F.pad(counts[..., REACH:-REACH, REACH:-REACH], (REACH,) * 4)
        return cls(F.pixel_unshuffle(level, 2).int(), F.pixel_unshuffle(counts, 2))

    def squares(self, light: Tensor, matrices: Tensor, candidate: "Candidate", of_rounding: bool = False) -> Tensor:
        """Render again, by a matrix for each patch, (P, 3, 3): -> square errors in grey levels, (P, 3, 4 h w).

        of_rounding: those that rounding to whole levels alone leaves, about.
        """
        count, _, height, width = self.level.shape
        slope = look_up(F.pad((light[2:] - light[:-2]) / 2, (1, 1), value=1.0), self.level)
        if of_rounding:
            values = slope * (torch.rand(slope.shape, generator=torch.Generator().manual_seed(0)) - 0.5)
        else:
            values = look_up(light, self.level)
        camera = (matrices @ values.view(count, 3, -1)).view(count, 12, height, width)
        measured = F.pixel_shuffle(camera[:, [0, 5, 6, 11]], 2)  # red, green, green, blue
        to_srgb = torch.linalg.inv(matrices)
        name = "malvar" if of_rounding else candidate.demosaicking  # others are not linear
        again = F.pixel_unshuffle(DEMOSAICKING[name](measured, (0, 0), to_srgb), 2)
        residual = (again.clamp(min=0) if candidate.clips and not of_rounding else again) - camera
        return (to_srgb @ residual.view(count, 3, -1) / slope.view(count, 3, -1)).square()

    def errors(self, light: Tensor, matrices: Tensor, candidate: "Candidate") -> Tensor:
        """Compute the mean square error by channel: -> (3,).

        Where a direction is chosen by pixel, rounding changes some choices: their errors are held below `CHOSEN`.
        """
        squares = self.squares(light, matrices, candidate)
        if candidate.demosaicking not in LINEAR:
            squares = squares / (1 + squares.sum(1, keepdim=True) / CHOSEN**2)
        return (squares * self.counts.view(len(squares), 1, -1)).sum((0, 2)) / self.counts.sum().clamp(min=1)


@dataclass(frozen=True)
class Identification:
    """A rendering, and how well images equal themselves when they are rendered again.

    error: RMS in grey levels by channel, over all images; rounding: what rounding to 8 bit alone leaves of it;
    elsewhere: the error with the mosaic a column further, which tells what there is to explain. explained: the share of
    pixels that these errors are of, 1 for linear demosaicking, else those whose direction is found again. errors: the
    error of each scene. phases: the first red pixel of each image. balances: for each scene the factors of the matrix's
    red and blue row.
    """

    rendering: Rendering
    error: Tensor
    rounding: Tensor
    elsewhere: Tensor
    explained: float
    errors: dict[str, Tensor]
    phases: list[Phase]
    balances: dict[str, Tensor]

    @property
    def badness(self) -> float:
        """Return the mean square error, summed over the channels."""
        return float(self.error.square().sum())

    @property
    def gate(self) -> Tensor:
        """Return the highest error of each channel at which the rendering is identified, in grey levels."""
        least = GATE if self.rendering.demosaicking in LINEAR else GATE_CHOSEN
        return (BEYOND_ROUNDING * self.rounding).clamp(min=least, max=BEYOND_ROUNDING * MOST_ROUNDING)

    @property
    def is_identified(self) -> bool:
        """Return whether the rendering is known well enough to make noise with, that of each scene too."""
        scenes = [bool((error <= OF_SCENE * self.gate).all()) for error in self.errors.values()]
        beyond = (self.error.square() - self.rounding.square()).clamp(min=0).sqrt()
        is_explained = self.explained >= EXPLAINED and bool((beyond <= UNEXPLAINED * self.elsewhere).all())
        is_stable = bool((self.rounding <= MOST_ROUNDING).all())  # grey images: any matrix renders them
        return is_stable and is_explained and bool((self.error <= self.gate).all()) and all(scenes)

    def __str__(self) -> str:
        """Say in one line whether the rendering is identified, and by what error."""
        how = f"{self.rendering.demosaicking} demosaicking" if self.is_identified else "see doc/fitting.md"
        verdict = "identified" if self.is_identified else "not identified"
        line = f"rendering {verdict} ({how}): re-render error {_shown(self.error)} grey levels (R G B)"
        worst = max(self.errors, key=lambda name: float((self.errors[name] / self.gate).max()))
        line += f", {_shown(self.errors[worst])} in {worst}" if len(self.errors) > 1 else ""
        line += f", {self.explained:.0%} of the pixels" if self.rendering.demosaicking not in LINEAR else ""
        return f"{line}, gate {_shown(self.gate)}; with another mosaic {_shown(self.elsewhere)}"


def _shown(error: Tensor) -> str:
    return " ".join(f"{value:.2f}" for value in error.tolist())


def find_rendering(images: Sequence[NoisyImage], num_workers: int = 2) -> Identification:
    """Identify the rendering of a camera's noisy images: curve, matrix, mosaic, demosaicking and clipping.

    Candidates are tried on one frame, the best are refined there, and the best of them on all scenes together. First
    linear demosaicking; then, which takes longer, the kinds that choose directions by pixel. Raises ValueError if the
    images have no part that is neither clipped nor constant.
    """
    side = min(SIDE, *(min(image.pixels.shape[1:]) // 2 * 2 for image in images))
    patches = [patch for image in images for patch in best_patches(image, side)] if side >= SMALLEST else []
    if not patches:
        raise ValueError(f"no noisy image has {SMALLEST}x{SMALLEST} pixels that are neither clipped nor constant")
    found = _find(images, patches, [Candidate(*one) for one in product(LINEAR, (True, False), PHASES)], num_workers)
    adaptive = [name for name in DEMOSAICKING if name not in LINEAR]
    if found.is_identified or not adaptive:
        return found
    other = _find(images, patches, [Candidate(*one) for one in product(adaptive, (True,), PHASES)], num_workers)
    return other if other.is_identified else found


def _find(
    images: Sequence[NoisyImage], patches: Sequence[Patch], candidates: Sequence[Candidate], num_workers: int
) -> Identification:
    """Find the best of the candidates, which are linear or none of them is, and its rendering."""
    frames: dict[str, list[Patch]] = {}
    for patch in sorted(patches, key=lambda patch: -patch.detail):
        frames.setdefault(patch.image.frame, []).append(patch)
    first = max(frames.values(), key=lambda of: sum(patch.detail for patch in of[:PATCHES]))[:PATCHES]
    small = [patch.middle(TRIED) for patch in first]
    small = [patch for patch in small if patch.counts.mean() >= USABLE] or first

    searches = [_Search(candidate) for candidate in candidates]
    tried = in_threads(lambda search: search.fit(small, STEPS), searches, num_workers)
    list(tqdm(tried, total=len(searches), desc="rendering", unit="candidate", leave=False, disable=None))
    is_linear = candidates[0].demosaicking in LINEAR
    refine, most = (REFINE, TOGETHER) if is_linear else (1, FEW)  # others take longer, and the best one stands out
    searches = sorted(searches, key=lambda search: search.loss)[:refine]
    searches += [search.copied(is_srgb=True) for search in searches[:2]]
    list(in_threads(lambda search: search.fit(first[:most], REFINED), searches, num_workers))
    best = [min((one for one in searches if one.is_srgb is kind), key=lambda one: one.loss) for kind in (False, True)]
    # One frame may have too few dark pixels to tell whether negative values are cut, or too few levels for the curve.
    clippings = dict.fromkeys(candidate.clips for candidate in candidates)
    finals = [search.straightened().copied(clips=clips) for search in best for clips in clippings]
    phases = {frame: best[0].rendering().find_phase(of[0].level[None] / 255) for frame, of in frames.items()}
    scenes: dict[str, list[Patch]] = {}
    for patch in sorted(patches, key=lambda patch: -patch.detail):
        scenes.setdefault(patch.image.scene, []).append(patch)
    together = evenly_spaced([of[0] for of in scenes.values()], most)
    others = [patch for of in frames.values() for patch in of if not any(patch is one for one in together)]
    together += evenly_spaced(others, most - len(together)) if len(together) < most else []
    judged = evenly_spaced([patch for of in frames.values() for patch in of[: max(1, JUDGED // len(frames))]], JUDGED)

    def finish(search: _Search) -> Identification:
        search.fit(together, LAST, [phases[patch.image.frame] for patch in together])
        rendering, balances = search.rendering(), search.balances()
        starts = evenly_spaced(list(balances.values()), STARTS)
        for name in [name for name in scenes if name not in balances]:
            balances[name] = find_balance(rendering, scenes[name][0], phases[scenes[name][0].image.frame], starts)
        return _judge(rendering, balances, judged, phases)

    finished = list(in_threads(finish, finals, num_workers))

    def handicapped(one: Identification) -> float:
        return one.badness if one.rendering.clips else SAME * one.badness

    half = len(finished) // 2
    learned, srgb = (min(of, key=handicapped) for of in (finished[:half], finished[half:]))
    found = srgb if srgb.badness <= PREFERENCE**2 * learned.badness else learned
    firsts = [phases.get(image.frame) or found.rendering.find_phase(image.pixels[None] / 255) for image in images]
    return replace(found, phases=firsts)


def _judge(
    rendering: Rendering, balances: dict[str, Tensor], patches: Sequence[Patch], phases: dict[str, Phase]
) -> Identification:
    """Compute errors over all patches, and of each scene; phases: of each frame."""
    own = [phases[patch.image.frame] for patch in patches]
    planes, aside = Planes.of(patches, own), Planes.of(patches, [(row, 1 - column) for row, column in own])
    matrices = torch.stack([rendering.balanced(balances[patch.image.scene]).matrix for patch in patches])
    candidate, light = Candidate(rendering.demosaicking, rendering.clips, rendering.red), rendering.light
    squares, counts = planes.squares(light, matrices, candidate), planes.counts.view(len(patches), 1, -1)
    if candidate.demosaicking not in LINEAR:
        counts = counts * (squares.sum(1, keepdim=True) < CHOSEN**2)

    def rms(squares: Tensor, counts: Tensor, rows: Sequence[int]) -> Tensor:
        return ((squares[rows] * counts[rows]).sum((0, 2)) / counts[rows].sum().clamp(min=1)).sqrt()

    every, scenes = range(len(patches)), dict.fromkeys(patch.image.scene for patch in patches)
    of_scene = {name: [row for row in every if patches[row].image.scene == name] for name in scenes}
    return Identification(
        rendering,
        rms(squares, counts, every),
        rms(planes.squares(light, matrices, candidate, of_rounding=True), counts, every),
        rms(aside.squares(light, matrices, candidate), aside.counts.view(len(patches), 1, -1), every),
        float(counts.sum() / planes.counts.sum().clamp(min=1)),
        {name: rms(squares, counts, rows) for name, rows in of_scene.items()},
        [],
        balances,
    )


def best_patches(image: NoisyImage, side: int) -> list[Patch]:
    """Choose the parts of an image with the most pixels that count, at most `PATCHES` that do not overlap."""
    height, width = image.pixels.shape[1:]
    corners = [(y, x) for y in range(0, height - side + 1, side) for x in range(0, width - side + 1, side)]
    patches = []
    for y, x in corners:
        patch = patch_of(image.pixels[:, y : y + side, x : x + side].long(), image)
        if patch.counts.mean() >= USABLE and patch.level.float().std() > 0.5:
            patches.append(patch)
    return sorted(patches, key=lambda patch: -patch.detail)[:PATCHES]


def patch_of(level: Tensor, image: NoisyImage) -> Patch:
    """Make a patch of an image's levels; a margin does not count, since demosaicking mirrors at the border."""
    return Patch(level, unclipped(level[None].float() / 255)[0].float(), image)


def srgb_light() -> Tensor:
    """Compute linear light of the 8-bit levels by IEC 61966-2-1: (256,) float32."""
    level = torch.arange(256, dtype=torch.float64) / 255
    return torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).float()


class _Search:
    """A rendering's unknown numbers, and their fit to images.

    log_slope: of the tone curve at knots; off_diagonal: of the matrix's rows (a, b, 1 - a - b); log_factors: of its red
    and blue row for each of `scenes`.
    """

    def __init__(self, candidate: Candidate, is_srgb: bool = False):
        self.candidate, self.is_srgb, self.loss = candidate, is_srgb, float("inf")
        self.log_slope = (POWER * torch.linspace(0, 1, KNOTS).square().clamp(min=0.03) ** (POWER - 1)).log()
        self.off_diagonal, self.log_factors = torch.zeros(3, 2), torch.zeros(1, 2)
        self.scenes: list[str] = []

    def copied(self, clips: bool | None = None, is_srgb: bool | None = None) -> "_Search":
        """Copy this search, with another clipping, or with sRGB's curve in place of a learned one."""
        clips, is_srgb = self.candidate.clips if clips is None else clips, self.is_srgb if is_srgb is None else is_srgb
        other = _Search(self.candidate._replace(clips=clips), is_srgb)
        other.log_slope, other.off_diagonal = self.log_slope.clone(), self.off_diagonal.clone()
        other.log_factors = self.log_factors.clone()
        return other

    def straightened(self) -> "_Search":
        """Exchange red and blue, which renders the same, where that gives the matrix the larger diagonal."""
        matrix = self._rows()
        if matrix[0, 2] + matrix[2, 0] > matrix[0, 0] + matrix[2, 2]:
            rows = matrix.flip(0)
            self.off_diagonal = torch.stack([rows[0, 1:], rows[1, ::2], rows[2, :2]])
            self.log_factors = self.log_factors.flip(1)
            self.candidate = self.candidate._replace(phase=(1 - self.candidate.phase[0], 1 - self.candidate.phase[1]))
        return self

    def _rows(self) -> Tensor:
        (a, b), (c, d), (e, f) = self.off_diagonal
        return torch.stack([1 - a - b, a, b, c, 1 - c - d, d, e, f, 1 - e - f]).view(3, 3)

    def _light(self) -> Tensor:
        if self.is_srgb:
            return srgb_light()
        position = (torch.arange(256) / 255).sqrt() * (KNOTS - 1)
        low = position.floor().clamp(max=KNOTS - 2).long()
        slope = torch.lerp(self.log_slope[low], self.log_slope[low + 1], position - low).exp()
        light = torch.cat([slope.new_zeros(1), ((slope[1:] + slope[:-1]) / 2).cumsum(0)])
        return light / light[-1]

    def rendering(self) -> Rendering:
        """Return the rendering found so far; its factors of red and blue are the scenes' geometric mean."""
        found = Rendering(self._light(), self._rows(), self.candidate.demosaicking, self.candidate.clips)
        return replace(found.balanced(self.log_factors.mean(0).exp()), red=self.candidate.phase)

    def balances(self) -> dict[str, Tensor]:
        """Return the factors of each scene, relative to their mean."""
        return dict(zip(self.scenes, (self.log_factors - self.log_factors.mean(0)).exp()))

    def fit(self, patches: Sequence[Patch], steps: int, phases: Sequence[Phase] | None = None) -> None:
        """Minimise the error of patches by LBFGS, with factors of their own for each scene; sets `loss`."""
        planes = Planes.of(patches, phases or [self.candidate.phase] * len(patches))
        self.scenes = list(dict.fromkeys(patch.image.scene for patch in patches))
        scene = torch.tensor([self.scenes.index(patch.image.scene) for patch in patches])
        self.log_factors = self.log_factors.mean(0).repeat(len(self.scenes), 1)
        parameters = [self.off_diagonal, self.log_factors, *([] if self.is_srgb else [self.log_slope])]

        def loss() -> Tensor:
            bend = self.log_slope[2:] - 2 * self.log_slope[1:-1] + self.log_slope[:-2]
            mean = self.log_factors.mean(0)
            apart = (self.log_factors - mean).square().mean() + mean.square().mean()
            factors = F.pad(self.log_factors, (0, 1)).exp()[scene][:, [0, 2, 1]]  # (P, 3), green's is 1
            errors = planes.errors(self._light(), factors[:, :, None] * self._rows(), self.candidate)
            return errors.sum() + SMOOTHNESS * bend.square().sum() + LIKE_OTHERS * apart

        self.loss = _minimise(loss, parameters, steps)


def find_balance(rendering: Rendering, patch: Patch, phase: Phase, starts: Sequence[Tensor] = ()) -> Tensor:
    """Find the factors of the matrix's red and blue row for a scene under another illuminant: -> (2,).

    starts: further factors to begin from, of other scenes.
    """
    planes, found = Planes.of([patch], [phase]), []
    candidate = Candidate(rendering.demosaicking, rendering.clips, phase)
    for start in (torch.ones(2), *starts):
        log_factors = start.log()

        def loss(log_factors: Tensor = log_factors) -> Tensor:
            matrix = rendering.balanced(log_factors.exp()).matrix
            errors = planes.errors(rendering.light, matrix[None], candidate)
            return errors.sum() + LIKE_OTHERS * log_factors.square().mean()

        found.append((_minimise(loss, [log_factors], STEPS), log_factors.exp()))
    return min(found, key=lambda one: one[0])[1]


def _minimise(loss: Callable[[], Tensor], parameters: list[Tensor], steps: int) -> float:
    """Change parameters in place so that they minimise a loss, by LBFGS; return what it then is."""
    for one in parameters:
        one.requires_grad_(True)
    optimiser = torch.optim.LBFGS(
        parameters, max_iter=steps, history_size=30, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad(set_to_none=False)
        value = loss()
        if not value.isfinite():
            return torch.full((), WORST)  # so that a line search turns back
        value.backward()
        return value

    optimiser.step(closure)
    for one in parameters:
        one.requires_grad_(False)
    value = float(loss())
    return value if math.isfinite(value) else math.inf
