"""The denoiser's training step against a second implementation; what it stores."""

import copy

import pytest
import torch
import torch.nn.functional as F

from models import DenoiserModel, DenoiserOptions, DnCNN, build_networks
from models.optimise import ema_update

CONFIG = {"nc": 4, "nb": 4}
SHAPE = (2, 3, 16, 16)


def network(seed: int = 0) -> DnCNN:
    return build_networks({"G3": CONFIG}, "kaiming", seed)["G3"]


def batches(count: int, seed: int = 0) -> list[dict]:
    generator = torch.Generator().manual_seed(seed)
    return [
        {name: torch.randint(0, 256, SHAPE, generator=generator, dtype=torch.uint8) for name in ("clean", "noisy")}
        for _ in range(count)
    ]


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_steps_equal_a_plain_implementation_of_dncnn_and_adam(loss, monkeypatch, device):
    monkeypatch.setattr(
        "models.model_denoiser.to_float", lambda image_uint8, device: image_uint8.to(device).double() / 255
    )
    lr, decayed_after, (beta1, beta2) = 1e-2, 2, (0.9, 0.99)
    plain = network().double()
    options = DenoiserOptions(loss, lr, (decayed_after,), (beta1, beta2))
    model = DenoiserModel(copy.deepcopy(plain), options, device)
    weights = dict(plain.named_parameters())
    first, second = ({name: torch.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
    for step, batch in enumerate(batches(4), start=1):
        clean, noisy = (batch[name].double() / 255 for name in ("clean", "noisy"))
        features = noisy
        for layer in plain.model:
            if isinstance(layer, torch.nn.BatchNorm2d):
                mean = features.mean((0, 2, 3), keepdim=True)
                var = (features - mean).square().mean((0, 2, 3), keepdim=True)
                weight, bias = (each[:, None, None] for each in (layer.weight, layer.bias))
                features = (features - mean) / (var + 1e-4).sqrt() * weight + bias
            elif isinstance(layer, torch.nn.Conv2d):
                features = F.conv2d(features, layer.weight, layer.bias, padding=1)
            else:
                features = features.clamp(min=0)
        error = noisy - features - clean
        value = error.square().mean() if loss == "mse" else error.abs().mean()
        gradients = torch.autograd.grad(value, list(weights.values()))
        rate = lr if step <= decayed_after else lr / 10
        with torch.no_grad():
            for (name, weight), gradient in zip(weights.items(), gradients):
                first[name] = beta1 * first[name] + (1 - beta1) * gradient
                second[name] = beta2 * second[name] + (1 - beta2) * gradient**2
                direction = first[name] / (1 - beta1**step)
                weight -= rate * direction / ((second[name] / (1 - beta2**step)).sqrt() + 1e-8)
        losses = model.train_batch(batch, step, epoch=step)
        assert list(losses) == ["rec"]
        assert losses["rec"].item() == pytest.approx(value.item(), rel=1e-9)
    for name, weight in model.network.named_parameters():
        # Biases before a BatchNorm have no gradient but rounding, which Adam magnifies.
        torch.testing.assert_close(weight.cpu(), weights[name], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("epoch", "expected"), [(1, 1e-3), (200, 1e-3), (201, 1e-4), (270, 1e-4), (271, 1e-5)])
def test_learning_rate_falls_to_a_tenth_after_each_milestone(epoch, expected):
    model = DenoiserModel(network(), DenoiserOptions())
    assert model.learning_rate(epoch) == pytest.approx(expected)


def test_denoising_changes_nothing_in_the_network_and_depends_on_no_other_image():
    model = DenoiserModel(network(), DenoiserOptions())
    model.train_batch(batches(1)[0], 1, 1)
    before = copy.deepcopy(model.network.state_dict())
    noisy = torch.rand(2, 3, 12, 20)
    together, alone = model.denoise(noisy), model.denoise(noisy[:1])
    torch.testing.assert_close(together[:1], alone)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.network.state_dict().items())


def test_a_test_between_two_steps_does_not_change_the_training():
    tested, plain = (DenoiserModel(network(), DenoiserOptions()) for _ in range(2))
    for step, batch in enumerate(batches(2), start=1):
        plain.train_batch(batch, step, 1)
        tested.train_batch(batch, step, 1)
        tested.denoise(torch.rand(1, 3, 16, 16))
    weights = plain.network.state_dict()
    assert all(torch.equal(weights[key], tensor) for key, tensor in tested.network.state_dict().items())


def test_average_follows_the_weights_and_is_what_averaged_denoising_takes():
    model = DenoiserModel(network(), DenoiserOptions(ema=0.7, lr=0.1))
    expected = copy.deepcopy(model.network).eval()
    for step, batch in enumerate(batches(3), start=1):
        model.train_batch(batch, step, 1)
        ema_update(expected, model.network, 0.7, step)
    noisy = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model.denoise(noisy, averaged=True), expected(noisy))
    assert not torch.equal(model.denoise(noisy), model.denoise(noisy, averaged=True))
