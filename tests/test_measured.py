"""The start from measurements, the losses that go with it, and the variants that it is used with."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from inference import NoiseGenerator
from models import JointModel, JointOptions, NCNet, NPNet, build_networks, synthesize_w
from models.losses import clipped_nll, gain_error
from models.neca import correlate, filter_noise, sinh_arcsinh, with_level
from noise.fitting import Fit
from noise.interface import Images, NecaW
from noise.measured import start_from_measurements
from tests.tiny import CONFIGS, tiny_networks

STD = 0.04
LEVELS = torch.linspace(0.5 * STD, 1.5 * STD, 256) * torch.tensor([[1.0], [1.4], [0.8]])  # by channel and intensity
MEANS = torch.linspace(0.3 * STD, -0.3 * STD, 256).expand(3, 256)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise_of_levels(clean: torch.Tensor, strength: float, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Level, mean, and noise of both at the pixels of (1, 3, H, W)."""
    index = (255 * clean[0]).round().long().flatten(1)
    level, mean = (strength * table.gather(1, index).view_as(clean) for table in (LEVELS, MEANS))
    return level, mean, mean + level * draw(*clean.shape, seed=seed)


def pictures(seed: int, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth clean image of many colours, and its noisy one: (1, 3, 96, 96) each."""
    colours = 0.1 + 0.8 * torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    clean = F.interpolate(colours, (96, 96), mode="bilinear")
    return clean, clean + noise_of_levels(clean, strength, seed)[2]


def begin(networks: dict, kernel: torch.Tensor) -> None:
    fit = Fit(STD, MEANS, LEVELS, kernel, kernel)
    start_from_measurements(networks, [(fit, [pictures(seed, 1 + seed / 4) for seed in range(4)])], to_train=False)


@pytest.fixture(scope="module")
def kernel():
    """A filter of 17x17 that joins neighbours and channels, its taps all within 7x7: each channel's energy is 1."""
    taps = torch.zeros(3, 3, 17, 17)
    taps[:, :, 5:12, 5:12] = 0.1 * draw(3, 3, 7, 7, seed=1)
    taps[range(3), range(3), 8, 8] += 1
    return taps / taps.square().sum((1, 2, 3), keepdim=True).sqrt()


@pytest.fixture(scope="module", params=["upsampling", "pixelshuffle", "convtranspose", "upsampling_conv"])
def started(request, kernel):
    configs = {letter: CONFIGS[letter] for letter in ("E", "G1", "G2")}
    configs["E"], configs["G1"] = {"nc": 16, "pool_mode": "inside"}, {"nc": 24, "out_nc": 6}
    configs["G2"] = {"nc": 8, "upsample_mode": request.param}
    networks = build_networks(configs, "kaiming", 0)
    begin(networks, kernel)
    return networks


@torch.no_grad()
def test_ncnet_filters_noise_by_the_kernel_from_the_start(started, kernel):
    z = draw(2, 3, 64, 64, seed=2)
    wanted, middle = filter_noise(z, kernel), (..., slice(8, -8), slice(8, -8))
    assert F.mse_loss(correlate(started["G2"], STD * z)[middle] / STD, wanted) < 0.01
    assert F.mse_loss(z[middle], wanted) > 0.3, "the filter changes white noise, so the test can fail"


def test_kernel_of_the_mosaic_filters_each_of_its_places_by_itself():
    """Zero at three of four places, and the identity at the fourth: only there noise comes through, unchanged."""
    kernel = torch.zeros(12, 12, 3, 3)
    chosen = 3  # of a channel's places (0, 0), (0, 1), (1, 0), (1, 1)
    kernel[range(chosen, 12, 4), range(chosen, 12, 4), 1, 1] = 1
    z = draw(1, 3, 16, 16)
    wanted = torch.zeros_like(z)
    wanted[..., 1::2, 1::2] = z[..., 1::2, 1::2]
    torch.testing.assert_close(filter_noise(z, kernel), wanted[..., 2:-2, 2:-2])


MOSAIC = {"nc": 4, "level": "after", "mosaic": True}


@pytest.fixture(scope="module")
def with_mosaic():
    """Networks that begin from a filter of cells, all its taps within 5x5, and the filter."""
    taps = torch.zeros(12, 12, 9, 9)
    taps[:, :, 2:7, 2:7] = 0.1 * draw(12, 12, 5, 5, seed=1)
    taps[range(12), range(12), 4, 4] += torch.linspace(0.5, 1.5, 12)
    configs = {"E": {"nc": 16, "pool_mode": "inside"}, "G1": CONFIGS["G1"], "G2": MOSAIC}
    networks = build_networks(configs, "kaiming", 0)
    begin(networks, taps)
    return networks, taps


@torch.no_grad()
def test_ncnet_with_a_mosaic_begins_with_the_measured_filter_of_each_place(with_mosaic):
    networks, taps = with_mosaic
    z = draw(2, 3, 64, 64, seed=2)
    middle = slice(8, -8)
    torch.testing.assert_close(
        correlate(networks["G2"], z)[..., middle, middle], filter_noise(z, taps), rtol=1e-4, atol=1e-4
    )


@torch.no_grad()
def test_each_of_several_cameras_begins_with_its_own_levels_and_filter(with_mosaic):
    """One camera's noise grows with the intensity, the other's falls; one's neighbours are joined, the other's not."""
    _, taps = with_mosaic
    white = torch.zeros_like(taps)
    white[range(12), range(12), 4, 4] = 1
    fits = Fit(STD, MEANS, LEVELS, taps, taps), Fit(STD, MEANS, LEVELS.flip(1), white, white)
    configs = {"E": {"nc": 16}, "G1": {"nc": 96, "cameras": 2}, "G2": MOSAIC | {"cameras": 2}}
    networks = build_networks(configs, "kaiming", 0)
    start_from_measurements(networks, [(fit, [pictures(seed, 1) for seed in range(4)]) for fit in fits], to_train=False)
    clean, noisy = pictures(9, 1)
    gain, growing = (noisy - clean).std().view(1, 1, 1, 1), clean[0, 1].flatten()
    levels = [networks["G1"].of_camera(number)(clean, gain)[0, 1].flatten() for number in (0, 1)]
    slopes = [torch.corrcoef(torch.stack([level, growing]))[0, 1] for level in levels]
    assert slopes[0] > 0.5 and slopes[1] < -0.5
    z, middle = draw(1, 3, 64, 64, seed=2), slice(8, -8)
    for number, wanted in enumerate((filter_noise(z, taps), z[..., middle, middle])):
        found = correlate(networks["G2"].of_camera(number), z)[..., middle, middle]
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("network", [NPNet(nc=4, cameras=3), NCNet(nc=4, mosaic=True, cameras=3)])
def test_images_of_several_cameras_get_what_each_camera_s_own_network_gives(network):
    for weight in network.double().parameters():
        weight.copy_(0.3 * draw(*weight.shape))
    images, numbers = torch.rand(4, 3, 16, 16, dtype=torch.float64), [2, 0, 1, 2]
    gain = [torch.full_like(images[:, :1, :1, :1], 0.3)] if isinstance(network, NPNet) else []
    together = network(images, *gain, torch.tensor(numbers))
    for number, image, found in zip(numbers, images, together):
        alone = network.of_camera(number).double()
        assert "cameras" not in alone.config
        torch.testing.assert_close(alone(image[None], *(one[:1] for one in gain))[0], found)
    assert not torch.allclose(network(images[:1], *(one[:1] for one in gain), torch.tensor([0])), together[:1])
    for wrong, given in ((network, []), (alone, [torch.tensor(numbers)])):
        with pytest.raises(ValueError, match="expected numbers if it has several, else none"):
            wrong(images, *gain, *given)


@torch.no_grad()
def test_noise_with_a_mosaic_is_the_same_in_tiles_and_follows_an_image_s_place(with_mosaic):
    networks, _ = with_mosaic
    clean, z = torch.rand(2, 3, 90, 120), draw(2, 3, 91, 121)
    tiled, whole = (
        NecaW(NoiseGenerator(networks, tile), lambda images: torch.full((len(images.clean),), STD)) for tile in (32, 0)
    )
    first = whole.noise(Images(clean), z)
    torch.testing.assert_close(tiled.noise(Images(clean), z), first, rtol=1e-3, atol=1e-5)
    placed = whole.noise(Images(clean, origins=[(1, 1), (0, 0)]), z)
    torch.testing.assert_close(placed[1], first[1])
    level = whole.generator.synthesize(clean, gain=STD, z=z[..., :90, :120], maps=True).noise_level
    moved = (placed / level)[0, :, 10:-10, 10:-10], correlate(networks["G2"], z[:1, :, :, :])[0, :, 11:-10, 11:-10]
    torch.testing.assert_close(*moved, rtol=0.05, atol=0.05)


@torch.no_grad()
def test_genet_measures_noise_and_not_brightness_from_the_start(started):
    genet, noise = started["E"], draw(1, 3, 64, 64, seed=3)
    gains = [genet(bright + std * noise).item() for bright in (0.2, 0.8) for std in (STD, 2 * STD)]
    assert gains[0] == pytest.approx(STD, rel=0.2)
    assert gains[1] == pytest.approx(2 * gains[0], rel=0.1)
    assert gains[:2] == pytest.approx(gains[2:], rel=0.1)


@torch.no_grad()
@pytest.mark.parametrize("strength", [0.8, 1.2, 2])
def test_npnet_begins_with_the_fitted_levels_and_means_on_an_image_it_was_not_set_by(started, strength):
    clean, noisy = pictures(9, strength)
    level, mean = started["G1"](clean, (noisy - clean).std().view(1, 1, 1, 1)).split(3, 1)
    true_level, true_mean, _ = noise_of_levels(clean, strength, 9)
    error, constant = ((found / true_level).log().square().mean().sqrt() for found in (level, true_level.mean()))
    assert error < 0.15 and error < 0.6 * constant
    error, without = (F.mse_loss(found, true_mean).sqrt() for found in (mean, torch.zeros_like(mean)))
    assert error < 0.1 * true_level.mean() and error < 0.9 * without


@torch.no_grad()
def test_training_can_go_on_from_the_start(kernel):
    """GENet fits patches, too, from which it learns: one of whole images alone is off by half and more in them."""
    configs = {"E": {"nc": 24, "pool_mode": "inside"}, "G1": {"nc": 24, "out_nc": 12}, "G2": {"nc": 8}}
    networks = build_networks(configs, "kaiming", 0)
    taught = [pictures(seed, 4.0 ** (seed % 3 - 1)) for seed in range(9)]
    start_from_measurements(networks, [(Fit(STD, MEANS, LEVELS, kernel, kernel), taught)], to_train=True)
    assert networks["G1"].conv5.weight.abs().max() < 10, "features that are hardly there must not get large weights"
    assert networks["E"].linear[0][0].weight.abs().max() < 0.3, "nor GENet, whose first steps would change the gain"
    images = [pictures(seed, strength) for seed in range(20, 32) for strength in (0.25, 1, 4)]
    clean, noisy = (
        torch.cat([pair[side][..., y : y + 48, x : x + 48] for pair in images for y in (0, 48) for x in (0, 48)])
        for side in (0, 1)
    )
    assert gain_error(networks["E"](noisy), noisy - clean) < 0.2


@torch.no_grad()
def test_skews_and_tails_are_bounded_whatever_the_weights():
    npnet = build_networks({"G1": {"nc": 4, "out_nc": 12}}, "kaiming", 0)["G1"]
    npnet.conv5.weight.mul_(1000)
    shape = npnet(torch.rand(1, 3, 16, 16), torch.full((1, 1, 1, 1), STD))[:, 6:]
    assert 0.99 < shape.abs().max() <= 1


@pytest.mark.parametrize("config", [{"nc": 4}, {"nc": 8, "act_mode": "BR"}, {"nc": 8, "final_act": "exp"}])
def test_ncnet_that_cannot_carry_the_filter_is_refused(kernel, config):
    networks = build_networks({"E": {"nc": 4}, "G1": {"nc": 4}}, "kaiming", 0) | {"G2": NCNet(**config)}
    with pytest.raises(ValueError, match="expected at least 6 channels"):
        begin(networks, kernel)


@pytest.mark.parametrize("clean", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("mean", [0.0, -0.03])
def test_likelihood_finds_level_and_mean_of_noise_that_was_clipped(clean, mean):
    """Near the ends half of the noise is lost, and the std of what is left is far too small."""
    noisy = (clean + mean + 0.1 * draw(1, 1, 200, 200)).clamp(0, 1)
    levels = torch.linspace(0.05, 0.15, 41)
    means = torch.linspace(-0.06, 0.06, 25)
    found = [
        (clipped_nll(torch.full_like(noisy, clean), noisy, full(noisy, s, m)).item(), s, m)
        for s in levels.tolist()
        for m in means.tolist()
    ]
    _, level, shift = min(found)
    assert level == pytest.approx(0.1, abs=0.004)
    assert shift == pytest.approx(mean, abs=0.006)


def full(like: torch.Tensor, *values: float) -> tuple[torch.Tensor, ...]:
    return tuple(torch.full_like(like, value) for value in values)


@pytest.mark.parametrize("clean", [0.02, 0.4, 0.97])
@pytest.mark.parametrize("shape", [(0.0, 0.0), (-0.5, 0.0), (0.3, 0.4), (-0.8, -0.3)])
def test_likelihood_of_skew_and_heavy_tailed_noise_is_a_distribution(clean, shape):
    """Densities between the ends and the masses at them, which have half a grey level, add up to 1."""

    def likelihood(value: float) -> float:
        one = torch.full((1, 1, 1, 1), value, dtype=torch.float64)
        return math.exp(-clipped_nll(torch.full_like(one, clean), one, full(one, 0.1, -0.02, *shape)))

    inner = np.linspace(0.5, 254.5, 2001)  # grey levels, in which densities are
    total = np.trapezoid([likelihood(value / 255) for value in inner], inner)
    assert total + likelihood(0) + likelihood(1) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(-0.5, 0.2), (0.3, -0.2)])
def test_noise_of_a_shape_is_likeliest_under_that_shape(shape):
    clean = torch.full((1, 1, 200, 200), 0.4)
    noisy = (clean + with_level(draw(1, 1, 200, 200), full(clean, 0.05, 0.01, *shape))).clamp(0, 1)
    around = [-0.1, 0, 0.1]
    found = {
        (a, b): clipped_nll(clean, noisy, full(clean, 0.05, 0.01, shape[0] + a, shape[1] + b)).item()
        for a in around
        for b in around
    }
    assert min(found, key=found.__getitem__) == (0, 0)
    assert (
        found[0, 0] < clipped_nll(clean, noisy, full(clean, noisy.std().item(), (noisy - clean).mean().item())).item()
    )


@pytest.mark.parametrize("level", [0.002, 0.05])
def test_gain_error_is_relative(level):
    noise = level * draw(2, 3, 64, 64)
    gain = noise.std((1, 2, 3), keepdim=True)
    assert gain_error(gain, noise) == pytest.approx(0, abs=1e-9)
    assert gain_error(1.1 * gain, noise).item() == pytest.approx(torch.tensor(1.1).log().square().item(), rel=1e-3)


def test_gain_below_zero_finds_its_way_back():
    """Where its error was clamped, it had no gradient: GENet had died on an iPhone's low noise."""
    gain, noise = torch.full((2, 1, 1, 1), -0.05, requires_grad=True), 0.005 * draw(2, 3, 64, 64)
    gain_error(gain, noise).backward()
    assert gain.grad is not None and (gain.grad < 0).all()


VARIANTS = {"E": {"nc": 4, "pool_mode": "inside"}, "G1": {"nc": 4, "out_nc": 6}, "G2": {"nc": 4, "level": "after"}}


@torch.no_grad()
@pytest.mark.parametrize("out_nc", [6, 12])
def test_shape_level_and_mean_come_after_ncnet_whatever_the_tile(out_nc):
    networks = build_networks(VARIANTS | {"G1": {"nc": 4, "out_nc": out_nc}}, "kaiming", 0)
    clean, z = torch.rand(1, 3, 90, 120), draw(1, 3, 90, 120)
    gain = STD * torch.tensor([0.8, 1.0, 1.2]).view(1, 3, 1, 1)
    whole = synthesize_w(networks["G1"], networks["G2"], clean, gain, z, level_after=True)
    level, mean, *shape = networks["G1"](clean, gain).split(3, dim=1)
    assert level.min() >= 0 and mean.min() < 0 and all(-1 < one.min() < one.max() < 1 for one in shape)
    torch.testing.assert_close(whole.sdnu, level * z)
    field = correlate(networks["G2"], z)
    torch.testing.assert_close(whole.sdnc, level * (sinh_arcsinh(field, *shape) if shape else field) + mean)
    generator = NoiseGenerator(networks, tile=32)
    tiled = generator.synthesize(clean, gain=gain, z=z, maps=True)
    for name in ("noise_level", "sdnu", "sdnc", "fake"):
        torch.testing.assert_close(getattr(tiled, name), getattr(whole, name), rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("noise_level", [2, 20])
def test_level_after_ncnet_scales_the_noise_of_neca_s(noise_level):
    """NCNet has biases, so noise of another level than it has learned from would not be the same noise, scaled."""
    networks = build_networks(VARIANTS, "kaiming", 0)
    for layer in networks["G2"].modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.bias)
    clean, z = torch.rand(1, 3, 48, 64), draw(1, 3, 48, 64)
    made = NoiseGenerator(networks, tile=32).synthesize(clean, noise_level=noise_level, z=z, maps=True)
    expected = noise_level / 255 * correlate(networks["G2"], z)
    torch.testing.assert_close(made.sdnc, expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(expected, correlate(networks["G2"], noise_level / 255 * z), rtol=0.1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(9, 40), (90, 300)])
@pytest.mark.parametrize("out_nc", [1, 3])
def test_gain_of_the_inside_is_that_of_the_whole_network_whatever_the_tile(size, out_nc):
    genet = build_networks({"E": VARIANTS["E"] | {"out_nc": out_nc}}, "kaiming", 0)["E"]
    noisy = torch.rand(1, 3, *size)
    border = min(6, (min(size) - 1) // 2)
    features = genet.model(noisy)[..., border:-border, border:-border]
    torch.testing.assert_close(genet(noisy), genet.linear(features.mean((2, 3), keepdim=True)))
    generator = NoiseGenerator({"E": genet, "G2": NCNet(nc=4)}, tile=32)
    assert generator.estimate_gain(noisy) == pytest.approx([genet(noisy).mean().item()], rel=1e-4)
    assert generator.estimate_gain(noisy[0], by_channel=True) == pytest.approx(
        genet(noisy).flatten().tolist(), rel=1e-4
    )


def test_npnet_with_other_numbers_of_channels_is_refused():
    with pytest.raises(ValueError, match="expected 3, 6 with means or 12 with"):
        NPNet(out_nc=4)


@torch.no_grad()
def test_genet_of_channels_tells_which_one_is_amplified_from_the_start(kernel):
    """Half of the training images have stronger blue noise: so has what GENet and NPNet make of one of them."""
    networks = build_networks({"E": {"nc": 24, "out_nc": 3}, "G1": {"nc": 24}, "G2": {"nc": 8}}, "kaiming", 0)
    blue = torch.tensor([1.0, 1.0, 1.5])[:, None, None]
    taught = [pictures(seed, 1 + seed / 8) for seed in range(8)]
    taught[::2] = [(clean, clean + blue * (noisy - clean)) for clean, noisy in taught[::2]]
    start_from_measurements(networks, [(Fit(STD, MEANS, LEVELS, kernel, kernel), taught)], to_train=False)
    clean, noisy = pictures(20, 1.2)
    levels = [networks["G1"](clean, networks["E"](clean + by * (noisy - clean))) for by in (torch.ones(3, 1, 1), blue)]
    amplified = (levels[1].mean((2, 3)) / levels[0].mean((2, 3)))[0]
    assert (amplified[2] / amplified[:2]).tolist() == pytest.approx([1.5, 1.5], rel=0.1)


@torch.no_grad()
def test_noise_of_a_noisy_image_s_gain_follows_the_gains_of_its_channels():
    networks = build_networks(VARIANTS | {"E": {"nc": 4, "out_nc": 3}}, "kaiming", 0)
    head = networks["E"].linear[0][0]
    head.weight.mul_(0.01)
    head.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    generator, clean, noisy = NoiseGenerator(networks), torch.rand(2, 3, 48, 64), torch.rand(2, 3, 48, 64)
    expected = synthesize_w(networks["G1"], networks["G2"], clean, networks["E"](noisy), draw(*clean.shape), True).sdnc
    for strength in ({"gain_of": noisy}, {"gain": networks["E"](noisy)}):
        made = generator.synthesize(clean, z=draw(*clean.shape), maps=True, **strength).sdnc
        torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"gain: 2x2 numbers for 2 images, expected one .* or rows of 3"):
        generator.synthesize(clean, gain=[[0.1, 0.2], [0.1, 0.2]])


def test_npnet_learns_the_usual_colour_of_the_noise_for_a_gain_that_somebody_chooses():
    """Every other step it sees no gains of channels; else nothing would keep theirs equal on average."""
    model = JointModel(
        tiny_networks(dtype=torch.float32) | build_networks({"E": {"nc": 4, "out_nc": 3}}, "kaiming", 0), JointOptions()
    )
    seen = []
    model.networks["G1"].register_forward_pre_hook(lambda _, given: seen.append(given[1].shape[1]))
    for step in (1, 2, 3):
        model.train_batch({name: torch.zeros(2, 3, 96, 96, dtype=torch.uint8) for name in ("clean", "noisy")}, step, 1)
    assert seen == [3, 1, 3]


@torch.no_grad()
def test_gain_of_each_channel_is_the_gain_of_the_image_where_they_are_equal():
    npnet, clean = build_networks({"G1": {"nc": 4, "out_nc": 6}}, "kaiming", 0)["G1"], torch.rand(2, 3, 16, 16)
    gain = torch.tensor([0.02, 0.05]).view(2, 1, 1, 1)
    equal, once = npnet(clean, gain.expand(2, 3, 1, 1)), npnet(clean, gain)
    torch.testing.assert_close(equal, once)
    doubled = npnet(clean, gain * torch.tensor([0.5, 0.5, 2]).view(1, 3, 1, 1))
    torch.testing.assert_close(doubled, once * torch.tensor([0.5, 0.5, 2]).repeat(2).view(1, 6, 1, 1))
    assert npnet(clean, gain * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1))[:, :3].min() >= 0, "GENet may err below 0"
