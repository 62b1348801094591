"""Baselines fitted to noise whose truth is known; tolerances are five standard errors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.pairs import read_files
from metrics import autocorrelation, channel_correlation, noise_of
from noise.copula_fit import fit_copula
from noise.fitting import fingerprint, fit_noise, load_fits, save_fits
from noise.interface import Images
from noise.kinds import FITTED, fitted_model
from noise.statistics import MAX_LAG, correlation, filter_noise, lagged_sums, level_moments, noise_levels, over_phases
from tests.test_noise_models import covariance_of, draw
from utils.image import to_uint8, write_image

SIDE, FRAMES = 128, 4
PIXELS = FRAMES * SIDE * SIDE  # of a channel
LEVELS = np.array([0, 2, 5, 10, 20, 30, 60, 90, 120, 150, 180, 210, 235, 250])
ERRORS = 5  # standard errors
ISO_STD = {100: 3.0, 1600: 12.0}  # grey levels at mid-grey


def true_curves(iso: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and std by level before clipping, (3, 256) in grey levels."""
    levels = np.arange(256)
    std = ISO_STD[iso] * np.sqrt(0.3 + levels / 180) * np.array([[1.0], [0.7], [1.3]])
    return -0.3 * std * (1 - levels / 255), std


def true_field(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of variance 1, (H, W, 3): lag-1 correlation 0.4 along x; green has 0.6 of the red one above it."""
    share = 0.2**0.5  # taps a, b with a^2 + b^2 = 1 and a b = 0.4: b^2 = 0.2
    white = rng.standard_normal((height + 1, width + 1, 3))
    smooth = (1 - share**2) ** 0.5 * white[:, 1:] + share * white[:, :-1]
    return np.stack([smooth[1:, :, 0], 0.6 * smooth[:-1, :, 0] + 0.8 * smooth[1:, :, 1], smooth[1:, :, 2]], axis=-1)


def make_pair(folder: Path, name: str, iso: int, side: int, rng: np.random.Generator) -> tuple[Path, Path]:
    """Write a pair whose clean pixels have random levels, each channel its own."""
    clean = LEVELS[rng.integers(0, len(LEVELS), (side, side, 3))].astype(np.uint8)
    mean, std = (np.stack([curve[c][clean[..., c]] for c in range(3)], -1) for curve in true_curves(iso))
    noisy = to_uint8((clean + mean + std * true_field(side, side, rng)) / 255)
    paths = folder / f"{name}_clean.png", folder / f"{name}_noisy.png"
    for path, image in zip(paths, (clean, noisy)):
        write_image(path, image)
    return paths


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> dict[int, list[tuple[Path, Path]]]:
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    return {iso: [make_pair(folder, f"{iso}_{i}", iso, SIDE, rng) for i in range(FRAMES)] for iso in ISO_STD}


def read(pair: tuple[Path, Path]) -> list[tuple]:
    return [(pair[1], *read_files(*pair), (0, 0))]


@pytest.fixture(scope="module")
def fitted(pairs):
    return fit_noise(pairs, read, num_workers=2)


def redrawn(pairs: list[tuple[Path, Path]], model) -> tuple[np.ndarray, np.ndarray]:
    """Real and fake noise of all pairs, clipped and rounded: (F, H, W, 3), (F, H, W, 3)."""
    images = [read_files(*pair) for pair in pairs]
    clean = torch.from_numpy(np.stack([clean for clean, _ in images])).permute(0, 3, 1, 2).float() / 255
    fake = to_uint8((clean + draw(model, clean)).permute(0, 2, 3, 1).numpy())
    return (
        np.stack([noise_of(noisy, clean) for clean, noisy in images]),
        np.stack([noise_of(one, clean) for one, (clean, _) in zip(fake, images)]),
    )


@pytest.mark.parametrize("iso", ISO_STD)
def test_noise_level_functions_are_those_before_clipping(fitted, iso):
    mean, std = true_curves(iso)
    inside = [level for level in LEVELS if 60 <= level <= 180]  # nothing is clipped here: plain sampling errors
    count = PIXELS / len(LEVELS)
    for c in range(3):
        for level in inside:
            found_std = 255 * fitted[iso].level_std[c, level].item()
            found_mean = 255 * fitted[iso].level_mean[c, level].item()
            assert found_std == pytest.approx(std[c, level], rel=ERRORS / (2 * count) ** 0.5)
            assert found_mean == pytest.approx(mean[c, level], abs=ERRORS * std[c, level] / count**0.5)
        # Near black clipping leaves less than half the information, hence twice the errors and more.
        found_std = 255 * fitted[iso].level_std[c, 5].item()
        assert found_std == pytest.approx(std[c, 5], rel=3 * ERRORS / (2 * count) ** 0.5)


@pytest.mark.parametrize("iso", ISO_STD)
@pytest.mark.parametrize("name", ["heteroscedastic", "coloured"])
def test_clipped_noise_has_the_real_moments_on_every_level(pairs, fitted, iso, name):
    real, fake = redrawn(pairs[iso], FITTED[name](fitted[iso]))
    clean = np.stack([read_files(*pair)[0] for pair in pairs[iso]])
    for c in range(3):
        for level in LEVELS:
            here = clean[..., c] == level
            one, other = (noise[..., c][here].astype(float) for noise in (real, fake))
            count, std = one.size, max(one.std(), 0.1)
            assert other.mean() == pytest.approx(one.mean(), abs=ERRORS * std * (2 / count) ** 0.5)
            # var(s^2) = (kurtosis - 1) s^4 / n, which is far from Gaussian where most is clipped
            kurtosis = ((one - one.mean()) ** 4).mean() / std**4
            assert other.std() == pytest.approx(one.std(), abs=ERRORS * std * (kurtosis / 2 / count) ** 0.5)


@pytest.mark.parametrize("iso", ISO_STD)
def test_awgn_has_the_std_of_all_noise(pairs, fitted, iso):
    real, fake = redrawn(pairs[iso], FITTED["awgn"](fitted[iso]))
    assert fake.std() == pytest.approx(real.std(), rel=ERRORS * (2 / real.size) ** 0.5)


@pytest.mark.parametrize("iso", ISO_STD)
def test_kernel_has_the_correlations_before_clipping(fitted, iso):
    found = covariance_of(fitted[iso].kernel, 1)
    error = ERRORS * 2 / PIXELS**0.5 + 0.01  # least squares loses some pixels to clipping; first order only
    for (i, j, dy, dx), wanted in {
        (0, 0, 0, 1): 0.4,
        (0, 0, 1, 0): 0.0,
        (1, 1, 0, 1): 0.4,
        (2, 2, 0, -1): 0.4,
        (0, 1, 1, 0): 0.6,  # green below red
        (0, 1, 1, 1): 0.24,
        (0, 1, -1, 0): 0.0,
        (1, 0, -1, 0): 0.6,
        (0, 2, 0, 0): 0.0,
        (0, 1, 0, 0): 0.0,
    }.items():
        assert found[i, j, 1 + dy, 1 + dx].item() == pytest.approx(wanted, abs=error), (i, j, dy, dx)


@pytest.mark.parametrize("iso", ISO_STD)
def test_coloured_noise_looks_like_the_real_one_after_clipping(pairs, fitted, iso):
    real, fake = redrawn(pairs[iso], FITTED["coloured"](fitted[iso]))
    for metric in (autocorrelation, channel_correlation):
        one, other = (np.mean([metric(noise) for noise in frames], axis=0) for frames in (real, fake))
        assert np.abs(one - other).max() < ERRORS * (2 * 2 / PIXELS) ** 0.5  # two samples; sum of correlations^2 < 2


def test_level_moments_equal_naive_loops():
    rng = np.random.default_rng(2)
    clean, noisy = rng.integers(0, 5, (6, 7, 3), np.uint8), rng.integers(0, 256, (6, 7, 3), np.uint8)
    expected = np.zeros((3, 3, 256))
    for y in range(6):
        for x in range(7):
            for c in range(3):
                noise = int(noisy[y, x, c]) - int(clean[y, x, c])
                expected[:, c, clean[y, x, c]] += (1, noise, noise * noise)
    assert np.array_equal(level_moments(clean, noisy), expected)


@pytest.mark.parametrize("origin", [(0, 0), (1, 0), (0, 1)])
def test_lagged_sums_over_the_phases_equal_naive_loops(pairs, origin):
    clean, noisy = (image[:13, :11] for image in read_files(*pairs[1600][0]))
    levels = noise_levels(sum(level_moments(*read_files(*pair)) for pair in pairs[1600]))
    weight, z = np.zeros((2, 13, 11, 3))
    for c in range(3):
        mean, std, linear = (table[c].numpy()[clean[..., c]] for table in levels[2:])
        weight[..., c], z[..., c] = linear, (noisy[..., c] - 1.0 * clean[..., c] - mean) / std
    z -= (weight * z).sum((0, 1)) / (weight**2).sum((0, 1)) * weight  # the offset before clipping, as seen after it
    products, weights, total = map(over_phases, lagged_sums(clean, noisy, levels, origin))
    assert total == pytest.approx((weight**2).sum((0, 1)))
    for i, j in np.ndindex(3, 3):
        for dy, dx in ((0, 0), (0, 1), (1, 0), (-1, 2), (3, -2), (8, 8), (-8, -8), (-8, 5)):
            expected = [0.0, 0.0]
            for y in range(max(0, -dy), min(13, 13 - dy)):
                for x in range(max(0, -dx), min(11, 11 - dx)):
                    both = weight[y, x, i] * weight[y + dy, x + dx, j]
                    expected[0] += both * z[y, x, i] * z[y + dy, x + dx, j]
                    expected[1] += both**2
            lag = MAX_LAG + dy, MAX_LAG + dx
            assert [products[i, j][lag], weights[i, j][lag]] == pytest.approx(expected, abs=1e-3)


def interpolated(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Noise on a checkerboard of measured pixels, std 8; the others are the mean of left and right: (H, W, 3)."""
    noise = rng.normal(0, 8, (height, width + 2, 3))
    gaps = np.add.outer(np.arange(height), np.arange(width)) % 2 == 1
    noise[:, 1:-1][gaps] = ((noise[:, :-2] + noise[:, 2:]) / 2)[gaps]
    return noise[:, 1:-1]


@pytest.mark.parametrize("origin", [(0, 0), (0, 1)])
def test_phase_kernel_has_the_variance_and_covariance_of_each_position_of_the_mosaic(origin):
    rng, clean = np.random.default_rng(0), np.full((129, 160, 3), 128, np.uint8)
    noise = [interpolated(129, 161, rng)[:, origin[1] : origin[1] + 160] for _ in range(4)]
    images = [("", clean, np.round(clean + one).astype(np.uint8), origin) for one in noise]
    model = FITTED["coloured-phase"](fit_noise({100: [images]}, lambda group: group, 0)[100])
    white = torch.randn(4, 3, 128 + model.margin, 127 + model.margin, generator=torch.Generator().manual_seed(0))
    shown = torch.full((4, 3, 128, 127), 128 / 255)
    for first in ((0, 0), (0, 1), (1, 1)):
        made = 255 * model.noise(Images(shown, origins=[first] * 4), white)
        for y, x in np.ndindex(2, 2):
            here = made[:, :, y:-2:2, x:-2:2]
            neighbour = made[:, :, y:-2:2, x + 1 :][..., ::2][..., : here.shape[-1]]
            measured = (y + x + sum(first)) % 2 == 0
            # 48,000 values: 3 % are five standard errors. The neighbour shares half of the measured pixel's noise.
            assert here.square().mean().item() == pytest.approx(64 if measured else 32, rel=0.06)
            assert (here * neighbour).mean().item() == pytest.approx(32, rel=0.06)


def test_levels_without_pixels_take_the_noise_of_the_nearest():
    moments = np.zeros((3, 3, 256))
    for level, std in ((100, 4.0), (140, 8.0)):
        moments[:, :, level] = np.array([5000, 5000, 5000 * (std**2 + 1)])[:, None]  # mean 1
    mean, std = noise_levels(moments)[:2]
    rounding = 1 / 12  # Sheppard's correction
    for level, of in ((0, 4.0), (100, 4.0), (115, 4.0), (125, 8.0), (140, 8.0), (255, 8.0)):
        assert std[0, level].item() == pytest.approx((of**2 - rounding) ** 0.5, abs=1e-3)
        assert mean[0, level].item() == pytest.approx(1, abs=1e-3)


def test_sparse_levels_share_their_pixels():
    moments = np.zeros((3, 3, 256))
    moments[:, :, 100:110] = np.array([300, 0, 300 * 25])[:, None, None]
    moments[2, :, 104] *= 2  # the box of 5 levels holds 1500 pixels: a fifth of the excess shows
    std = noise_levels(moments).std[0]
    assert std[104].item() == pytest.approx((25 * 6 / 5 - 1 / 12) ** 0.5, abs=1e-3)
    assert std[107].item() == pytest.approx((25 - 1 / 12) ** 0.5, abs=1e-3)


@pytest.fixture
def blank(tmp_path):
    """Pairs of which nobody can see the noise: black, white, of one colour, and of two."""
    found = []
    for number, levels in enumerate(((0, 0), (255, 255), (128, 128), (30, 33))):
        found.append(tuple(tmp_path / f"{number}_{side}.png" for side in ("clean", "noisy")))
        for path, level in zip(found[-1], levels):
            write_image(path, np.full((32, 32, 3), level, np.uint8))
    return found


def test_images_of_one_colour_are_left_out_of_a_fit_and_named(pairs, fitted, blank, caplog):
    found = fit_noise({100: [blank[0], *pairs[100], *blank[1:]]}, read, 2)
    assert fingerprint({"camera": found}) == fingerprint({"camera": {100: fitted[100]}})
    assert len(caplog.records) == 4 and all(str(noisy) in caplog.text for _, noisy in blank)


def test_images_of_one_colour_are_left_out_of_a_copula(pairs, blank):
    found = [fit_copula({100: entries}, read, 2) for entries in ([*blank, *pairs[100]], pairs[100])]
    assert found[0].digest() == found[1].digest()


def test_noiseless_images_fit_to_models_without_noise(tmp_path):
    image = np.full((20, 24, 3), 90, np.uint8)
    for name in ("clean", "noisy"):
        write_image(tmp_path / f"{name}.png", image)
    fit = fit_noise({100: [(tmp_path / "clean.png", tmp_path / "noisy.png")]}, read, 0)[100]
    for build in FITTED.values():
        assert not draw(build(fit), torch.full((1, 3, 8, 8), 90 / 255)).any()


def test_correlation_of_no_noise_is_white():
    none = np.zeros((3, 3, 17, 17))
    found = correlation(none, none, np.zeros(3))
    assert found.sum() == 3 and (found[range(3), range(3), 8, 8] == 1).all()


def test_threads_change_nothing(pairs, fitted):
    assert fingerprint({"camera": fit_noise(pairs, read, num_workers=0)}) == fingerprint({"camera": fitted})


def test_fits_are_read_back_the_same_for_the_same_images_only(tmp_path, fitted):
    save_fits(tmp_path / "fit.pth", "these images", {"camera": fitted})
    again = load_fits(tmp_path / "fit.pth", "these images")
    assert fingerprint(again) == fingerprint({"camera": fitted})
    assert load_fits(tmp_path / "fit.pth", "other images") is None


def test_damaged_fits_are_named(tmp_path, fitted):
    save_fits(tmp_path / "fit.pth", "", {"camera": fitted})
    content = torch.load(tmp_path / "fit.pth", weights_only=True)
    del content["models"]["camera"][100]["kernel"]
    torch.save(content, tmp_path / "fit.pth")
    with pytest.raises(ValueError, match=r"fit\.pth: damaged"):
        load_fits(tmp_path / "fit.pth", "")


def test_images_get_the_noise_fitted_to_the_nearest_iso(fitted):
    clean = torch.full((2, 3, 64, 64), 128 / 255)
    white = torch.randn(2, 3, 64 + 2 * MAX_LAG + 2, 64 + 2 * MAX_LAG + 2, generator=torch.Generator().manual_seed(0))
    for kind, build in FITTED.items():
        model = fitted_model(kind, fitted)
        made = model.noise(Images(clean, ["", ""], [3200, 100]), white)
        for row, iso in enumerate((1600, 100)):
            part = white[row : row + 1, :, : 64 + model.margin, : 64 + model.margin]
            assert torch.equal(made[row], build(fitted[iso]).noise(Images(clean[:1]), part)[0])


@pytest.mark.parametrize("pairs, named", [({}, "no image pairs to fit"), ({100: []}, "pairs of 100")])
def test_fitting_to_nothing_is_an_error(pairs, named):
    with pytest.raises(ValueError, match=named):
        fit_noise(pairs, read, 0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_image_smaller_than_the_lags_is_named(tmp_path, num_workers):
    small = make_pair(tmp_path, "small", 100, MAX_LAG, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"small_noisy\.png: 8x8 pixels, expected more than 8"):
        fit_noise({100: [small]}, read, num_workers)


def test_kernel_of_the_mosaic_filters_each_of_its_places_by_itself():
    """Zero at three of four places, and the identity at the fourth: only there noise comes through, unchanged."""
    kernel = torch.zeros(12, 12, 3, 3)
    chosen = 3  # of a channel's places (0, 0), (0, 1), (1, 0), (1, 1)
    kernel[range(chosen, 12, 4), range(chosen, 12, 4), 1, 1] = 1
    z = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = torch.zeros_like(z)
    wanted[..., 1::2, 1::2] = z[..., 1::2, 1::2]
    torch.testing.assert_close(filter_noise(z, kernel), wanted[..., 2:-2, 2:-2])
