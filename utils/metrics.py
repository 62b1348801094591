"""Image and noise metrics: arrays in, numbers out. Images are (H, W, C) uint8, noise is in grey levels."""

import numpy as np
import scipy.fft

# 66 bins, in noise / 255 units. The outermost two catch everything beyond +-0.1 (NeCA's protocol).
KLD_EDGES = np.concatenate([[-1000.0], np.arange(65) * (0.2 / 64) - 0.1, [1000.0]])


def noise_of(noisy_uint8: np.ndarray, clean_uint8: np.ndarray) -> np.ndarray:
    """Subtract two images without wrapping: (H, W, C), (H, W, C) uint8 -> (H, W, C) int16 in -255..255.

    Raises ValueError when an image is not uint8 or the shapes differ.
    """
    for name, image in (("first", noisy_uint8), ("second", clean_uint8)):
        if image.dtype != np.uint8:
            raise ValueError(f"the {name} image is {image.dtype}, expected uint8")
    if noisy_uint8.shape != clean_uint8.shape:
        raise ValueError(f"the images differ in shape: {noisy_uint8.shape} and {clean_uint8.shape}")
    return noisy_uint8.astype(np.int16) - clean_uint8


def psnr(image_uint8: np.ndarray, reference_uint8: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, peak 255; infinite for equal images. Raises as `noise_of`."""
    mse = np.mean(noise_of(image_uint8, reference_uint8).astype(np.float64) ** 2)
    return float(10 * np.log10(255.0**2 / mse)) if mse > 0 else float("inf")


def kld(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Kullback-Leibler divergence KL(real || fake) in nats, as NeCA measures it; channels pooled.

    Takes integer noise in grey levels (`noise_of`), the fake one of a clipped and rounded image. Bins that are empty
    in either histogram are dropped and nothing is smoothed, so this is no divergence in the strict sense: it can be
    negative, and a fake without noise scores well. Never judge a model by it alone.
    """
    real, fake = _kld_histogram(real_noise), _kld_histogram(fake_noise)
    both = (real > 0) & (fake > 0)
    return float(np.sum(real[both] * np.log(real[both] / fake[both])))


def kld_exact(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """KL(real || fake) in nats over all 511 grey-level differences, channels pooled, with add-one smoothing.

    Takes integer noise in grey levels, as `kld` does. Never negative, and 0 only for equal histograms.
    """
    real, fake = ((count + 1) / (count.sum() + count.size) for count in map(_count_levels, (real_noise, fake_noise)))
    return float(np.sum(real * np.log(real / fake)))


def _kld_histogram(noise: np.ndarray) -> np.ndarray:
    """Integer noise in -255..255 -> (66,) frequencies. Counts whole grey levels first, so nothing is sorted."""
    return np.histogram(np.arange(-255, 256) / 255.0, KLD_EDGES, weights=_count_levels(noise))[0] / noise.size


def _count_levels(noise: np.ndarray) -> np.ndarray:
    """Integer noise -> (511,) pixels of each difference -255..255."""
    if not np.issubdtype(noise.dtype, np.integer) or noise.size == 0:
        raise ValueError(f"expected integer noise in grey levels, got {noise.dtype} of shape {noise.shape}")
    if noise.min() < -255 or noise.max() > 255:
        raise ValueError(f"noise from {noise.min()} to {noise.max()}, expected grey levels within -255..255")
    return np.bincount(noise.ravel().astype(np.int64) + 255, minlength=511)


def autocorrelation(noise: np.ndarray, max_lag: int = 4) -> np.ndarray:
    """Normalised autocorrelation per channel: (H, W, C) -> (C, 2 L + 1, 2 L + 1), lag (0, 0) in the middle.

    The mean is removed per channel; each lag is averaged over the pixels that have a partner at that lag. A channel
    without any variation has autocorrelation 0 everywhere. Raises ValueError when the image is too small for the lags.
    """
    height, width = noise.shape[:2]
    if noise.ndim != 3 or min(height, width) <= max_lag:
        raise ValueError(f"noise of shape {noise.shape}: expected (H, W, C) with both sides above lag {max_lag}")
    centred = np.moveaxis(noise - noise.mean(axis=(0, 1), keepdims=True), 2, 0)  # (C, H, W)
    size = [scipy.fft.next_fast_len(side + max_lag, real=True) for side in (height, width)]  # zero padding: no wrap
    spectrum = scipy.fft.rfft2(centred, size)
    sums = scipy.fft.irfft2(np.abs(spectrum) ** 2, size)
    lags = np.arange(-max_lag, max_lag + 1)
    pairs = np.outer(height - np.abs(lags), width - np.abs(lags))  # pixels that have a partner
    covariance = sums[:, lags[:, None], lags[None, :]] / pairs  # (C, 2 L + 1, 2 L + 1)
    variance = covariance[:, max_lag, max_lag, None, None]
    return np.divide(covariance, variance, out=np.zeros_like(covariance), where=variance > 1e-12)


def channel_correlation(noise: np.ndarray) -> np.ndarray:
    """Pearson correlation between the channels' noise: (H, W, C) -> (C, C); 0 for a channel without variation."""
    centred = (noise - noise.mean(axis=(0, 1), keepdims=True)).reshape(-1, noise.shape[2])
    covariance = centred.T @ centred
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)
