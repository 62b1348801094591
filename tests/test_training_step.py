"""The training step against a second, plain implementation, and its state."""

import copy

import pytest
import torch

from benchmark.naive import NaiveTraining
from models import (
    ACT_MODES,
    CRITICS,
    LETTERS,
    JointModel,
    JointOptions,
    Precision,
    StepRandomness,
    build_networks,
    draw_step,
)
from models.losses import local_noise_level
from tests.tiny import CONFIGS, tiny_batch, tiny_networks

STEPS = 11  # two adversarial steps of wgangp, and updates on momentum alone after each


def run_steps(model: JointModel, steps, epoch: int) -> list[dict]:
    return [run_step(model, step, epoch) for step in steps]


def run_step(model: JointModel, step: int, epoch: int, dtype: torch.dtype = torch.float64) -> dict:
    place, random = {"device": model.device, "dtype": dtype}, drawn(step)
    mixing = {letter: share.to(**place) for letter, share in random.mixing.items()}
    there = StepRandomness(random.z.to(**place), random.phase, mixing)
    return model.training_step(*(images.to(**place) for images in inputs(step)[:2]), there, step, epoch)


def inputs(step: int):
    return tiny_batch(seed=step)


def drawn(step: int) -> StepRandomness:
    generator = torch.Generator().manual_seed(1000 + step)
    mixing = {letter: torch.rand(2, 1, 1, 1, generator=generator, dtype=torch.float64) for letter in CRITICS}
    return StepRandomness(inputs(step)[2], (step % 3, step // 3 % 3), mixing)


@pytest.mark.parametrize("gan_mode", ["wgangp", "lsgan", "vanilla"])
@pytest.mark.parametrize("joint, separate", [(False, False), (True, False), (True, True)])
@pytest.mark.no_stand_in
def test_step_equals_the_plain_implementation(gan_mode, joint, separate, device):
    options = JointOptions(gan_mode=gan_mode, joint_start_epoch=3, separate_train=separate)
    model = JointModel(tiny_networks(), options, device=device)
    plain = NaiveTraining(tiny_networks(), gan_mode=gan_mode, separate=separate)
    ours = run_steps(model, range(1, STEPS + 1), epoch=3 if joint else 2)
    for step, losses in enumerate(ours, start=1):
        clean, noisy, z = inputs(step)
        random = drawn(step)
        expected = plain.step(clean, noisy, z, random.phase, random.mixing["D1"], random.mixing["D2"], step, joint)
        assert losses.keys() == expected.keys()
        for name, value in losses.items():
            torch.testing.assert_close(value.cpu(), expected[name], rtol=1e-7, atol=1e-12, msg=f"{name} of step {step}")
    for letter in LETTERS:
        for key, tensor in model.networks[letter].state_dict().items():
            torch.testing.assert_close(tensor.cpu(), getattr(plain, letter).state_dict()[key], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("act_mode", ACT_MODES)
def test_step_in_float32_differs_from_the_plain_one_in_float64_by_rounding(act_mode, device):
    networks, exact = ({**tiny_networks(), **critics(act_mode)} for _ in range(2))
    model = JointModel({letter: network.float() for letter, network in networks.items()}, JointOptions(), device=device)
    plain = NaiveTraining(exact)
    clean, noisy, z = inputs(1)
    random = drawn(1)
    expected = plain.step(clean, noisy, z, random.phase, random.mixing["D1"], random.mixing["D2"], 1, False)
    found = run_step(model, 1, 1, torch.float32)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value.cpu().double(), expected[name], rtol=1e-4, atol=1e-6, msg=name)
    for letter in CRITICS:  # the gradients too, by which the critics have moved
        truths = [parameter.grad for parameter in exact[letter].parameters()]
        largest = max(truth.abs().max() for truth in truths)
        for parameter, truth in zip(networks[letter].parameters(), truths):
            torch.testing.assert_close(parameter.grad.cpu().double(), truth, rtol=0, atol=1e-4 * largest)


def critics(act_mode: str) -> dict:
    configs = {letter: CONFIGS[letter] | {"act_mode": act_mode} for letter in CRITICS}
    return {letter: network.double() for letter, network in build_networks(configs, "kaiming", 0).items()}


def test_ncnet_keeps_moving_on_momentum_between_adversarial_steps():
    model = JointModel(tiny_networks(), JointOptions(separate_train=True, joint_start_epoch=1))
    moved = []
    for step in range(1, 8):
        before = copy.deepcopy(model.networks["G2"].state_dict())
        run_steps(model, [step], epoch=1)
        after = model.networks["G2"].state_dict()
        moved.append(any(not torch.equal(after[key], before[key]) for key in after))
    assert moved == [False] * 4 + [True] * 3


def test_denoiser_loss_reaches_the_generators_only_without_separate_training():
    def generator_weights(separate, joint):
        model = JointModel(tiny_networks(), JointOptions(separate_train=separate, joint_start_epoch=1 if joint else 9))
        run_steps(model, [1], epoch=1)
        return model.networks["G1"].state_dict()["conv1.weight"]

    solo = generator_weights(separate=False, joint=False)
    assert torch.equal(generator_weights(separate=True, joint=True), solo)
    assert not torch.equal(generator_weights(separate=False, joint=True), solo)


@pytest.mark.parametrize("amp", [None, "fp16"])  # fp16's losses are scaled, and its gradients with them
def test_long_gradients_are_shortened_and_keep_their_direction(amp):
    def gradients(longest):
        model = JointModel(tiny_networks(), JointOptions(clip_grad_norm=longest), precision=Precision(amp))
        run_steps(model, [1], epoch=1)
        return {x: torch.cat([p.grad.flatten() for p in model.networks[x].parameters()]) for x in ("E", "G1", "D1")}

    free = gradients(longest=0)
    longest = free["E"].norm().item() / 10
    for letter, gradient in gradients(longest).items():
        torch.testing.assert_close(gradient, free[letter] * min(1, longest / free[letter].norm().item()))


def test_learning_rate_decays_as_multisteplr_stepped_once_an_epoch():
    model = JointModel(tiny_networks(), JointOptions(lr_decay_1=(2,), lr_decay_2=(1, 3)))
    for letter, milestones, base in (("E", [2], 1e-4), ("D1", [2], 1e-4), ("G3", [1, 3], 1e-3)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
        for epoch in range(1, 6):
            assert model.learning_rate(letter, epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()


def test_learning_rate_of_the_epoch_reaches_the_optimiser():
    model = JointModel(tiny_networks(), JointOptions(lr_decay_2=(1,), joint_start_epoch=1))
    run_steps(model, [1], epoch=2)
    assert model.optimizers["G3"].param_groups[0]["lr"] == pytest.approx(1e-4)


def test_moving_average_is_the_weighted_mean_of_all_weights_since_the_start(device):
    model = JointModel(tiny_networks(), JointOptions(ema=0.5, joint_start_epoch=9), device=device)
    expected = model.networks["E"].state_dict()["model.0.0.weight"].clone()
    for step in range(1, 12):
        run_steps(model, [step], epoch=1)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.networks["E"].state_dict()["model.0.0.weight"]
    torch.testing.assert_close(model.averages["E"].state_dict()["model.0.0.weight"].cpu(), expected.cpu())


def test_adv_every_sets_the_steps_that_have_adversarial_terms():
    model = JointModel(tiny_networks(), JointOptions(adv_every=2))
    assert ["adv1" in losses for losses in run_steps(model, range(1, 5), epoch=1)] == [False, True, False, True]


def test_randomness_of_a_step_depends_on_seed_and_step_alone():
    def draw(seed, step):
        return draw_step(torch.Size((2, 3, 8, 8)), 3, seed, step, torch.device("cpu"))

    draw(5, 1)
    assert torch.equal(draw(0, 7).z, draw(0, 7).z)
    assert not torch.equal(draw(0, 7).z, draw(0, 8).z)
    assert not torch.equal(draw(0, 7).z, draw(1, 7).z)
    assert {draw(0, step).phase for step in range(200)} == {(h, w) for h in range(3) for w in range(3)}


def test_local_noise_level_of_flat_noise_is_zero_and_not_nan():
    # E[n^2] - E[n]^2 of a constant is a rounding error of either sign.
    noise = torch.full((1, 3, 32, 32), 0.1)
    centre = local_noise_level(noise)[..., 3:-3, 3:-3]
    assert torch.isfinite(centre).all()
    assert centre.max() < 1e-3
