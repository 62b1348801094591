"""Structure of noise between neighbours, channels and intensities, which no histogram of noise can see.

A distance comes in two steps, a description of one noise and the distance of two descriptions, so that a real noise
that many fakes are compared with is described once. What takes no time, such as `std`, compares two noises.
"""

import math
from functools import lru_cache

import numpy as np
import scipy.fft

from metrics.histogram import check_noise, check_pair

MAX_LAG = 4  # pixels
RINGS = 32  # of the spectrum, from 0 to 0.5 cycles per pixel
QUANTISATION = 1 / 12  # grey levels^2, variance of rounding: no noise in an 8-bit image is less
NLF_BINS = 16  # of clean intensity, 16 grey levels each
NLF_PIXELS = 500  # fewest of a bin that counts
# What white Gaussian noise of each image's true std scores on SIDD: mean over 14 crops of ten scenes of its five
# cameras (kld_exact .069, acf .122, xcorr .525, nlf .294), rounded. So white noise scores about 1, the truth about 0.
WHITE_NOISE = {"kld_exact": 0.07, "acf": 0.12, "xcorr": 0.5, "nlf": 0.3}


def acf(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Compare autocorrelations: RMS difference over channels and lags up to 4 pixels each way, but (0, 0)."""
    check_pair(real_noise, fake_noise)
    return acf_distance(autocorrelation(real_noise), autocorrelation(fake_noise))


def acf_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the RMS difference of two `autocorrelation`s, (C, 2 L + 1, 2 L + 1) each, lag (0, 0) left out."""
    off_centre = np.ones(real.shape[1:], bool)
    off_centre[real.shape[1] // 2, real.shape[2] // 2] = False
    return float(np.sqrt(np.mean(np.square(real - fake)[:, off_centre])))


def autocorrelation(noise: np.ndarray, max_lag: int = MAX_LAG) -> np.ndarray:
    """Normalise the autocorrelation of each channel: (H, W, C) -> (C, 2 L + 1, 2 L + 1), lag (0, 0) in the middle.

    The mean is removed per channel; each lag is averaged over the pixels that have a partner at that lag. A channel
    without any variation has autocorrelation 0 everywhere. Raises ValueError when the image is too small for the lags.
    """
    check_noise(noise)
    height, width = noise.shape[:2]
    if min(height, width) <= max_lag:
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


def psd(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Compare power spectra: RMS difference in dB over the rings of `spectrum` and the channels."""
    check_pair(real_noise, fake_noise)
    return psd_distance(spectrum(real_noise), spectrum(fake_noise))


def psd_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the RMS difference of two `spectrum`s, (C, rings) each in dB; unknown rings (nan) are left out."""
    return float(np.sqrt(np.nanmean(np.square(real - fake))))


def spectrum(noise: np.ndarray, rings: int = RINGS) -> np.ndarray:
    """Average the power spectrum of each channel radially: (H, W, C) -> (C, rings) in dB re one grey level squared.

    The mean is removed; white noise of variance v has 10 log10(v) everywhere. The power is averaged over rings of
    equal width up to 0.5 cycles per pixel and floored at that of rounding, 1/12, which keeps a fake without noise
    finite. Rings without a frequency, in small images, are nan.
    """
    check_noise(noise)
    height, width = noise.shape[:2]
    centred = np.moveaxis(noise - noise.mean(axis=(0, 1), keepdims=True), 2, 0)  # (C, H, W)
    power = np.square(np.abs(scipy.fft.rfft2(centred))) / (height * width)
    ring, weight = _rings(height, width, rings)
    counts = np.bincount(ring, weight, rings + 1)
    sums = np.stack([np.bincount(ring, weight * plane.ravel(), rings + 1) for plane in power])
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)[:, :rings]
    return 10 * np.log10(np.maximum(means, QUANTISATION))


@lru_cache(maxsize=8)
def _rings(height: int, width: int, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ring of each of rfft2's frequencies, the last for those in none, and how often each one counts."""
    vertical, horizontal = scipy.fft.fftfreq(height)[:, None], scipy.fft.rfftfreq(width)[None]
    frequency = np.hypot(vertical, horizontal)
    ring = np.minimum((frequency * 2 * rings).astype(np.int64), rings - 1)
    ring[(frequency > 0.5) | (frequency == 0)] = rings
    weight = np.full(frequency.shape, 2.0)  # rfft2 leaves out the mirrored half
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    return ring.ravel(), weight.ravel()


def spectrum_frequencies(rings: int = RINGS) -> np.ndarray:
    """Return the middles of the rings of `spectrum`, (rings,) in cycles per pixel."""
    return (np.arange(rings) + 0.5) / (2 * rings)


def xcorr(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Compare channel correlations: largest absolute difference off the diagonal; nan for one channel."""
    check_pair(real_noise, fake_noise)
    return xcorr_distance(channel_correlation(real_noise), channel_correlation(fake_noise))


def xcorr_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the largest absolute difference of two `channel_correlation`s, (C, C) each, off the diagonal."""
    between = np.abs(real - fake)[~np.eye(len(real), dtype=bool)]
    return float(between.max()) if between.size else math.nan


def channel_correlation(noise: np.ndarray) -> np.ndarray:
    """Correlate the channels' noise (Pearson): (H, W, C) -> (C, C); 0 for a channel without variation."""
    check_noise(noise)
    centred = (noise - noise.mean(axis=(0, 1), keepdims=True)).reshape(-1, noise.shape[2])
    covariance = centred.T @ centred
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    return np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 0)


def nlf(real_noise: np.ndarray, fake_noise: np.ndarray, clean_uint8: np.ndarray) -> float:
    """Compare noise level functions: mean relative difference of the std over intensity bins and channels.

    nan when no bin has the 500 pixels that count.
    """
    return nlf_distance(*_level_functions(real_noise, fake_noise, clean_uint8))


def nlf_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Compare the stds of two `noise_level_function`s, relative to the real one (at least that of rounding, 0.29)."""
    relative = np.abs(fake[1] - real[1]) / np.maximum(real[1], np.sqrt(QUANTISATION))
    return _mean_of_known(relative)


def nlf_mean(real_noise: np.ndarray, fake_noise: np.ndarray, clean_uint8: np.ndarray) -> float:
    """Compare the means of the noise in the same way: mean absolute difference in grey levels."""
    return nlf_mean_distance(*_level_functions(real_noise, fake_noise, clean_uint8))


def nlf_mean_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the mean difference of the means of two `noise_level_function`s, in grey levels."""
    return _mean_of_known(np.abs(fake[0] - real[0]))


def _level_functions(real_noise: np.ndarray, fake_noise: np.ndarray, clean_uint8: np.ndarray) -> list[np.ndarray]:
    check_pair(real_noise, fake_noise)
    return [noise_level_function(noise_level_sums(noise, clean_uint8)) for noise in (real_noise, fake_noise)]


def _mean_of_known(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def noise_level_sums(noise: np.ndarray, clean_uint8: np.ndarray) -> np.ndarray:
    """Sum up the noise by clean intensity: pixels, sum, sum of squares, (3, C, 16) float64. Sums of images add up."""
    check_noise(noise)
    if clean_uint8.dtype != np.uint8 or clean_uint8.shape != noise.shape:
        raise ValueError(
            f"clean image of {clean_uint8.shape} {clean_uint8.dtype}, expected uint8 of the noise's shape {noise.shape}"
        )
    channels = noise.shape[2]
    cell = (clean_uint8 // (256 // NLF_BINS) + NLF_BINS * np.arange(channels)).ravel()
    values = noise.ravel().astype(np.float64)
    sums = [np.bincount(cell, weights, channels * NLF_BINS) for weights in (None, values, values * values)]
    return np.stack(sums).astype(np.float64).reshape(3, channels, NLF_BINS)


def noise_level_function(sums: np.ndarray) -> np.ndarray:
    """Return the noise's mean and std by clean intensity, in grey levels: `noise_level_sums` (3, C, 16) -> (2, C, 16).

    nan where a bin has fewer than 500 pixels.
    """
    count, total, squares = sums
    count = np.where(count >= NLF_PIXELS, count, np.nan)
    mean = total / count
    return np.stack([mean, np.sqrt(np.maximum(squares / count - mean**2, 0))])


def std(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Divide the standard deviations, fake over real; nan where the real noise is less than rounding's, 0.29.

    Such images, black or saturated ones, have no noise to compare with.
    """
    check_pair(real_noise, fake_noise)
    real = real_noise.std()
    return float(fake_noise.std() / real) if real >= np.sqrt(QUANTISATION) else float("nan")


def bias(real_noise: np.ndarray, fake_noise: np.ndarray) -> float:
    """Return the largest absolute difference of a channel's mean, in grey levels."""
    check_pair(real_noise, fake_noise)
    return float(np.abs(fake_noise.mean(axis=(0, 1)) - real_noise.mean(axis=(0, 1))).max())


def structure_score(values: dict[str, float]) -> float:
    """Average kld_exact, acf, xcorr and nlf, each over what white Gaussian noise scores; lower is better.

    0 is the truth, 1 as bad as white Gaussian noise of the true std. None of the four alone tells a good fake: each is
    blind to what the others see. A fake without noise scores some 20, since kld_exact is 5 to 8 then. What is unknown
    (nan: nlf of images too small for it, xcorr of one channel) is left out.
    """
    terms = [values[name] / scale for name, scale in WHITE_NOISE.items() if not math.isnan(values[name])]
    return sum(terms) / len(terms)
