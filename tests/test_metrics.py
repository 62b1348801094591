"""Metrics against second implementations: naive loops, scikit-image, SciPy."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import skimage.metrics

import metrics
from metrics import autocorrelation, channel_correlation, kld, kld_exact, noise_of, psnr, ssim

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(0, 10, (40, 50, 3)).round().astype(np.int16)
FAKE = RANDOM.normal(0, 12, (40, 50, 3)).round().astype(np.int16)
IMAGE = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)
OTHER = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)
FLOAT_FAKE = RANDOM.normal(1, 12, (40, 50, 3))
PAIR_METRICS = ("kld_naflow", "kld_flow", "akld", "acf", "psd", "xcorr", "std", "bias")  # of real, fake noise


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


@pytest.mark.parametrize("name", ["kld", "kld_exact", *PAIR_METRICS])
def test_distance_from_itself_is_zero_and_the_ratio_one(name):
    assert getattr(metrics, name)(REAL, REAL) == (1 if name == "std" else 0)


def test_ssim_equals_its_formula_with_gaussian_filters():
    x, y = IMAGE.astype(float), (0.7 * IMAGE + 0.3 * OTHER).astype(np.uint8).astype(float)

    def blur(image):
        return scipy.ndimage.gaussian_filter(image, (1.5, 1.5, 0), truncate=3.5)

    mx, my = blur(x), blur(y)
    covariance = [blur(one * other) - blur(one) * blur(other) for one, other in ((x, x), (y, y), (x, y))]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    quality = (2 * mx * my + c1) * (2 * covariance[2] + c2) / ((mx**2 + my**2 + c1) * (sum(covariance[:2]) + c2))
    inside = quality[5:-5, 5:-5]  # the window of 11 pixels fits
    assert ssim(x.astype(np.uint8), y.astype(np.uint8)) == pytest.approx(inside.mean(axis=(0, 1)).mean())


@pytest.mark.parametrize(
    "name, edges, unit, smoothed",
    [
        ("kld_naflow", np.arange(-128, 129) / 128, 255, False),
        ("kld_flow", np.arange(-260, 261, 4), 1, True),
    ],
)
def test_binned_divergence_equals_counting_one_value_after_another(name, edges, unit, smoothed):
    counts = []
    for noise in (REAL, FLOAT_FAKE):
        count = [0] * (len(edges) - 1)
        for value in (noise / unit).ravel():
            count[int(np.searchsorted(edges, value, side="right")) - 1] += 1
        counts.append(count)
    if smoothed:
        p, q = ([(c + 1) / (sum(count) + len(count)) for c in count] for count in counts)
    else:
        p, q = ([c / sum(count) for c in count] for count in counts)
    expected = sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0 and b > 0)
    assert getattr(metrics, name)(REAL, FLOAT_FAKE) == pytest.approx(expected)


def test_akld_equals_its_formula_and_averages_over_fakes():
    taps = np.array([1, 3.5, 7, 9, 7, 3.5, 1]) / 32
    fakes = np.stack([FLOAT_FAKE, 2 * FLOAT_FAKE, np.zeros_like(FLOAT_FAKE)])

    def local_variance(noise):
        kernel = np.outer(taps, taps)[:, :, None]
        return np.maximum(scipy.ndimage.correlate((noise / 255) ** 2, kernel, mode="mirror"), 1e-10)

    expected = []
    for fake in fakes:
        r = np.clip(local_variance(fake) / local_variance(REAL), 0.1, 10)
        expected.append(0.5 * np.mean(np.log(1 / r) + r - 1))
    assert metrics.akld(REAL, fakes) == pytest.approx(np.mean(expected))
    assert metrics.akld(REAL, fakes[0]) == pytest.approx(expected[0])


def test_akld_between_two_draws_of_white_noise_is_the_documented_floor():
    one, other = (np.random.default_rng(seed).normal(0, 10, (256, 256, 3)) for seed in (0, 1))
    assert metrics.akld(one.round().astype(np.int16), other) == pytest.approx(0.04, abs=0.01)  # spec: .04


def test_acf_is_the_rms_over_lags_without_the_middle():
    real, fake = autocorrelation(REAL), autocorrelation(FAKE)
    squares = [
        (real[c, i, j] - fake[c, i, j]) ** 2 for c in range(3) for i in range(9) for j in range(9) if (i, j) != (4, 4)
    ]
    assert metrics.acf(REAL, FAKE) == pytest.approx(math.sqrt(sum(squares) / (3 * 80)))


def test_spectrum_equals_averaging_a_full_fourier_transform_ring_by_ring():
    height, width = REAL.shape[:2]
    expected = []
    for channel in range(3):
        plane = REAL[..., channel] - REAL[..., channel].mean()
        power = np.abs(np.fft.fft2(plane)) ** 2 / plane.size
        rings = [[] for _ in range(8)]
        for y, fy in enumerate(np.fft.fftfreq(height)):
            for x, fx in enumerate(np.fft.fftfreq(width)):
                if 0 < (radius := math.hypot(fy, fx)) <= 0.5:
                    rings[min(int(radius * 16), 7)].append(power[y, x])
        expected.append([10 * math.log10(np.mean(ring)) for ring in rings])
    np.testing.assert_allclose(metrics.spectrum(REAL, rings=8), expected)


def test_white_noise_has_its_variance_at_every_frequency():
    noise = np.random.default_rng(0).normal(0, 10, (512, 512, 1))
    # A ring of k frequencies scatters by 4.3 / sqrt(k) dB; the first has some 200.
    np.testing.assert_allclose(metrics.spectrum(noise), 20, atol=1)


def test_psd_of_doubled_noise_is_six_decibels():
    assert metrics.psd(REAL, 2 * REAL) == pytest.approx(20 * math.log10(2))


def test_psd_of_a_fake_without_noise_is_finite():
    floor = 10 * math.log10(1 / 12)  # the power of rounding
    expected = np.sqrt(np.nanmean((metrics.spectrum(REAL) - floor) ** 2))
    assert metrics.psd(REAL, np.zeros_like(REAL)) == pytest.approx(expected)


def test_xcorr_is_the_largest_difference_off_the_diagonal():
    real, fake = (np.corrcoef(noise.reshape(-1, 3), rowvar=False) for noise in (REAL, FAKE))
    expected = max(abs(real[i, j] - fake[i, j]) for i in range(3) for j in range(3) if i != j)
    assert metrics.xcorr(REAL, FAKE) == pytest.approx(expected)


def test_nlf_equals_sorting_every_pixel_into_intensities():
    clean = np.random.default_rng(1).choice(np.array([3, 15, 16, 90, 250], np.uint8), (100, 50, 3))
    clean[:5, :, 0] = 40  # 250 pixels: too few to count
    real = (np.random.default_rng(2).normal(0, 5 + clean / 16)).round().astype(np.int16)
    fake = np.random.default_rng(3).normal(1, 8, clean.shape)
    stds, means = [], []
    for channel in range(3):
        for low in range(0, 256, 16):
            inside = (clean[..., channel] >= low) & (clean[..., channel] < low + 16)
            if np.count_nonzero(inside) >= 500:
                one, other = real[..., channel][inside], fake[..., channel][inside]
                stds.append(abs(other.std() - one.std()) / one.std())
                means.append(abs(other.mean() - one.mean()))
    assert len(stds) == 12  # 4 intensities (3 and 15 share one), 3 channels
    assert metrics.nlf(real, fake, clean) == pytest.approx(np.mean(stds))
    assert metrics.nlf_mean(real, fake, clean) == pytest.approx(np.mean(means))


def test_nlf_of_an_image_too_small_for_any_bin_is_unknown():
    assert math.isnan(metrics.nlf(REAL[:8, :8], REAL[:8, :8], IMAGE[:8, :8]))


def test_std_is_a_ratio_and_bias_the_worst_channel():
    fake = 2 * REAL + np.array([0, -3, 1])
    assert metrics.std(REAL, fake) == pytest.approx(np.std(fake) / np.std(REAL))
    expected = max(abs(fake[..., c].mean() - REAL[..., c].mean()) for c in range(3))
    assert metrics.bias(REAL, fake) == pytest.approx(expected)


def test_std_against_an_image_without_noise_is_unknown():
    nothing = np.zeros_like(REAL)
    assert math.isnan(metrics.std(nothing, nothing))
    assert math.isnan(metrics.std(nothing, REAL))


def test_score_of_white_gaussian_noise_is_one_and_of_the_truth_zero():
    white = {"kld_exact": 0.07, "acf": 0.12, "xcorr": 0.5, "nlf": 0.3}  # measured on SIDD, see metrics/structure.py
    assert metrics.structure_score(white) == pytest.approx(1)
    assert metrics.structure_score(white | {"nlf": float("nan")}) == pytest.approx(1)
    assert metrics.structure_score(dict.fromkeys(white, 0)) == 0


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


@pytest.mark.parametrize("name", PAIR_METRICS)
@pytest.mark.parametrize(
    "real, fake, message",
    [
        (REAL / 255, FAKE, "real noise is float64"),
        (REAL, FAKE[:-1], "shapes"),
        (REAL[0], FAKE[0], "expected"),
        (REAL, FAKE * np.nan, "not finite"),
        (REAL[:0], FAKE[:0], "expected"),
    ],
)
def test_wrong_pair_of_noises_is_refused(name, real, fake, message):
    with pytest.raises(ValueError, match=message):
        getattr(metrics, name)(real, fake)


@pytest.mark.parametrize(
    "metric, given, message",
    [
        (metrics.kld_naflow, (REAL, FLOAT_FAKE * 100), "clipped"),
        (metrics.nlf, (REAL, FAKE, IMAGE / 255), "clean image"),
        (metrics.nlf, (REAL, FAKE, IMAGE[:-1]), "clean image"),
        (ssim, (IMAGE[:10], IMAGE[:10]), "11 pixels"),
        (ssim, (IMAGE[..., 0], IMAGE[..., 0]), "11 pixels"),
        (noise_of, (IMAGE[:-1], IMAGE), r"shape|uint8"),
        (noise_of, (IMAGE.astype(np.float32), IMAGE), r"shape|uint8"),
        (autocorrelation, (REAL[:4],), "lag 4"),
    ],
)
def test_what_a_metric_is_not_defined_for_is_refused(metric, given, message):
    with pytest.raises(ValueError, match=message):
        metric(*given)
