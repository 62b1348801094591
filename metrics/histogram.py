"""Divergences between histograms of noise, and between local variances: what the field's tables contain.

Natural logarithms, KL(real || fake), channels pooled. All of them are blind to how the noise is arranged: the first
four to every order of the pixels, AKLD to all but the local variance. See `metrics.structure` for the rest.
"""

import cv2
import numpy as np

# 66 bins, in noise / 255 units. The outermost two catch everything beyond +-0.1 (NeCA's protocol).
KLD_EDGES = np.concatenate([[-1000.0], np.arange(65) * (0.2 / 64) - 0.1, [1000.0]])
NAFLOW_BINS = 256  # on [-1, 1]
FLOW_EDGES = np.arange(-260, 261, 4)  # grey levels
AKLD_TAPS = np.array([0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125])
AKLD_FLOOR, AKLD_RATIO = 1e-10, 10.0  # of the local variance in [0, 1] units, and of fake over real


def kld(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Return the Kullback-Leibler divergence KL(real || fake) in nats, as NeCA measures it.

    Takes whole grey levels (`noise_of`), the fake one of a clipped and rounded image. Bins that are empty in either
    histogram are dropped and nothing is smoothed, so this is no divergence in the strict sense: it can be negative,
    and a fake without noise scores well. Never judge a model by it alone.
    """
    levels = np.arange(-255, 256) / 255.0
    real, fake = (
        np.histogram(levels, KLD_EDGES, weights=count_levels(noise))[0] / noise.size
        for noise in (real_noise, fake_noise)
    )
    return _divergence_of_common_bins(real, fake)


def kld_naflow(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Return KL(real || fake) in nats as NAFlow measures it: 256 bins on [-1, 1], empty ones dropped.

    The fake noise, in grey levels, is that of a clipped image, not rounded. Can be negative, as `kld`.
    """
    check_pair(real_noise, fake_noise)
    if np.abs(fake_noise).max() > 255.001:
        raise ValueError(f"fake noise up to {np.abs(fake_noise).max():.1f} grey levels, expected a clipped image's")
    levels, bounds = np.arange(-255, 256) / 255.0, (-1.0, 1.0)
    real = np.histogram(levels, NAFLOW_BINS, bounds, weights=count_levels(real_noise))[0] / real_noise.size
    fake = np.histogram(np.clip(fake_noise / 255.0, *bounds), NAFLOW_BINS, bounds)[0] / fake_noise.size
    return _divergence_of_common_bins(real, fake)


def _divergence_of_common_bins(real: np.ndarray, fake: np.ndarray) -> float:
    both = (real > 0) & (fake > 0)
    return float(np.sum(real[both] * np.log(real[both] / fake[both])))


def kld_flow(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Return KL(real || fake) in nats as Noise Flow measures it, with add-one smoothing.

    The fake noise, in grey levels, is not rounded and need not be clipped. Bins are 4 grey levels wide, from -260 to
    260; what lies beyond is left out.
    """
    check_pair(real_noise, fake_noise)
    bounds = FLOW_EDGES[0], FLOW_EDGES[-1]
    counts = [np.histogram(noise, len(FLOW_EDGES) - 1, bounds)[0] for noise in (real_noise, fake_noise)]
    return _smoothed_divergence(*counts)


def kld_exact(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Return KL(real || fake) in nats over all 511 grey-level differences, with add-one smoothing.

    Takes whole grey levels, as `kld` does. Never negative, and 0 only for equal histograms.
    """
    return _smoothed_divergence(count_levels(real_noise), count_levels(fake_noise))


def _smoothed_divergence(*counts: np.ndarray) -> float:
    real, fake = ((count + 1) / (count.sum() + count.size) for count in counts)
    return float(np.sum(real * np.log(real / fake)))


def count_levels(noise: np.ndarray) -> np.ndarray:
    """Count the pixels of each difference -255..255 of whole grey levels, (511,); nothing is sorted."""
    if not np.issubdtype(noise.dtype, np.integer) or noise.size == 0:
        raise ValueError(f"expected integer noise in grey levels, got {noise.dtype} of shape {noise.shape}")
    if noise.min() < -255 or noise.max() > 255:
        raise ValueError(f"noise from {noise.min()} to {noise.max()}, expected grey levels within -255..255")
    return np.bincount(noise.ravel().astype(np.int64) + 255, minlength=511)


def akld(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Average the KL divergence between local Gaussians of real and fake noise (DANet; Yue et al. 2020).

    real_noise: (H, W, C); fake_noise: (H, W, C), or (L, H, W, C) for the average over L independent fakes, in grey
    levels, of clipped images, not rounded. With the local variance v, squared noise blurred by seven fixed taps, and
    r = v_fake / v_real within 0.1 to 10: 0.5 mean(ln(1 / r) + r - 1). Two draws of one process already score .04
    (white) to .075 (correlated): print that floor beside the value.
    """
    fakes = fake_noise if fake_noise.ndim == 4 else fake_noise[None]
    values = []
    for fake in fakes:
        check_pair(real_noise, fake)
        ratio = np.clip(_local_variance(fake) / _local_variance(real_noise), 1 / AKLD_RATIO, AKLD_RATIO)
        values.append(0.5 * np.mean(ratio - 1 - np.log(ratio)))
    if not values:
        raise ValueError("no fake noise at all, expected (H, W, C) or (L, H, W, C) with L from 1")
    return float(np.mean(values))


def _local_variance(noise: np.ndarray) -> np.ndarray:
    if min(noise.shape[:2]) <= len(AKLD_TAPS) // 2:
        raise ValueError(f"noise of shape {noise.shape}: expected sides above {len(AKLD_TAPS) // 2} pixels")
    squares = np.square(noise / 255.0)  # [0, 1] units
    return np.maximum(cv2.sepFilter2D(squares, -1, AKLD_TAPS, AKLD_TAPS, borderType=cv2.BORDER_REFLECT_101), AKLD_FLOOR)


def check_noise(noise: np.ndarray) -> None:
    """Raise ValueError for what is no (H, W, C) array of finite numbers."""
    if noise.ndim != 3 or noise.size == 0:
        raise ValueError(f"noise of shape {noise.shape}, expected (H, W, C)")
    if not np.issubdtype(noise.dtype, np.number):
        raise ValueError(f"noise is {noise.dtype}, expected numbers")
    if not np.issubdtype(noise.dtype, np.integer) and not np.isfinite(noise).all():
        raise ValueError("the noise holds values that are not finite")


def check_pair(real_noise: np.ndarray, fake_noise: np.ndarray) -> None:
    """Raise ValueError for what are no two noises of one image, both in grey levels.

    The real one has to be in whole grey levels, as that of 8-bit images is: so noise in units of [0, 1] is found out.
    """
    if real_noise.shape != fake_noise.shape:
        raise ValueError(f"noises of shapes {real_noise.shape} and {fake_noise.shape}, expected the same (H, W, C)")
    if not np.issubdtype(real_noise.dtype, np.integer):
        raise ValueError(f"real noise is {real_noise.dtype}, expected integer noise in grey levels (noise_of)")
    for noise in (real_noise, fake_noise):
        check_noise(noise)
