"""The stand-in for a GPU: it computes as the CPU does, follows CUDA's rules, and finds tensors on the wrong device."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from data.batches import dihedral_batch
from models import JointModel, JointOptions, draw_step, losses
from noise import AddCameraNoise, load_noise, pipeline
from tests.conftest import ROOT
from tests.stand_in import DEVICE, SecondDevice, StandIn
from tests.tiny import tiny_batch, tiny_networks

PIPELINE = pipeline.Pipeline.load(ROOT / "pretrain" / "DC" / "noise.json")
SAME_DEVICE = "expected all tensors to be on the same device"


@pytest.fixture
def second():
    with SecondDevice():
        yield


def train(device: torch.device) -> list[torch.Tensor]:
    """Train all networks for a step, resume, train for another -> losses, gradients, weights and a synthesis."""
    options, found = JointOptions(joint_start_epoch=1, adv_every=2, ema=0.9, clip_grad_norm=1), []
    model = JointModel(tiny_networks(), options, device=device)
    for step in (1, 2):
        clean, noisy, z = (images.to(device) for images in tiny_batch(step))
        drawn = draw_step(clean.shape, 3, 0, step, device)
        found += model.training_step(clean, noisy, drawn, step, 1).values()
        resumed = JointModel(tiny_networks(seed=1), options, device=device)
        resumed.load_state_dict(copy.deepcopy(model.state_dict()))
        model = resumed
    found += [
        weights for network in (model.networks | model.averages).values() for weights in network.state_dict().values()
    ]
    return [one.cpu() for one in (*found, *model.synthesize(clean, noisy, z, averaged=True), model.denoise(noisy))]


@pytest.mark.beside_cpu
def test_training_resuming_and_synthesis_are_the_cpus(device):
    """In float64: on a GPU to 1e-6, beside which its rounding is nothing; on the stand-in to the last bit."""
    for one, expected in zip(train(device), train(torch.device("cpu")), strict=True):
        if device == DEVICE:
            assert torch.equal(one, expected)
        else:
            torch.testing.assert_close(one, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.beside_cpu
def test_losses_are_the_cpus(device):
    noise, scores = torch.randn(2, 3, 24, 24), torch.randn(2, 4, 1)
    values = []
    for place in (device, torch.device("cpu")):
        there, (real, fake) = noise.to(place), scores.to(place)
        found = [losses.global_noise_level(there), losses.local_noise_level(there)]
        for mode in losses.GAN_MODES:
            found += [losses.generator_adversarial_loss(fake, mode), *losses.critic_losses(real, fake, mode)]
        values.append([one.cpu() for one in found])
    for one, expected in zip(*values, strict=True):
        torch.testing.assert_close(one, expected)


def test_gradient_penalty_on_the_second_device_is_that_of_a_linear_critic(second):
    """The gradient of sum(w x) by x is w: the penalty is (|w| - 1)^2, its gradient by w is 2 (|w| - 1) w / |w|."""
    weight = torch.tensor([3.0, 4.0], device=DEVICE, requires_grad=True)
    images = torch.ones(5, 2, device=DEVICE)
    penalty = losses.gradient_penalty(lambda x: x @ weight[:, None], images, images, torch.ones(5, 1, device=DEVICE))
    penalty.backward()
    assert penalty.tolist() == 16 and weight.grad.cpu().tolist() == pytest.approx([4.8, 6.4])


@pytest.mark.parametrize(
    "mix",
    [
        lambda there: there + torch.arange(4),
        lambda there: torch.arange(4) * there,
        lambda there: torch.cat([there, torch.ones(1, 4)]),
        lambda there: torch.stack([there[0, 0], torch.tensor(1.0)]),
        lambda there: torch.bucketize(there, torch.arange(3.0)),
        lambda there: torch.arange(9)[there.long()],
        lambda there: torch.arange(9).index_select(0, there.long().flatten()),
        lambda there: torch.nn.functional.conv2d(there[None, None], torch.ones(1, 1, 3, 3)),
        lambda there: torch.tensor(1.0).add_(there[0, 0]),
        lambda there: there.numpy(),
    ],
)
def test_tensors_of_both_devices_do_not_mix(second, mix):
    with pytest.raises(RuntimeError, match=f"{SAME_DEVICE}|not supported"):
        mix(torch.ones(3, 4, device=DEVICE))


def test_copies_indices_and_single_numbers_on_the_cpu_are_taken(second):
    there = torch.arange(12.0, device=DEVICE).view(3, 4)
    assert there[torch.tensor([2])].tolist() == [[8, 9, 10, 11]]
    assert (there * torch.tensor(2.0))[0].tolist() == [0, 2, 4, 6]
    there[0] = torch.tensor([5.0, 6, 7, 8])
    assert there[0].cpu().numpy().tolist() == [5, 6, 7, 8] and there.device == DEVICE
    assert torch.from_numpy(np.ones(2)).to(there).sum().item() == 2


WORKS = {
    "pipeline": lambda there: PIPELINE.synthesize(there, PIPELINE.numbers(800)),
    "patches": lambda there: dihedral_batch(there.permute(0, 2, 3, 1), torch.tensor([1, 4])),
}


@pytest.mark.parametrize(
    ("factory", "name"),
    [("arange", "pipeline"), ("linspace", "pipeline"), ("tensor", "pipeline"), ("arange", "patches")],
)
def test_a_tensor_that_is_made_without_a_device_is_found(second, monkeypatch, factory, name):
    make, there = getattr(torch, factory), torch.rand(2, 3, 24, 24).to(DEVICE)
    WORKS[name](there)
    monkeypatch.setattr(torch, factory, lambda *what, device=None, **more: make(*what, **more))
    with pytest.raises(RuntimeError, match=SAME_DEVICE):
        WORKS[name](there)


def test_a_planted_function_that_forgets_the_device_is_found(second, monkeypatch):
    index = pipeline.colour_index
    monkeypatch.setattr(pipeline, "colour_index", lambda shape, phase, device=None: index(shape, phase))
    with pytest.raises(RuntimeError, match=SAME_DEVICE):
        WORKS["pipeline"](torch.rand(1, 3, 24, 24).to(DEVICE))


def train_in_float32(device: torch.device) -> None:
    """Train all networks for a step and use them."""
    options = JointOptions(joint_start_epoch=1, adv_every=1, ema=0.9, clip_grad_norm=1)
    model = JointModel(tiny_networks(dtype=torch.float32), options, device=device)
    clean, noisy, z = (images.float().to(device) for images in tiny_batch(1))
    model.training_step(clean, noisy, draw_step(clean.shape, 3, 0, 1, device), 1, 1)
    model.synthesize(clean, noisy, z, averaged=True)


ON_APPLE = {
    "training": lambda there: train_in_float32(there.device),
    "pipeline": lambda there: load_noise(ROOT / "pretrain/DC").synthesize(there, noisy=there.sqrt(), seed=1, key="a"),
    "augmentation": AddCameraNoise(ROOT / "pretrain/DC", iso=(100, 3200)),
}


@pytest.mark.parametrize("name", ON_APPLE)
def test_nothing_in_float64_comes_to_a_device_that_has_none(second, monkeypatch, name):
    """As Apple's GPUs, which refuse it; NeCA on images: tests/test_tiled.py."""
    make = StandIn.__new__

    def refuse(cls: type, values: torch.Tensor) -> StandIn:
        assert values.dtype != torch.float64
        return make(cls, values)

    monkeypatch.setattr(StandIn, "__new__", staticmethod(refuse))
    ON_APPLE[name](torch.rand(2, 3, 32, 32).to(DEVICE))


def test_several_gpus_get_layers_of_their_own_and_forward_passes_on_fake_cuda_tensors():
    """What asks for "cuda" by its name; fake tensors have no values, and their backward passes want a GPU."""
    networks = tiny_networks(dtype=torch.float32)
    clean, noisy, z = (images.float() for images in tiny_batch(0))
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            z.to("cuda")
        except RuntimeError:
            pytest.skip("this PyTorch makes no fake CUDA tensors of real ones without a GPU")
        model = JointModel(networks, JointOptions(), device="cuda", world_size=2)
        assert any(isinstance(layer, nn.SyncBatchNorm) for layer in model.networks["G3"].modules())
        images = clean.to("cuda"), noisy.to("cuda")
        made = [*model.synthesize(*images, z.to("cuda")), model.denoise(images[1])]
        assert all(one.device.type == "cuda" and one.shape == clean.shape for one in made)
        with pytest.raises(Exception, match="device"):
            model.synthesize(*images, z)
