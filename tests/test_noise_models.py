"""Reference noise models against the statistics that they promise; tolerances are five standard errors."""

import numpy as np
import pytest
import torch
from torch import Tensor

from inference import NoiseGenerator
from noise.gaussian import Coloured, Gaussian, Heteroscedastic
from noise.interface import (
    Images,
    NecaS,
    NecaW,
    NoiseModel,
    RealPair,
    TimesStd,
    by_iso,
    constant,
    interval,
    nearest_iso,
    noise_by_group,
    noisy_image,
    true_std,
)
from noise.statistics import before_clipping, clipped_moments, colouring_kernel
from noise.strengths import true_channel_std
from tests.tiny import tiny_networks

SIDE = 64
PIXELS = SIDE * SIDE
ERRORS = 5  # standard errors
TABLES = torch.rand(2, 3, 256, generator=torch.Generator().manual_seed(0))
MEAN, STD = (TABLES[0] - 0.5) / 10, TABLES[1] / 10 + 0.01
ZERO, ONE = torch.zeros(3, 256), torch.ones(3, 256)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(model: NoiseModel, clean: Tensor, seed: int = 0) -> Tensor:
    """Draw the noise of clean images from a seed."""
    return draw_for(model, Images(clean), seed)


def draw_for(model: NoiseModel, images: Images, seed: int = 0) -> Tensor:
    number, channels, height, width = images.clean.shape
    size = number, channels, height + model.margin, width + model.margin
    return model.noise(images, torch.randn(size, generator=generator(seed)).to(images.clean))


def flat_images(levels: list[int]) -> Tensor:
    return (torch.tensor(levels, dtype=torch.float32) / 255).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE)


def covariance_of(kernel: Tensor, lag: int) -> Tensor:
    """Covariance of white noise after `conv2d`, by loops: (3, 3, K, K) -> (3, 3, 2L+1, 2L+1)."""
    size, found = kernel.shape[-1], torch.zeros(3, 3, 2 * lag + 1, 2 * lag + 1, dtype=torch.float64)
    kernel = kernel.double()
    for dy in range(-lag, lag + 1):
        for dx in range(-lag, lag + 1):
            for row in range(max(0, dy), min(size, size + dy)):  # one white pixel is tap (row, column) of the first
                for column in range(max(0, dx), min(size, size + dx)):
                    one, other = kernel[:, :, row, column], kernel[:, :, row - dy, column - dx]
                    found[:, :, lag + dy, lag + dx] += one @ other.T
    return found


def displaced_copy() -> Tensor:
    """Covariance, lag 2, of white channels of which channel 1 repeats 0.8 of channel 0, displaced by (1, 2)."""
    covariance = torch.zeros(3, 3, 5, 5)
    covariance[range(3), range(3), 2, 2] = 1
    covariance[0, 1, 2 + 1, 2 + 2] = 0.8  # E[c_0(y, x) c_1(y + 1, x + 2)]
    covariance[1, 0, 2 - 1, 2 - 2] = 0.8
    return covariance


@pytest.fixture(scope="module")
def mixing_kernel() -> Tensor:
    """A filter without any symmetry, of variance 1 in each channel."""
    kernel = 0.15 * torch.randn(3, 3, 3, 3, generator=generator(1))
    kernel[range(3), range(3), 1, 1] += 1
    return kernel / kernel.square().sum((1, 2, 3), keepdim=True).sqrt()


def test_gaussian_has_its_std_and_no_mean():
    noise = draw(Gaussian(constant(0.1)), flat_images([0, 255]))
    assert noise.std().item() == pytest.approx(0.1, rel=ERRORS / (2 * noise.numel()) ** 0.5)
    assert noise.mean().item() == pytest.approx(0, abs=ERRORS * 0.1 / noise.numel() ** 0.5)


@pytest.mark.parametrize("correlated", [False, True])
def test_mean_and_std_follow_the_level_of_each_channel_and_image(mixing_kernel, correlated):
    model = Coloured(MEAN, STD, mixing_kernel) if correlated else Heteroscedastic(MEAN, STD)
    noise = draw(model, flat_images([40, 200]))
    # Sums of correlations, and of their squares, say how many independent pixels the image is worth.
    correlation = covariance_of(mixing_kernel, 2) if correlated else torch.ones(3, 3, 1, 1)
    for image, level in enumerate((40, 200)):
        for c in range(3):
            std = STD[c, level].item()
            error = (correlation[c, c].square().sum().item() / (2 * PIXELS)) ** 0.5
            assert noise[image, c].std().item() == pytest.approx(std, rel=ERRORS * error)
            error = std * (correlation[c, c].abs().sum().item() / PIXELS) ** 0.5
            assert noise[image, c].mean().item() == pytest.approx(MEAN[c, level].item(), abs=ERRORS * error)


def test_level_is_the_rounded_one():
    steps = torch.arange(256).expand(3, 256) / 255.0
    clean = (torch.tensor([99.6, 100.4, -3.0, 300.0]) / 255).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    noise = draw(Heteroscedastic(steps, ZERO), clean)
    assert (255 * noise[0, 0]).flatten().tolist() == pytest.approx([100, 100, 0, 255])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_noise_has_the_dtype_of_the_clean_image(mixing_kernel, dtype):
    clean = flat_images([7]).to(dtype)
    for model in (Gaussian(constant(0.1)), Heteroscedastic(MEAN, STD), Coloured(MEAN, STD, mixing_kernel)):
        noise, exact = (draw(model, image) for image in (clean, flat_images([7])))
        assert noise.dtype == dtype and noise.shape == clean.shape
        # Rounded: the white noise, the field, its product with the std, the sum; each of at most the field's 5 std.
        torch.testing.assert_close(noise.float(), exact, rtol=0, atol=4 * 5 * 0.11 * torch.finfo(dtype).eps + 1e-6)


def test_white_noise_of_an_image_follows_from_its_seed_and_key_and_the_model_alone(mixing_kernel):
    model = Coloured(MEAN, STD, mixing_kernel, name="coloured")
    torch.manual_seed(1)
    white = model.white_noise(7, 5, 0, "scene image 0")
    assert torch.equal(torch.get_rng_state(), torch.manual_seed(1).get_state())  # the global numbers are left alone
    assert white.shape == (1, 3, 9, 7)
    assert torch.equal(white, model.white_noise(7, 5, 0, "scene image 0"))
    other = Coloured(MEAN, STD, mixing_kernel, name="other")
    for different in (
        model.white_noise(7, 5, 1, "scene image 0"),
        model.white_noise(7, 5, 0, "scene image 1"),
        other.white_noise(7, 5, 0, "scene image 0"),
    ):
        assert not torch.equal(white, different)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_noisy_images_are_clipped_and_keep_their_type(level):
    white, model = torch.randn(2, 3, 8, 8, generator=generator()), Gaussian(constant(0.2))
    as_uint8 = torch.full((2, 3, 8, 8), level, dtype=torch.uint8)
    as_float = as_uint8 / 255
    expected = (as_float + 0.2 * white).clamp(0, 1)
    torch.testing.assert_close(model.noisy(Images(as_float), white), expected)
    noisy = model.noisy(Images(as_uint8), white)
    assert noisy.dtype == torch.uint8
    assert (noisy - 255 * expected).abs().max() <= 0.501


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_noisy_images_of_neca_are_its_generator_s(kind):
    generator = NoiseGenerator({name: net.eval() for name, net in tiny_networks(dtype=torch.float32).items()})
    clean = np.random.default_rng(0).integers(0, 256, (24, 16, 3)).astype(np.uint8)
    clean = clean if kind == np.uint8 else (clean / 255).astype(kind)
    for model, strength in (
        (NecaW(generator, constant(0.1)), {"gain": 0.1}),
        (NecaS(generator, constant(25 / 255)), {"noise_level": 25}),
    ):
        noisy = noisy_image(model, clean, 3, "image")
        assert noisy.dtype == kind
        assert np.array_equal(noisy, generator.synthesize(clean, **strength, seed=3, key="image", clip=True))


def test_strengths_are_numbers_for_each_image():
    uniform = np.array([0.0, 0.25, 0.99])
    images = Images(torch.zeros(3, 3, 8, 8), ["A", "A", "B"], [100, 900, 100], uniform=uniform)
    assert constant(0.3)(images).tolist() == [0.3] * 3
    assert interval(0.2, 0.4)(images).tolist() == pytest.approx([0.2, 0.25, 0.398])
    values = {"A": {100: [0.1], 1600: [0.2, 0.3, 0.4]}, "B": {400: [0.5, 0.6]}}
    assert by_iso(values)(images).tolist() == [0.1, 0.2, 0.6]


def test_true_std_is_that_of_the_real_noise_in_whole_grey_levels():
    random = np.random.default_rng(0)
    clean, noisy = random.integers(0, 256, (2, 2, 3, 8, 8)).astype(np.uint8)
    images = Images(torch.from_numpy(clean) / 255, noisy=torch.from_numpy(noisy) / 255)
    expected = [(one.astype(int) - other).std() / 255 for one, other in zip(noisy, clean)]
    assert true_std(images).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("level", [12, 128])
def test_noise_times_std_has_the_real_std_once_it_is_clipped(level):
    clean = torch.full((2, 3, 32, 32), level / 255)
    noisy = clean + torch.tensor([0.02, 0.1]).view(2, 1, 1, 1) * torch.randn(clean.shape, generator=generator())
    images = Images(clean, noisy=noisy.clamp(0, 1))
    made = draw_for(TimesStd(Gaussian(constant(0.05))), images)
    clipped = (clean + made).clamp(0, 1) - clean
    wanted = true_std(images)
    torch.testing.assert_close(clipped.flatten(1).std(1, correction=0).double(), wanted, rtol=0.01, atol=0)


def test_noise_is_scaled_channel_by_channel():
    clean = torch.tensor([0.02, 0.5, 0.97])[:, None, None].expand(2, 3, SIDE, SIDE)  # near black and white much is lost
    real = torch.tensor([[9, 6, 20], [2, 15, 5]])[..., None, None] * torch.randn(clean.shape, generator=generator())
    images = Images(clean, noisy=(clean + real / 255).clamp(0, 1))
    made = draw_for(TimesStd(Gaussian(constant(0.05)), true_channel_std), images)
    clipped = (clean + made).clamp(0, 1) - clean
    wanted = true_channel_std(images)
    assert wanted.shape == (2, 3)
    torch.testing.assert_close(clipped.flatten(2).std(2, correction=0).double(), wanted, rtol=0.01, atol=0)


def test_noise_of_real_pairs_gives_the_noisy_images_back():
    clean, noisy = torch.randint(0, 256, (2, 2, 3, 8, 8), generator=generator(), dtype=torch.uint8)
    images = Images(clean, noisy=noisy / 255)
    assert torch.equal(RealPair().noisy(images, torch.zeros(2, 3, 8, 8)), noisy)


def test_groups_get_the_noise_of_their_models_whatever_the_margin(mixing_kernel):
    models = {"white": Gaussian(constant(0.1)), "coloured": Coloured(ZERO, ONE, mixing_kernel)}
    white = torch.randn(3, 3, 10, 10, generator=generator())
    images = Images(torch.zeros(3, 3, 8, 8), ["A", "B", "C"])
    made = noise_by_group(models, ["coloured", "white", "coloured"], images, white)
    assert torch.equal(made[1], models["white"].noise(images.rows([1]), white[1:2, :, :8, :8])[0])
    assert torch.equal(made[[0, 2]], models["coloured"].noise(images.rows([0, 2]), white[[0, 2]]))


def test_nearest_iso_is_nearest_on_a_logarithmic_scale():
    fitted = dict.fromkeys((3200, 100, 400))
    assert [nearest_iso(fitted, iso) for iso in (50, 100, 190, 200, 210, 1100, 1200, 10000)] == [
        *(100, 100, 100, 100, 400, 400, 3200, 3200)
    ]


def test_kernel_gives_the_covariance_of_an_asymmetric_filter(mixing_kernel):
    wanted = covariance_of(mixing_kernel, 2)
    assert (wanted[0, 1] - wanted[0, 1].flip(0, 1)).abs().max() > 0.1
    kernel = colouring_kernel(wanted, 15)
    torch.testing.assert_close(kernel, colouring_kernel(wanted.float(), 15), rtol=0, atol=1e-5)
    found = covariance_of(kernel, 4)
    padded = torch.nn.functional.pad(wanted, (2, 2, 2, 2))
    # What the cut loses: energy e^2 outside gives an error of at most about 2 e.
    longest = colouring_kernel(wanted, 31).square()
    lost = 1 - longest[..., 8:23, 8:23].sum((1, 2, 3)).min().item()
    assert lost < 1e-4
    torch.testing.assert_close(found, padded, rtol=0, atol=2 * lost**0.5 + 1e-5)


def test_displaced_channel_is_found_on_the_right_side():
    noise = draw(Coloured(ZERO, ONE, colouring_kernel(displaced_copy(), 21)), flat_images([0] * 16))
    first, second = noise[:, 0], noise[:, 1]
    count = first[:, 1:, 2:].numel()
    # Variance of a covariance's estimate, Bartlett: sum over displacements of r_00 r_11 + r_01 r_10, at most 1 + 0.64.
    error = ERRORS * (1.64 / count) ** 0.5 + 1e-3
    assert (first[:, :-1, :-2] * second[:, 1:, 2:]).mean().item() == pytest.approx(0.8, abs=error)
    assert (first[:, 1:, 2:] * second[:, :-1, :-2]).mean().item() == pytest.approx(0, abs=error)
    assert (first * second).mean().item() == pytest.approx(0, abs=error)


def test_borders_are_like_the_middle(mixing_kernel):
    draws = 20000
    noise = draw(Coloured(ZERO, ONE, mixing_kernel), torch.zeros(draws, 3, 5, 5))
    assert (noise.square().mean(0) - 1).abs().max().item() < ERRORS * (2 / draws) ** 0.5
    wanted = covariance_of(mixing_kernel, 1)[0, 0, 1, 2].item()
    neighbours = (noise[:, 0, :, :-1] * noise[:, 0, :, 1:]).mean(0)
    assert (neighbours - wanted).abs().max().item() < ERRORS * ((1 + wanted**2) / draws) ** 0.5


def test_impossible_covariance_loses_its_negative_power():
    taps = torch.tensor([[0.0, 0.3, 0.0], [0.3, 1.0, 0.3], [0.0, 0.3, 0.0]])  # power 1 + 0.6 cos u + 0.6 cos v
    covariance = torch.zeros(3, 3, 3, 3)
    covariance[range(3), range(3)] = taps
    angle = np.arange(256) * 2 * np.pi / 256
    power = np.maximum(1 + 0.6 * np.cos(angle) + 0.6 * np.cos(angle[:, None]), 0)
    expected = (power * np.cos(angle)).mean() / power.mean()  # correlation at lag 1
    kernel = colouring_kernel(covariance, 41)
    assert kernel.square().sum((1, 2, 3)).tolist() == pytest.approx([1, 1, 1])
    assert expected < 0.2999
    assert covariance_of(kernel, 1)[0, 0, 1, 2].item() == pytest.approx(expected, abs=1e-4)


def test_even_kernel_and_silent_channel_are_named():
    with pytest.raises(ValueError, match="4x4"):
        colouring_kernel(displaced_copy(), 4)
    silent = displaced_copy()
    silent[2, 2] = 0
    with pytest.raises(ValueError, match="variance 0"):
        colouring_kernel(silent, 5)


def test_clipped_moments_equal_those_of_drawn_noise():
    mean, std = np.linspace(-6, 6, 256), np.linspace(0.2, 12, 256)
    before = mean[:, None] + std[:, None] * np.random.default_rng(0).standard_normal((256, 20000))
    level = np.arange(256)[:, None]
    after = np.round(np.clip(level + before, 0, 255)) - level
    found = clipped_moments(torch.from_numpy(mean), torch.from_numpy(std))
    error = ERRORS / 20000**0.5
    assert np.abs(found[0].numpy() - after.mean(1)).max() < error * 12
    # The fourth moment's share: the variance of a variance is (kurtosis - 1) / n of its square.
    kurtosis = ((after - after.mean(1, keepdims=True)) ** 4).mean(1) / np.maximum(after.var(1), 1e-9) ** 2
    some = after.var(1) > 1e-3
    slack = error * np.sqrt(kurtosis[some]) / 2 * after.std(1)[some]
    assert (np.abs(found[1].numpy() - after.std(1))[some] < slack + 1e-3).all()
    correlation = [np.corrcoef(one, other)[0, 1] for one, other in zip(before[some], after[some])]
    assert np.abs(found[2].numpy()[some] - correlation).max() < 2 * error


def test_noise_before_clipping_is_found():
    mean = torch.linspace(-3, 3, 256, dtype=torch.float64).expand(3, 256)
    std = torch.tensor([0.5, 4.0, 15.0], dtype=torch.float64)[:, None].expand(3, 256)
    measured = clipped_moments(mean, std)[:2]
    again = clipped_moments(*before_clipping(*measured))[:2]
    kept = measured[1] > 0.3 * std  # where most is clipped, many Gaussians leave the same
    for wanted, found in zip(measured, again):
        assert (wanted - found)[kept].abs().max() < 0.02
    found_mean, found_std = before_clipping(*measured)
    kept[0] = False  # a std below rounding's own cannot be told
    assert (found_mean - mean)[kept].abs().max() < 0.05 and (found_std - std)[kept].abs().max() < 0.05


def test_levels_without_noise_stay_without():
    mean, std = before_clipping(torch.zeros(256), torch.zeros(256))
    assert not mean.any() and not std.any()
