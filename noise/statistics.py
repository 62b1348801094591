"""Statistics of measured noise: moments by clean level, freed from clipping, and correlations by lag and channel."""

import math
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metrics import noise_of

MAX_LAG = 8  # pixels; ten SIDD scenes' noise: .41 to .47 at lag 1, at most .06 at 3, beyond 4 only content's .04
CELL_LAG = MAX_LAG // 2  # cells of 2x2 pixels
GREY_LEVELS = np.arange(256)  # clean 8-bit values
THRESHOLDS = torch.arange(255, dtype=torch.float64) + 0.5  # where rounding goes on to the next 8-bit value
ROUNDS = 150  # of the fixed point
# A level's moments are taken over a box of levels about it, the smallest that holds this many: a std good to 2 %.
FEWEST_PIXELS = 1000
WIDEST = 4  # levels to either side; one that needs more has the noise of the nearest that does not


class NoiseLevels(NamedTuple):
    """Noise by clean level, (C, 256) in grey levels: Gaussian (mean, std), and what clipping makes of it."""

    mean: Tensor
    std: Tensor
    clipped_mean: Tensor
    clipped_std: Tensor
    linear: Tensor  # correlation of the clipped noise with the Gaussian


def level_moments(clean_uint8: np.ndarray, noisy_uint8: np.ndarray) -> np.ndarray:
    """Sum 1, noise and noise^2 (first axis) over the pixels of each channel and clean level.

    (H, W, C), (H, W, C) -> (3, C, 256). Whole numbers in float64, so that sums over images are exact.
    """
    noise = noise_of(noisy_uint8, clean_uint8)
    sums = np.empty((3, noise.shape[2], GREY_LEVELS.size))
    for c in range(noise.shape[2]):
        levels, values = clean_uint8[..., c].ravel(), noise[..., c].ravel().astype(np.float64)
        sums[:, c] = [np.bincount(levels, power, GREY_LEVELS.size) for power in (None, values, values * values)]
    return sums


def noise_levels(moments: np.ndarray) -> NoiseLevels:
    """Turn sums of `level_moments` into noise level functions: smoothed, freed from clipping, filled up."""
    until = np.pad(moments.cumsum(-1), ((0, 0), (0, 0), (1, 0)))
    fewest = np.minimum(FEWEST_PIXELS, moments[0].sum(-1, keepdims=True))
    boxes, reach = np.zeros_like(moments), np.full(moments.shape[1:], GREY_LEVELS.size)
    for radius in reversed(GREY_LEVELS):  # the widest box has enough pixels for every level
        box = until[..., np.minimum(GREY_LEVELS + radius, 255) + 1] - until[..., np.maximum(GREY_LEVELS - radius, 0)]
        enough = box[0] >= fewest
        boxes[:, enough], reach[enough] = box[:, enough], radius
    mean, square = boxes[1] / boxes[0], boxes[2] / boxes[0]
    mean, std = before_clipping(*map(torch.from_numpy, (mean, np.sqrt(np.maximum(square - mean**2, 0)))))
    for c in range(len(reach)):
        known = np.flatnonzero(reach[c] <= max(WIDEST, reach[c].min()))
        nearest = known[np.abs(GREY_LEVELS[:, None] - known).argmin(1)]
        mean[c], std[c] = mean[c, nearest], std[c, nearest]
    return NoiseLevels(mean, std, *clipped_moments(mean, std))


def white_std(moments: np.ndarray) -> float:
    """Find the std, in grey levels, of zero-mean white noise that has, once clipped, the std of all the noise."""
    _, mean, square = moments.sum((1, 2)) / moments[0].sum()
    std = wanted = math.sqrt(max(square - mean**2, 0))
    share = torch.from_numpy(moments[0].sum(0) / moments[0].sum())
    for _ in range(50):  # fixed point
        found_mean, found_std, _ = clipped_moments(torch.zeros(GREY_LEVELS.size), torch.full((GREY_LEVELS.size,), std))
        found = (share * (found_std**2 + found_mean**2)).sum() - (share * found_mean).sum() ** 2
        std = min(std * wanted / max(math.sqrt(found), 1e-6), 4 * wanted)
    return std


def clipped_moments(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute what clipping and rounding to 8 bit leave of Gaussian noise on each clean level.

    Takes its mean and std in grey levels, (..., 256) float64 each. Returns three alike: mean and standard deviation of
    round(clip(level + noise, 0, 255)) - level, and its correlation with the noise before (below 1; 0 where nothing
    varies). The 8-bit value y is the number of thresholds that are passed, so E[y] = sum P(k),
    E[y^2] = sum (2k + 1) P(k), and dE[y]/dmean gives the covariance (Stein).
    """
    centre = torch.arange(256, dtype=torch.float64) + mean
    score = (centre[..., None] - THRESHOLDS) / std.clamp(min=1e-6)[..., None]  # (..., 256, 255)
    passed = torch.special.ndtr(score)
    first, second = passed.sum(-1), (passed * (2 * THRESHOLDS)).sum(-1)
    clipped_std = (second - first.square()).clamp(min=0).sqrt()
    covariance = torch.exp(-score.square() / 2).sum(-1) / (2 * torch.pi) ** 0.5  # with noise / std
    linear = torch.where(clipped_std > 1e-3, covariance / clipped_std.clamp(min=1e-3), 0.0)
    return first - torch.arange(256), clipped_std, linear.clamp(max=1)


def before_clipping(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Undo `clipped_moments`: find the Gaussian noise that has, clipped and rounded, the measured moments per level.

    Takes and returns mean and std in grey levels, (..., 256) float64 each. A fixed-point iteration, damped because they
    depend on each other where most is clipped. Neither goes farther from the measured mean than four times the measured
    std: moments that no clipped Gaussian has (rare bright noise on black) are only approached.
    """
    farthest = 4 * std
    new_mean, new_std = mean.clone(), std.clone()
    for _ in range(ROUNDS):
        found_mean, found_std, linear = clipped_moments(new_mean, new_std)
        slope = (linear * found_std / new_std.clamp(min=1e-6)).clamp(0.03, 1)  # dE[y]/dmean
        new_mean = new_mean + (mean - found_mean) / (2 * slope)
        new_mean = new_mean.maximum(mean - farthest).minimum(mean + farthest)
        new_std = (new_std * (std / found_std.clamp(min=1e-6)).clamp(0.5, 2) ** 0.25).minimum(farthest)
    return new_mean, new_std


def lagged_sums(
    clean_uint8: np.ndarray, noisy_uint8: np.ndarray, levels: NoiseLevels, origin: tuple[int, int] = (0, 0)
) -> tuple[np.ndarray, ...]:
    """Sum up products of the noise with itself, by lag, channel and position in the 2x2 mosaic.

    Two (H, W, C) -> (4 C, 4 C, 9, 9), the same, (4 C,). The planes are channel, row and column of the mosaic, as
    `pixel_unshuffle` orders them; lags are in cells of 2x2 pixels; origin: the image's first pixel in the mosaic.
    The noise is normalised, z = (noise - mean) / std of its level, and weighted with w, its correlation with the noise
    before clipping: at a pair of pixels E[z z'] is about w w' times the wanted correlation (first order of Mehler's
    formula), so least squares takes the sums of w w' z z' and of (w w')^2. The third is the sum of w^2. Each image's
    own mean is removed: it is an error of the mean's curve, not a pattern.
    """
    tables = (table.float().numpy() for table in (levels.clipped_mean, levels.clipped_std, levels.linear))
    channels = range(clean_uint8.shape[2])
    mean, std, weight = (np.stack([table[c][clean_uint8[..., c]] for c in channels]) for table in tables)
    noise = noise_of(noisy_uint8, clean_uint8).transpose(2, 0, 1)
    z = np.divide(weight * (noise - mean), std, out=np.zeros_like(mean), where=weight > 0)
    square = weight * weight
    offset = z.sum((1, 2), dtype=np.float64) / np.maximum(square.sum((1, 2), dtype=np.float64), 1e-3)
    z -= square * offset.astype(np.float32)[:, None, None]
    z, square = (_by_phase(planes, origin) for planes in (z, square))
    return _lag_products(z), _lag_products(square), square.sum((1, 2), dtype=np.float64)


def _by_phase(planes: np.ndarray, origin: tuple[int, int]) -> np.ndarray:
    """Give each position of the mosaic a plane: (C, H, W) -> (4 C, cells, cells); zeros complete cut cells."""
    margins = [(first, (first + side) % 2) for first, side in zip(origin, planes.shape[1:])]
    padded = np.pad(planes, ((0, 0), *margins))
    cells = padded.reshape(len(padded), padded.shape[1] // 2, 2, padded.shape[2] // 2, 2)
    return cells.transpose(0, 2, 4, 1, 3).reshape(4 * len(padded), *cells.shape[1::2])


def _lag_products(planes: np.ndarray) -> np.ndarray:
    """Sum planes[i, y, x] planes[j, y + dy, x + dx] over y and x: (P, h, w) float32 -> (P, P, 9, 9) float64."""
    import scipy.fft  # here, for models that are fitted need none

    size = [scipy.fft.next_fast_len(side + CELL_LAG, real=True) for side in planes.shape[1:]]  # zeros: no wrap
    spectra = scipy.fft.rfft2(planes, size)
    lags = np.arange(-CELL_LAG, CELL_LAG + 1)
    sums = np.empty((len(planes), len(planes), lags.size, lags.size))
    for i, j in combinations_with_replacement(range(len(planes)), 2):  # one by one: whole frames need the memory
        sums[i, j] = scipy.fft.irfft2(spectra[i].conj() * spectra[j], size)[lags[:, None], lags]
        sums[j, i] = sums[i, j, ::-1, ::-1]
    return sums


def over_phases(sums: np.ndarray) -> np.ndarray:
    """Add `lagged_sums` up over the mosaic: (4 C, 4 C, 9, 9) -> (C, C, 17, 17) by lag in pixels; (4 C,) -> (C,)."""
    if sums.ndim == 1:
        return sums.reshape(-1, 4).sum(1)
    channels, lags = len(sums) // 4, np.arange(-MAX_LAG, MAX_LAG + 1)
    by_phase = sums.reshape(channels, 2, 2, channels, 2, 2, *sums.shape[2:])
    total = np.zeros((channels, channels, lags.size, lags.size))
    for y, x in np.ndindex(2, 2):  # of the first pixel; its partner is in cell (y + dy) // 2, row (y + dy) % 2 of it
        rows, columns = (y + lags)[:, None], x + lags
        cells = by_phase[:, y, x, :, rows % 2, columns % 2, rows // 2 + CELL_LAG, columns // 2 + CELL_LAG]
        total += cells.transpose(2, 3, 0, 1)
    return total


def correlation(products: np.ndarray, weights: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Compute correlations before clipping, 1 at lag 0, from sums of `lagged_sums` or of `over_phases` of them."""
    middle, planes = products.shape[-1] // 2, range(len(products))
    covariance = np.divide(products, weights, out=np.zeros_like(products), where=weights > 1e-3)
    variance = _variance(products, total)
    scale = np.sqrt(np.outer(variance, variance))[:, :, None, None]
    found = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-3).clip(-1, 1)
    found[planes, planes, middle, middle] = 1
    return found


def phase_covariance(products: np.ndarray, weights: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Compute the covariance before clipping by position in the mosaic, from sums of `lagged_sums`.

    (4 C, 4 C, 9, 9); the mean of a channel's four variances is 1.
    """
    variance = _variance(products, total).reshape(-1, 4)
    mean = variance.mean(1, keepdims=True)
    std = np.sqrt(np.divide(variance, mean, out=np.ones_like(variance), where=mean > 0)).ravel()
    return correlation(products, weights, total) * np.outer(std, std)[:, :, None, None]


def _variance(products: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Compute each plane's variance, over that of its levels."""
    middle = products.shape[-1] // 2
    return np.diagonal(products[:, :, middle, middle]) / np.maximum(total, 1e-3)


def colouring_kernel(covariance: Tensor, size: int) -> Tensor:
    """Find a filter that gives white noise this covariance: (C, C, 2L+1, 2L+1) -> (C, C, size, size) for `conv2d`.

    covariance[i, j, L + dy, L + dx] = E[c_i(y, x) c_j(y + dy, x + dx)], taken as 0 beyond lag L. Its Fourier transform
    is the cross-spectral density S, and any K with K K^H = S is the response of such a filter. Taken is S^(1/2): of all
    of them nearest to the identity, so its taps gather about the middle (Desolneux, Moisan, Ronsin 2012, "A compact
    representation of random phase and Gaussian textures"). Negative eigenvalues, which errors of measurement and the
    end at lag L bring, are set to 0. Cutting to `size` changes correlations by at most about 2e where the lost taps
    hold a share e^2 of the energy; last, each channel is rescaled to its variance. Raises ValueError for an even size
    and for a channel without variance.
    """
    lag = covariance.shape[-1] // 2
    if size % 2 == 0:
        raise ValueError(f"a colouring kernel of {size}x{size}, expected an odd size")
    variance = covariance[..., lag, lag].diagonal().double()
    if not (variance > 0).all():
        raise ValueError("a channel of the covariance has variance 0, expected noise in all of them")
    grid = 4 * max(size, 2 * lag + 1)  # so wide that the root's tails, wrapped around, do not matter
    padded = F.pad(covariance.double(), (0, grid - 2 * lag - 1, 0, grid - 2 * lag - 1))
    spectrum = torch.fft.fft2(padded.roll((-lag, -lag), (2, 3))).permute(2, 3, 0, 1)  # (grid, grid, C, C)
    power, basis = torch.linalg.eigh((spectrum + spectrum.mH) / 2)
    root = (basis * power.clamp(min=0).sqrt()[..., None, :]) @ basis.mH
    taps = torch.fft.ifft2(root.permute(2, 3, 0, 1)).real.roll((size // 2, size // 2), (2, 3))[..., :size, :size]
    return (taps * (variance / taps.square().sum((1, 2, 3))).sqrt()[:, None, None, None]).float()


def filter_noise(z: Tensor, kernel: Tensor) -> Tensor:
    """Filter white noise without padding, (N, C, H, W), (C, C, K, K) -> (N, C, H - K + 1, W - K + 1).

    A kernel of (4 C, 4 C, K, K) filters cells of 2x2 pixels, H and W even, so that the result depends on the position
    in a mosaic of such cells: -> (N, C, H - 2 K + 2, W - 2 K + 2).
    """
    if kernel.shape[1] == z.shape[1]:
        return F.conv2d(z, kernel)
    return F.pixel_shuffle(F.conv2d(F.pixel_unshuffle(z, 2), kernel), 2)
