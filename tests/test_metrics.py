"""Metrics against second implementations."""

import numpy as np
import pytest
import scipy.stats
import skimage.metrics

from utils.metrics import autocorrelation, channel_correlation, kld, kld_exact, noise_of, psnr

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(0, 10, (40, 50, 3)).round().astype(np.int16)
FAKE = RANDOM.normal(0, 12, (40, 50, 3)).round().astype(np.int16)
IMAGE = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)
OTHER = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)


def test_psnr_equals_scikit_image():
    assert psnr(IMAGE, OTHER) == pytest.approx(skimage.metrics.peak_signal_noise_ratio(OTHER, IMAGE))


def test_equal_images_have_infinite_psnr():
    assert psnr(IMAGE, IMAGE) == float("inf")


def test_noise_does_not_wrap_around():
    assert noise_of(np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)).min() == -255


def test_kld_equals_sorting_every_pixel_into_bins_and_dropping_the_empty_ones():
    edges = [-1000] + [-0.1 + i * 0.2 / 64 for i in range(65)] + [1000]
    p, q = (np.histogram(noise.astype(np.float64).ravel() / 255, edges)[0] / noise.size for noise in (REAL, FAKE))
    expected = sum(a * np.log(a / b) for a, b in zip(p, q) if a > 0 and b > 0)
    assert kld(REAL, FAKE) == pytest.approx(expected)


def test_kld_exact_equals_scipys_entropy_of_smoothed_histograms():
    counts = [[np.count_nonzero(noise == level) + 1 for level in range(-255, 256)] for noise in (REAL, FAKE)]
    assert kld_exact(REAL, FAKE) == pytest.approx(scipy.stats.entropy(*counts))


@pytest.mark.parametrize("metric", [kld, kld_exact])
def test_divergence_from_itself_is_zero(metric):
    assert metric(REAL, REAL) == 0


def test_fake_without_noise_can_have_negative_kld_but_not_kld_exact():
    assert kld(REAL, np.zeros_like(REAL)) < 0
    assert kld_exact(REAL, np.zeros_like(REAL)) > 1


def test_autocorrelation_equals_naive_loops():
    found = autocorrelation(REAL, max_lag=3)
    height, width = REAL.shape[:2]
    for channel in range(3):
        plane = REAL[..., channel] - REAL[..., channel].mean()
        for dy in range(-3, 4):
            for dx in range(-3, 4):
                rows, columns = range(max(0, -dy), min(height, height - dy)), range(max(0, -dx), min(width, width - dx))
                products = [plane[y, x] * plane[y + dy, x + dx] for y in rows for x in columns]
                assert found[channel, dy + 3, dx + 3] == pytest.approx(np.mean(products) / np.mean(plane**2))


def test_flat_noise_has_no_correlation_instead_of_nan():
    flat = np.zeros((20, 20, 3), np.int16)
    assert not autocorrelation(flat).any()
    assert not channel_correlation(flat).any()


def test_channel_correlation_equals_numpys():
    expected = np.corrcoef(REAL.reshape(-1, 3), rowvar=False)
    np.testing.assert_allclose(channel_correlation(REAL), expected, atol=1e-12)


@pytest.mark.parametrize("metric", [kld, kld_exact])
@pytest.mark.parametrize("wrong", [REAL / 255.0, np.full((4, 4, 3), 256), np.zeros((0, 4, 3), np.int16)])
def test_wrong_noise_is_refused(metric, wrong):
    with pytest.raises(ValueError, match="grey levels"):
        metric(REAL, wrong)


@pytest.mark.parametrize("wrong", [IMAGE[:-1], IMAGE.astype(np.float32)])
def test_wrong_images_are_refused(wrong):
    with pytest.raises(ValueError, match=r"shape|uint8"):
        noise_of(wrong, IMAGE)


def test_image_smaller_than_the_lags_is_refused():
    with pytest.raises(ValueError, match="lag 4"):
        autocorrelation(REAL[:4])
