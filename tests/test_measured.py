"""The start from measurements: what the networks make before any training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data.pairs import Reader
from models import NCNet, build_networks, correlate
from noise.fitting import Fit
from noise.measured import measured_start, start_from_measurements
from noise.statistics import filter_noise
from tests.tiny import CONFIGS
from utils.image import to_uint8

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
    start_from_measurements(networks, fit, [pictures(seed, 1 + seed / 4) for seed in range(4)], to_train=False)


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
    configs |= {"E": {"nc": 16}, "G1": {"nc": 24}, "G2": {"nc": 8, "upsample_mode": request.param}}
    networks = build_networks(configs, "kaiming", 0)
    begin(networks, kernel)
    return networks


@torch.no_grad()
def test_ncnet_filters_noise_by_the_kernel_from_the_start(started, kernel):
    z = draw(2, 3, 64, 64, seed=2)
    wanted, middle = filter_noise(z, kernel), (..., slice(8, -8), slice(8, -8))
    assert F.mse_loss(correlate(started["G2"], STD * z)[middle] / STD, wanted) < 0.01
    assert F.mse_loss(z[middle], wanted) > 0.3, "the filter changes white noise, so the test can fail"


@torch.no_grad()
def test_genet_measures_noise_and_not_brightness_from_the_start(started):
    genet, noise = started["E"], draw(1, 3, 64, 64, seed=3)
    gains = [genet(bright + std * noise).item() for bright in (0.2, 0.8) for std in (STD, 2 * STD)]
    assert gains[0] == pytest.approx(STD, rel=0.2)
    assert gains[1] == pytest.approx(2 * gains[0], rel=0.1)
    assert gains[:2] == pytest.approx(gains[2:], rel=0.1)


@torch.no_grad()
@pytest.mark.parametrize("strength", [0.8, 1.2, 2])
def test_npnet_begins_with_the_fitted_levels_on_an_image_it_was_not_set_by(started, strength):
    clean, noisy = pictures(9, strength)
    level = started["G1"](clean, (noisy - clean).std().view(1, 1, 1, 1))
    true_level = noise_of_levels(clean, strength, 9)[0]
    error, constant = ((found / true_level).log().square().mean().sqrt() for found in (level, true_level.mean()))
    assert error < 0.15 and error < 0.6 * constant


@torch.no_grad()
def test_training_can_go_on_from_the_start(kernel):
    """GENet fits patches, too, from which it learns: one of whole images alone is off by half and more in them."""
    configs = {"E": {"nc": 24}, "G1": {"nc": 24}, "G2": {"nc": 8}}
    networks = build_networks(configs, "kaiming", 0)
    taught = [pictures(seed, 4.0 ** (seed % 3 - 1)) for seed in range(9)]
    start_from_measurements(networks, Fit(STD, MEANS, LEVELS, kernel, kernel), taught, to_train=True)
    assert networks["G1"].conv5.weight.abs().max() < 10, "features that are hardly there must not get large weights"
    assert networks["E"].linear[0][0].weight.abs().max() < 0.3, "nor GENet, whose first steps would change the gain"
    images = [pictures(seed, strength) for seed in range(20, 32) for strength in (0.25, 1, 4)]
    clean, noisy = (
        torch.cat([pair[side][..., y : y + 48, x : x + 48] for pair in images for y in (0, 48) for x in (0, 48)])
        for side in (0, 1)
    )
    errors = (networks["E"](noisy) / (noisy - clean).std((1, 2, 3), keepdim=True)).clamp_min(0.1).log()
    assert errors.square().mean() < 0.2


@pytest.mark.parametrize("config", [{"nc": 4}, {"nc": 8, "act_mode": "BR"}, {"nc": 8, "final_act": "exp"}])
def test_ncnet_that_cannot_carry_the_filter_is_refused(kernel, config):
    networks = build_networks({"E": {"nc": 4}, "G1": {"nc": 4}}, "kaiming", 0) | {"G2": NCNet(**config)}
    with pytest.raises(ValueError, match="expected at least 6 channels"):
        begin(networks, kernel)


class Pictures(Reader):
    """Pairs in memory."""

    def __init__(self, images):
        super().__init__([])
        self.images, self.pairs = images, [SimpleNamespace(origin=(0, 0))] * len(images)

    def name(self, index):
        return f"image {index}"

    def pair(self, index):
        return self.images[index]


def test_start_is_that_of_the_other_images_where_one_is_black():
    images = [tuple(to_uint8(of[0].permute(1, 2, 0).numpy()) for of in pictures(seed, 1)) for seed in range(4)]
    flat = np.zeros((96, 96, 3), np.uint8)
    started = []
    for some in (images, [*images[:2], (flat, flat), *images[2:]]):
        networks = build_networks({letter: CONFIGS[letter] | {"nc": 8} for letter in ("E", "G1", "G2")}, "kaiming", 0)
        measured_start(Pictures(some), networks, 0, to_train=True)
        started.append([weight for letter in networks for weight in networks[letter].parameters()])
    for one, other in zip(*started):
        assert torch.isfinite(one).all() and torch.equal(one, other)
