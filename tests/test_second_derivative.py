"""Second derivatives of critics: the fast way against PyTorch's own."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import ACT_MODES, Discriminator
from models.second_derivative import ForSecondDerivative

IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def critic(act_mode: str) -> nn.Module:
    torch.manual_seed(1)
    return Discriminator(32, 3, nc=4, act_mode=act_mode).double()


def penalised(network: nn.Module, images: torch.Tensor, context) -> list[torch.Tensor | None]:
    """Gradients of a loss on the score and on its gradient by the images: by the images and by all parameters."""
    images = images.clone().requires_grad_()
    with context:
        score = network(images)
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    loss = (gradient.flatten(1).norm(dim=1) - 1).square().mean() + score.square().mean()
    return torch.autograd.grad(loss, [images, *network.parameters()])


@pytest.mark.parametrize("act_mode", ACT_MODES)
def test_second_derivatives_have_the_same_bits_in_float64(act_mode):
    network = critic(act_mode)
    found, expected = (penalised(network, IMAGES, context) for context in (ForSecondDerivative(), nullcontext()))
    for one, other in zip(found, expected):
        assert torch.equal(one, other)


@pytest.mark.parametrize("act_mode", ACT_MODES)
def test_second_derivatives_in_float32_are_as_near_to_float64_as_plain_ones(act_mode):
    network = critic(act_mode)
    exact = penalised(network, IMAGES, nullcontext())
    network.float()
    found, plain = (penalised(network, IMAGES.float(), context) for context in (ForSecondDerivative(), nullcontext()))
    size = max(truth.abs().max() for truth in exact)
    error, error_of_plain = (
        max((gradient - truth).abs().max() / size for gradient, truth in zip(gradients, exact))
        for gradients in (found, plain)
    )
    assert found[0].dtype == torch.float32
    assert error < max(3 * error_of_plain, 1e-6)


@pytest.mark.parametrize(
    "settings", [{"bias": False}, {"stride": 2, "padding": 1}, {"padding": "same"}, {"dilation": 2}, {"groups": 2}]
)
def test_convolutions_of_every_shape_are_differentiated_twice(settings):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 3, **settings), nn.Tanh(), nn.Conv2d(6, 2, 3))
    images = torch.randn(2, 4, 11, 12)
    found, expected = (penalised(network, images, context) for context in (ForSecondDerivative(), nullcontext()))
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_values_are_unchanged_by_activations_in_place_and_not():
    features = torch.linspace(-1, 1, 7)
    for layer in (nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.2), nn.LeakyReLU(0.2, inplace=True), nn.LeakyReLU()):
        with ForSecondDerivative():
            found = layer(features.clone())
        assert torch.equal(found, layer(features.clone()))


def test_convolutions_are_taken_as_functions_with_keywords_and_in_channels_last():
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    calls = [
        lambda images: F.conv2d(images, weight),
        lambda images: F.conv2d(images, weight, padding=1, stride=2),
        lambda images: F.conv2d(images.to(memory_format=torch.channels_last), weight, padding=(1, 0)),
        lambda images: F.conv2d(images[0], weight).unsqueeze(0),
    ]
    for call in calls:
        found, expected = (
            second_derivative(call, weight, context) for context in (ForSecondDerivative(), nullcontext())
        )
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def second_derivative(call, weight: torch.Tensor, context) -> torch.Tensor:
    images = IMAGES.float().requires_grad_()
    with context:
        score = call(images).tanh()
    (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
    return torch.autograd.grad(gradient.square().sum(), weight)[0]


def test_frozen_weights_get_no_gradient_and_the_input_gets_the_same():
    network = critic("L").float().requires_grad_(False)
    gradients = []
    for context in (ForSecondDerivative(), nullcontext()):
        images = IMAGES.float().requires_grad_()
        with context:
            score = network(images.tanh())
        (gradient,) = torch.autograd.grad(score.sum(), images, create_graph=True)
        gradients.append(torch.autograd.grad(gradient.square().sum(), images)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
