"""The sensor's noise behind an sRGB image: shot and read noise of each colour, and its shape, fitted to image pairs."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from noise.pipeline import LOOKED_UP, SNR_KNOTS, Lookup, Phase, Rendering, colour_index, raw_lookup, render_noise

BINS = 12  # of raw values, by which variances are compared
ROUNDS = 6  # of simulation and correction
LEAST = 1e-9  # variance
TILE = 8  # pixels a side of the native surroundings of a reduced pixel
SAMPLED = 4096  # reduced pixels of a scene
SECOND_DIFFERENCE = torch.tensor([[[[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]]]).repeat(4, 1, 1, 1) / 6  # keeps variances
SMOOTHED = 4  # pixels of a lattice to either side of a local mean
LOW = 0.1  # quantile of the energies around pixels of one raw value: texture is in the higher ones
FLAT = 0.5  # share of the pixels, the flattest, that noise is measured on without a clean image
CORRECTION = 0.7  # share of a smoothed simulation's error that each round corrects
CROP, CROPS = 96, 12  # pixels a side, and number of the crops of a step
SHAPE_STEPS, SHAPE_RATE, BEYOND_RATE = 200, 0.02, 0.1
LEVEL, LEVELS = 20, 15  # grey levels of a group, and number of the groups, with those of levels 0 and 255 alone
RATIOS = 10  # groups of raw values of a colour, by the ratio of signal to noise
ABOVE = 0.02, 0.1  # linear light that overexposed pixels begin with above 1, least and most
MOST_ABOVE, MOST_OUTSIDE = 9.0, 1.0  # that the fit goes to, of overexposed light and of `out_of_gamut`
READ_NOISE, READ_NOISE_FACTOR = 3.0, 2.0  # photoelectrons^2: five phones have 1 to 13, at high ISO 1.5 to 5
SEEN_ERROR = 0.15  # of a logarithm of variance, that content leaves without a clean image
GAUSS_NEWTON = 30  # steps
RIDGE = 1e-3  # weight of the shape's mean square: knots that no pixel reaches stay 0
LEAST_RATIO = 0.1  # of signal to noise, at which the shape at 0 is computed
MOST_SKEW = 0.4  # which single photoelectrons would exceed
SKEWNESS = 1.7  # of sinh(asinh z + skew), over skew, for small ones


class Pair(NamedTuple):
    """A clean and a noisy image of one scene: (1, 3, H, W) in [0, 1], and the first red pixel."""

    clean: Tensor
    noisy: Tensor
    phase: Phase


def estimate_noise(rendering: Rendering, pairs: Sequence[Pair], shape: Tensor, seed: int = 0) -> Tensor:
    """Estimate shot and read noise of red, green and blue from pairs of one scene: -> (3, 2).

    Real and simulated noisy images are read off alike, and their variances compared by colour and raw value, so that
    clipping biases nothing.
    """
    raw = torch.cat([rendering.raw(pair.clean, pair.phase, is_clean=True).flatten() for pair in pairs])
    real = torch.cat([rendering.raw(pair.noisy, pair.phase).flatten() for pair in pairs])
    colour = torch.cat([colour_index(pair.clean.shape, pair.phase).flatten() for pair in pairs])
    kept = _known(pair.clean for pair in pairs)
    generator = torch.Generator().manual_seed(seed)

    def simulate(numbers: Tensor) -> Tensor:
        lookup, read_off = raw_lookup(numbers[None], shape, rendering.white), []
        for clean, _, phase in pairs:
            white = torch.randn(1, 1, *clean.shape[-2:], generator=generator)
            read_off.append(rendering.raw(render_noise(rendering, clean, lookup, white, phase), phase).flatten())
        return torch.cat(read_off)[kept]

    return _law_by_simulation(raw[kept], real[kept], colour[kept], simulate)


def _known(cleans: Iterable[Tensor]) -> Tensor:
    """Find the pixels whose light clean images show in all channels; if none, all: (1, 3, H, W) each -> (P,) bool."""
    known = torch.cat([((clean * 255 > 0.5) & (clean * 255 < 254.5)).all(1).flatten() for clean in cleans])
    return known if known.any() else torch.ones_like(known)


def estimate_noise_blindly(
    rendering: Rendering, noisy: Sequence[tuple[Tensor, Phase]], shape: Tensor | None = None, seed: int = 0
) -> Tensor:
    """Estimate shot and read noise from noisy images of one scene alone: -> (3, 2).

    noisy: (1, 3, H, W) in [0, 1], and the first red pixel. shape: of raw noise, None: the physical one of the numbers
    that are found (`physical_shape`).

    On the lattice of one colour noise is white and content smooth. So noise is measured by the energy of second
    differences around each pixel, in the flatter half of the image, by a low quantile for each raw value. Simulations
    are measured alike. They begin from the smoothed image, which is corrected until they, smoothed, equal it: clipping
    has changed its mean.
    """
    real = [_planes(rendering.raw(image, phase)) for image, phase in noisy]
    smooth = [_smoothed(planes) for planes in real]
    colours = [
        colour_index((2, 2), phase).flatten()[None, :, None, None].expand_as(_inner(planes)).flatten()
        for planes, (_, phase) in zip(real, noisy)
    ]
    colour, rough = torch.cat(colours), torch.cat([_gradient(planes).flatten() for planes in smooth])
    flat = torch.zeros_like(colour, dtype=torch.bool)
    for c in range(3):
        flat |= (colour == c) & (rough <= _at_most(rough[colour == c], 500_000).quantile(FLAT))
    mean = torch.cat([_inner(planes).flatten() for planes in smooth])[flat]
    clean, generator = [planes.clone() for planes in smooth], torch.Generator().manual_seed(seed)

    def simulate(numbers: Tensor) -> Tensor:
        own = physical_shape(numbers) if shape is None else shape
        lookup, found = raw_lookup(numbers[None], own, rendering.white), []
        for index, (_, phase) in enumerate(noisy):
            image = rendering.develop(rendering.demosaick(F.pixel_shuffle(clean[index], 2), phase), rounded=False)
            white = torch.randn(1, 1, *image.shape[-2:], generator=generator)
            made = _planes(rendering.raw(render_noise(rendering, image, lookup, white, phase), phase))
            clean[index] = (clean[index] + CORRECTION * (smooth[index] - _smoothed(made))).clamp(0, rendering.white)
            found.append(_energy(made).flatten())
        return torch.cat(found)[flat]

    energies = torch.cat([_energy(planes).flatten() for planes in real])[flat]
    return _law_by_simulation(mean, energies, colour[flat], simulate, is_blind=True)


def _planes(raw: Tensor) -> Tensor:
    """Put the four positions of the mosaic into planes: (1, 1, H, W) -> (1, 4, H // 2, W // 2)."""
    return F.pixel_unshuffle(raw[..., : raw.shape[-2] // 2 * 2, : raw.shape[-1] // 2 * 2], 2)


def _smoothed(planes: Tensor) -> Tensor:
    """Take the mean of each pixel's surroundings, mirrored at the borders."""
    return F.avg_pool2d(F.pad(planes, (SMOOTHED,) * 4, mode="reflect"), 2 * SMOOTHED + 1, 1)


def _inner(planes: Tensor) -> Tensor:
    """Leave out the border, which has no second difference."""
    return planes[..., 1:-1, 1:-1]


def _energy(planes: Tensor) -> Tensor:
    """Measure the mean square of second differences around each pixel that has one."""
    return _smoothed(F.conv2d(planes, SECOND_DIFFERENCE, groups=4).square())


def _gradient(planes: Tensor) -> Tensor:
    down, right = planes[..., 2:, 1:-1] - planes[..., :-2, 1:-1], planes[..., 1:-1, 2:] - planes[..., 1:-1, :-2]
    return down.abs() + right.abs()


class ReducedPixels:
    """Pixels of a pair of frames that were reduced without antialiasing, and their simulation.

    Each is the mean of 2x2 native ones about ((i + .5) H / h - .5, (j + .5) W / w - .5), weighted bilinearly, as
    `cv2.resize` makes it; so far apart that their noises do not depend on each other. Native surroundings are simulated
    with the pixel's own colour. At most `SAMPLED` pixels are taken, of levels 1 to 254 if there are any.

    clean, noisy: of the frames (3, h, w) in [0, 1], of the pixels taken (P, 3). frame: height and width before.
    """

    def __init__(self, clean: Tensor, noisy: Tensor, frame: tuple[int, int], seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)
        places = [((torch.arange(n) + 0.5) * of / n - 0.5).clamp(0, of - 2) for n, of in zip(clean.shape[1:], frame)]
        kept = _known([clean[None]]).nonzero()[:, 0]
        kept = kept[torch.randperm(len(kept), generator=self.generator)[:SAMPLED]]
        rows, columns = places[0][kept // clean.shape[2]], places[1][kept % clean.shape[2]]
        below, right = rows % 1, columns % 1
        vertical, horizontal = torch.stack([1 - below, below]), torch.stack([1 - right, right])
        self.weights = vertical[:, None] * horizontal[None]  # (2, 2, P)
        self.first = TILE // 2 - 1  # of the four in a tile
        self.parity = (rows.long() - self.first) % 2 * 2 + (columns.long() - self.first) % 2
        self.clean, self.noisy = clean.flatten(1)[:, kept].T, noisy.flatten(1)[:, kept].T

    def simulate(self, rendering: Rendering, numbers: Tensor, shape: Tensor) -> Tensor:
        """Make noisy pixels, rounded to 8 bit: shot and read noise (3, 2) -> (P, 3)."""
        lookup, fakes = raw_lookup(numbers[None], shape, rendering.white), torch.empty_like(self.clean)
        inside = slice(self.first, self.first + 2)
        for origin in self.parity.unique().tolist():
            here = self.parity == origin
            tiles = self.clean[here][:, :, None, None].expand(-1, -1, TILE, TILE)
            white = torch.randn(len(tiles), 1, TILE, TILE, generator=self.generator)
            made = render_noise(rendering, tiles, lookup, white, rendering.phase((origin // 2, origin % 2)))
            four = made[..., inside, inside].permute(2, 3, 1, 0)  # (2, 2, 3, P)
            fakes[here] = (four * self.weights[:, :, None, here]).sum((0, 1)).T
        return (fakes * 255).round() / 255


def estimate_noise_of_reduced(rendering: Rendering, pixels: ReducedPixels, shape: Tensor) -> Tensor:
    """Estimate shot and read noise from a pair of frames that were reduced without antialiasing: -> (3, 2)."""

    def read_off(values: Tensor, is_clean: bool = False) -> Tensor:
        return rendering.camera(values.T[None, :, None], is_clean)[0, :, 0].flatten()  # (3 P,)

    def simulate(numbers: Tensor) -> Tensor:
        return read_off(pixels.simulate(rendering, numbers, shape))

    colour = torch.arange(3).repeat_interleave(len(pixels.clean))
    return _law_by_simulation(read_off(pixels.clean, True), read_off(pixels.noisy), colour, simulate)


def _law_by_simulation(
    raw: Tensor, real: Tensor, colour: Tensor, simulate: Callable[[Tensor], Tensor], is_blind: bool = False
) -> Tensor:
    """Find the shot and read noise whose simulation has the variances of the real read-off values: -> (3, 2).

    raw, real, colour: (P,) clean raw value, read-off noisy one and number of the colour; simulate: turns (3, 2) into
    simulated read-off values, (P,). is_blind: values are local energies, of which a low quantile is compared, and the
    law has a prior.
    """
    group = torch.empty_like(colour)
    for c in range(3):
        values = raw[colour == c]
        shares = torch.linspace(0, 1, BINS + 1)[1:-1]
        edges = torch.quantile(values[:: max(1, len(values) // 100_000)], shares)
        group[colour == c] = c * BINS + torch.bucketize(values, edges)

    count = torch.bincount(group, minlength=3 * BINS).double()
    rows = [(group == number).nonzero()[:, 0] for number in range(3 * BINS)] if is_blind else []

    def means(values: Tensor) -> Tensor:
        return torch.bincount(group, values.double(), 3 * BINS) / count.clamp(min=1)

    def levels(values: Tensor) -> Tensor:
        if is_blind:
            quantiles = [
                _at_most(values[of], 100_000).quantile(LOW) if len(of) else values.new_zeros(()) for of in rows
            ]
            return torch.stack(quantiles).double().clamp(min=LEAST)
        return (means((values - raw) ** 2) - means(values - raw) ** 2).clamp(min=LEAST)

    middle, wanted, numbers = means(raw), levels(real), torch.empty(3, 2)
    target = wanted
    for number in range(ROUNDS):
        for c in range(3):
            here = slice(c * BINS, (c + 1) * BINS)
            seen = [of[here][count[here] > 0] for of in (middle, target, count)]
            numbers[c] = _law_with_prior(*seen[:2]) if is_blind else _law(*seen)
        if number < ROUNDS - 1:
            law = (numbers[:, :1] * middle.view(3, BINS) + numbers[:, 1:]).flatten()
            target = law * (wanted / levels(simulate(numbers))).clamp(0.2, 5)
    return numbers


def _law_with_prior(raw: Tensor, variance: Tensor) -> Tensor:
    """Fit variance = shot * raw + read where little is seen, by its logarithm, with a prior: two (B,) -> (2,).

    In photoelectrons read noise is read / shot^2: `READ_NOISE`, up to a factor of about `READ_NOISE_FACTOR`. Found by
    Gauss-Newton steps in log shot and log (read / shot^2).
    """
    wanted = variance.clamp(min=LEAST).log()
    shot, electrons = (wanted.exp() / (raw + LEAST)).median().log(), torch.tensor(READ_NOISE).double().log()
    prior = electrons.clone()
    for _ in range(GAUSS_NEWTON):
        read = (electrons + 2 * shot).exp()
        made = shot.exp() * raw + read
        slopes = torch.stack([(made + read) / made, read / made], 1) / SEEN_ERROR
        slopes = torch.cat([slopes, torch.tensor([[0.0, 1 / math.log(READ_NOISE_FACTOR)]]).double()])
        off = torch.cat([(wanted - made.log()) / SEEN_ERROR, (prior - electrons)[None] / math.log(READ_NOISE_FACTOR)])
        step = torch.linalg.lstsq(slopes, off[:, None]).solution[:, 0].clamp(-1, 1)
        shot, electrons = shot + step[0], electrons + step[1]
    return torch.stack([shot.exp(), (electrons + 2 * shot).exp()]).clamp(min=LEAST).float()


def _law(raw: Tensor, variance: Tensor, weight: Tensor) -> Tensor:
    """Fit variance = shot * raw + read by weighted least squares, neither below 0: three (B,) -> (2,)."""
    variance = variance.clamp(min=LEAST)
    scale = (weight.sqrt() / variance)[:, None]
    design = torch.stack([raw, torch.ones_like(raw)], 1) * scale
    found = torch.linalg.lstsq(design, variance[:, None] * scale).solution[:, 0]
    if (found < 0).any():  # the best on the border
        shot, read = design.T
        wanted = (variance[:, None] * scale)[:, 0]
        alone = [(shot @ wanted) / (shot @ shot), (read @ wanted) / (read @ read)]
        found = torch.stack([alone[0], 0 * alone[0]]) if found[1] < 0 else torch.stack([0 * alone[1], alone[1]])
    return found.clamp(min=LEAST).float()


def physical_shape(numbers: Tensor) -> Tensor:
    """Compute the shape that raw noise has by physics: (..., 3, 2) shot and read noise -> (4, 3, K).

    Shot noise is Poisson distributed: where it makes a share f of the variance, the skewness is f^2 / ratio, of signal
    to noise. Raw values below 0 are cut, and clean images are means of many frames, which the cut has raised: the noise
    of a pixel begins at an m below its clean value, where E max(m + z, 0) = m Phi(m) + phi(m) = ratio, z N(0, 1).
    """
    ratio, normal = torch.tensor(SNR_KNOTS).clamp(min=LEAST_RATIO), torch.distributions.Normal(0.0, 1.0)
    low, high = torch.full_like(ratio, -9), ratio.clone()
    for _ in range(40):  # bisection
        middle = (low + high) / 2
        is_below = middle * normal.cdf(middle) + normal.log_prob(middle).exp() < ratio
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    shape = torch.zeros(4, 3, len(ratio))
    shape[1] = low - ratio
    shot, read = numbers.reshape(-1, 3, 2).clamp(min=LEAST).log().mean(0).exp().T[..., None]
    std = (shot * ratio + (shot * ratio).square().add(4 * read).sqrt()) / 2  # of a pixel whose value is ratio * std
    shape[2] = ((shot * ratio / std).square() / ratio / SKEWNESS).clamp(max=MOST_SKEW)
    return shape


class _Prepared(NamedTuple):
    """A pair as `fit_shape` compares it: real noise and its groups, all (1, 1 or 3, H, W)."""

    clean: Tensor
    noise: Tensor
    group: Tensor  # by channel, position in the 2x2 mosaic and clean level
    raw: Tensor
    raw_std: Tensor  # by the law
    raw_noise: Tensor  # read off, over raw_std
    raw_group: Tensor  # by colour and ratio of signal to noise
    phase: Phase

    def cut(self, top: int, left: int, side: int) -> "_Prepared":
        """Cut out a square."""
        inside = (..., slice(top, top + side), slice(left, left + side))
        clean, noise, group, raw, raw_std, raw_noise, raw_group = (image[inside] for image in self[:-1])
        return _Prepared(clean, noise, group, raw, raw_std, raw_noise, raw_group, self.phase)


def fit_shape(
    renderings: Sequence[Rendering],
    pairs: Sequence[Pair],
    scenes: Sequence[int],
    numbers: Tensor,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit the shape of raw noise, and what levels 255 and 0 of clean images stand for: -> (4, 3, K), (3,), (3,).

    The last two are `overexposed` and `out_of_gamut` of `noise.pipeline.Rendering`.

    renderings: of each scene; scenes: the number of each pair's scene; numbers: (S, 3, 2) shot and read noise of the
    scenes. Minimises, by Adam, the quadratic Wasserstein distance between real and simulated noise in groups of like
    pixels, of read-off raw noise and of the images' own. Real and simulated images are rounded, clipped and read off
    alike.
    """
    prepared = _prepare(renderings, pairs, scenes, numbers)
    side = min(CROP, *(min(pair.clean.shape[-2:]) // 2 * 2 for pair in pairs))
    scale, raw_scale = _scales(prepared)
    generator = torch.Generator().manual_seed(seed)
    shape, beyond = torch.zeros(4, 3, len(SNR_KNOTS)), torch.zeros(2, 3)  # beyond: logarithms of factors
    groups = [{"params": [one.requires_grad_(True)]} for one in (shape, beyond)]
    optimiser = torch.optim.Adam(groups, lr=SHAPE_RATE, betas=(0.9, 0.99))
    rates = [SHAPE_RATE, BEYOND_RATE]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, SHAPE_STEPS, pct_start=0.1)
    above = (renderings[0].overexposed - 1).clamp(*ABOVE)  # far above 1 there would be no noise to learn from

    def stands_for() -> tuple[Tensor, Tensor]:
        over, out = above * beyond[0].exp(), renderings[0].out_of_gamut * beyond[1].exp()
        return 1 + over.clamp(max=MOST_ABOVE), out.clamp(max=MOST_OUTSIDE)

    for _ in tqdm(range(SHAPE_STEPS), desc="raw noise", unit="step", leave=False, disable=None):
        overexposed, out_of_gamut = stands_for()
        lookup, compared = raw_lookup(numbers, shape, renderings[0].white), []
        for index in torch.randperm(len(pairs), generator=generator)[:CROPS].tolist():
            one, scene = prepared[index], scenes[index]
            room = torch.tensor(one.clean.shape[-2:]) - side
            top, left = (2 * (torch.rand(2, generator=generator) * (room // 2 + 1)).long()).tolist()
            cut = one.cut(top, left, side)
            white = torch.randn(1, 1, side, side, generator=generator)
            own = Lookup(*(getattr(lookup, name)[scene : scene + 1] for name in LOOKED_UP))
            rendering = replace(renderings[scene], overexposed=overexposed, out_of_gamut=out_of_gamut)
            made = render_noise(rendering, cut.clean, own, white, one.phase, rounded=False)
            made = made + ((made * 255).round() / 255 - made).detach()  # rounded, with the gradient of the unrounded
            compared.append((cut, made - cut.clean, (rendering.raw(made, one.phase) - cut.raw) / cut.raw_std))
        loss = _distance([(cut.group, cut.noise, made) for cut, made, _ in compared], scale)
        loss = loss + _distance([(cut.raw_group, cut.raw_noise, raw) for cut, _, raw in compared], raw_scale)
        loss = loss + RIDGE * (shape.square().mean() + beyond.square().mean())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    overexposed, out_of_gamut = stands_for()
    return shape.detach(), overexposed.detach(), out_of_gamut.detach()


def _prepare(
    renderings: Sequence[Rendering], pairs: Sequence[Pair], scenes: Sequence[int], numbers: Tensor
) -> list[_Prepared]:
    """Compute noise and groups of all pairs; the groups by ratio of signal to noise hold about as many pixels each."""
    found = []
    ratios: list[list[Tensor]] = [[], [], []]
    for (clean, noisy, phase), scene in zip(pairs, scenes):
        rendering, (height, width) = renderings[scene], clean.shape[-2:]
        raw, colour = (
            rendering.raw(clean, phase, is_clean=True),
            colour_index(clean.shape, phase).expand(1, 1, -1, -1),
        )
        law = numbers[scene][colour]  # (1, 1, H, W, 2)
        raw_std = (law[..., 0] * raw.clamp(min=0) + law[..., 1]).sqrt()
        level = (clean * 255 / LEVEL).long() + (clean * 255 > 0.5).long() + (clean * 255 > 254.5)
        position = torch.arange(height)[:, None] % 2 * 2 + torch.arange(width) % 2
        group = (torch.arange(3)[:, None, None] * 4 + position) * LEVELS + level
        raw_noise = (rendering.raw(noisy, phase) - raw) / raw_std
        found.append(_Prepared(clean, noisy - clean, group, raw, raw_std, raw_noise, colour, phase))
        for c in range(3):
            ratios[c].append((raw / raw_std)[colour == c][::7])
    shares = torch.linspace(0, 1, RATIOS + 1)[1:-1]
    edges = [torch.quantile(_at_most(torch.cat(of), 500_000), shares) for of in ratios]
    return [
        one._replace(
            raw_group=one.raw_group * RATIOS
            + sum((one.raw_group == c) * torch.bucketize(one.raw / one.raw_std, edges[c]) for c in range(3))
        )
        for one in found
    ]


def _at_most(values: Tensor, count: int) -> Tensor:
    return values[:: -(-len(values) // count)]


def _scales(prepared: list[_Prepared]) -> tuple[Tensor, Tensor]:
    """Compute the std of each group's real noise, of the images and of the read-off raw values."""
    scales = []
    for name, groups, least in (("noise", 12 * LEVELS, 1 / 255), ("raw_noise", 3 * RATIOS, 0.1)):
        sums = torch.zeros(3, groups, dtype=torch.float64)
        for one in prepared:
            values = getattr(one, name).double().flatten()
            group = (one.group if name == "noise" else one.raw_group).flatten()
            sums += torch.stack([torch.bincount(group, values**power, groups) for power in range(3)])
        mean, square = sums[1:] / sums[0].clamp(min=1)
        scales.append((square - mean**2).clamp(min=least**2).sqrt().float())
    return scales[0], scales[1]


def _distance(compared: Sequence[tuple[Tensor, Tensor, Tensor]], scale: Tensor) -> Tensor:
    """Compute the quadratic Wasserstein distance of real and simulated noise within groups, over the groups' std.

    compared: (group, real, simulated) of each image, all of one shape.
    """
    group, real, fake = (torch.cat([of.flatten() for of in part]) for part in zip(*compared))
    order = [(group.double() * 1e4 + values.detach().double()).argsort() for values in (real, fake)]
    return ((real[order[0]] - fake[order[1]]) / scale[group[order[0]]]).square().mean()
