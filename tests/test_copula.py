"""The copula fitted to noise whose truth is known: skewed, correlated, with gains of its channels in each image."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from metrics import autocorrelation
from noise import copula
from noise.copula import Copula, CopulaFit
from noise.copula_fit import fit_copula
from noise.interface import Images, constant
from tests.test_fitting import true_field

SIDE = 192
GREYS = np.array([0, 3, 8, 20, 60, 120, 180, 240])
GAINS = np.array([[1.4, 1.0, 0.7], [1 / 1.4, 1.0, 1 / 0.7]])
ISOS = {400: 1.0, 1600: 2.0}
NOISE = 6.0  # grey levels


def skewed(field: np.ndarray) -> np.ndarray:
    """A monotone map of Gaussian values, of mean 0 and variance 1, skewed to the right."""
    return (np.exp(0.4 * field) - np.exp(0.08)) / np.sqrt((np.exp(0.16) - 1) * np.exp(0.16))


def make_pair(rng: np.random.Generator, std: float, gains: np.ndarray, blocks: int = 24) -> tuple:
    """A clean image of blocks and its noise, whose std grows with the level."""
    clean = np.kron(
        GREYS[rng.integers(0, len(GREYS), (blocks, blocks, 3))], np.ones((SIDE // blocks,) * 2 + (1,))
    ).astype(np.uint8)
    field = true_field(*clean.shape[:2], rng)
    noise = std * gains * np.sqrt(0.5 + clean / 120) * skewed(field)
    return clean, np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pairs() -> dict[int, list[tuple]]:
    rng = np.random.default_rng(0)
    return {iso: [make_pair(rng, NOISE * times, gains) for gains in GAINS] for iso, times in ISOS.items()}


@pytest.fixture(scope="module")
def fit(pairs) -> CopulaFit:
    return fit_copula(pairs, lambda pair: [("pair", *pair, (0, 0))], 0, "ZZ")


def to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def redrawn(fit: CopulaFit, clean: np.ndarray, numbers: torch.Tensor) -> np.ndarray:
    model = Copula(fit, constant(numbers.tolist()), name="copula")
    noisy = model.noisy(Images(torch.from_numpy(clean).permute(2, 0, 1)[None]), model.white_noise(SIDE, SIDE, 1, ""))
    return noisy[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("iso", ISOS)
@pytest.mark.parametrize("image", [0, 1])
def test_noise_has_the_distribution_of_each_level_once_it_is_clipped(pairs, fit, iso, image):
    clean, noisy = pairs[iso][image]
    numbers = fit.estimate(to_tensor(noisy), to_tensor(clean))[0]
    fake = redrawn(fit, clean, numbers)
    for c in range(3):
        for grey in GREYS:
            here = clean[..., c] == grey
            real, made = (np.sort(of[..., c][here].astype(float)) for of in (noisy, fake))
            distance = np.abs(real - made[: len(real)]).mean()  # 1-Wasserstein
            # Samples of this size, correlated with their neighbours, differ by .05 of their std; tables are smooth.
            assert distance < 0.12 * real.std() + 0.35, (c, grey)


def test_numbers_are_the_std_on_mid_grey_and_those_of_an_image_its_channels(pairs, fit):
    for iso, times in ISOS.items():
        expected = torch.full((3,), NOISE * times * (0.5 + 119 / 120) ** 0.5, dtype=torch.float64)
        assert torch.allclose(fit.numbers(iso), expected, rtol=0.05)
        for gains, (clean, noisy) in zip(GAINS, pairs[iso]):
            found = fit.estimate(to_tensor(noisy), to_tensor(clean))[0]
            assert torch.allclose(found, expected * torch.from_numpy(gains), rtol=0.06)
    assert fit.numbers(400)[0] < fit.numbers(800)[0] < fit.numbers(1600)[0] < fit.numbers(6400)[0]
    assert torch.allclose(fit.numbers(800), (fit.numbers(400) * fit.numbers(1600)).sqrt(), rtol=0.01)


def test_numbers_of_a_noisy_image_alone_are_near_those_of_its_pair(fit):
    rng = np.random.default_rng(1)
    for clean, noisy in [make_pair(rng, NOISE * times, gains, 4) for times in ISOS.values() for gains in GAINS]:
        blind, paired = (fit.estimate(to_tensor(noisy), of)[0] for of in (None, to_tensor(clean)))
        assert torch.allclose(blind, paired, rtol=0.25)


def test_correlations_are_the_real_ones(pairs, fit):
    clean, noisy = pairs[1600][0]
    fake = redrawn(fit, clean, fit.estimate(to_tensor(noisy), to_tensor(clean))[0])
    one, other = (autocorrelation(of.astype(float) - clean) for of in (noisy, fake))
    assert np.abs(one - other).max() < 5 * 2 / SIDE


@pytest.mark.parametrize("origin", [(0, 0), (1, 1)])
def test_bands_and_the_device_change_nothing(fit, monkeypatch, origin, device):
    model, clean = Copula(fit), torch.rand(2, 3, 37, 24, generator=torch.Generator().manual_seed(0))
    images = Images(clean, isos=[400, 1600], origins=[origin] * 2)
    white = torch.randn(2, 3, 37 + model.margin, 24 + model.margin)
    whole = model.noise(images, white)
    monkeypatch.setattr(copula, "BAND", 2 * 24 * 6)
    there = model.noise(replace(images, clean=clean.to(device)), white.to(device))
    assert torch.allclose(there.cpu(), whole, atol=1e-6 if device.type == "cpu" else 1e-5)
    noisy = (clean + whole).clamp(0, 1)
    for known in (clean, None):
        found = fit.estimate(noisy.to(device), None if known is None else known.to(device))
        assert torch.allclose(found, fit.estimate(noisy, known), rtol=1e-3)


def test_file_gives_the_fit_back(fit, tmp_path):
    path = tmp_path / "noise.safetensors"
    fit.save(path)
    assert path.stat().st_size < 30_000
    found = CopulaFit.load(path)
    assert (found.isos, found.camera, found.channels) == (fit.isos, "ZZ", 3)
    assert torch.allclose(found.usual, fit.usual, rtol=2e-3)
    assert torch.allclose(found.gains[400], torch.from_numpy(GAINS).float(), rtol=0.06)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"noise\.safetensors: damaged"):
        CopulaFit.load(path)
