"""NPNet's normalisation: the fast derivative against the plain formula, whose own derivative is PyTorch's."""

import pytest
import torch

from models.gain_normalise import EPSILON, _GainNormalise, gain_normalise


def inputs(dtype: torch.dtype, shape: tuple[int, ...] = (2, 3, 5, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(shape, generator=generator, dtype=torch.float64) * 3 + 2
    gain = torch.rand(shape[0], 1, 1, 1, generator=generator, dtype=torch.float64)
    return features.to(dtype).requires_grad_(), gain.to(dtype).requires_grad_()


def plain(features: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    samples = [sample - sample.mean() for sample in features]
    return torch.stack([sample / (sample.std() + EPSILON) * g for sample, g in zip(samples, gain)])


def test_derivative_agrees_with_differences():
    assert torch.autograd.gradcheck(_GainNormalise.apply, inputs(torch.float64))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-14)])
def test_values_and_derivatives_are_those_of_the_plain_formula(dtype, tolerance):
    arguments = inputs(dtype, (3, 8, 16, 16))
    weights = torch.randn(3, 8, 16, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)
    exact = [value.detach().double().requires_grad_() for value in arguments]
    made, truth = gain_normalise(*arguments), plain(*exact)
    assert made.dtype == dtype
    assert torch.allclose(made.double(), truth, rtol=0, atol=tolerance)
    found = torch.autograd.grad((made * weights).sum(), arguments)
    for one, other in zip(found, torch.autograd.grad((truth * weights.double()).sum(), exact)):
        assert torch.allclose(one.double(), other, rtol=100 * tolerance, atol=100 * tolerance)


def test_constant_features_give_zeros_and_finite_derivatives():
    features = torch.full((1, 2, 4, 4), 0.5, requires_grad=True)
    gain = torch.full((1, 1, 1, 1), 0.1, requires_grad=True)
    made = gain_normalise(features, gain)
    assert torch.equal(made, torch.zeros_like(made))
    found = torch.autograd.grad(made.square().sum() + made.sum(), [features, gain])
    assert all(torch.isfinite(gradient).all() for gradient in found)


def test_half_precision_takes_the_plain_way():
    features, gain = (value.detach().to(torch.bfloat16) for value in inputs(torch.float32))
    assert gain_normalise(features, gain).dtype == torch.bfloat16
