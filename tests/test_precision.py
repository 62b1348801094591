"""Number formats and kernels of the training, on the CPU: each trains, resumes, and keeps what must stay float32."""

import pytest
import torch

from models import JointModel, JointOptions, Precision, Update, draw_step, losses
from tests.runs import assert_same, flat
from tests.test_train_command import models, root, rows, train, weights  # noqa: F401
from tests.tiny import tiny_batch, tiny_networks
from utils import checkpoints, runtime

FLAGS = [["--amp", "bf16"], ["--amp", "fp16"], ["--tf32"], ["--channels_last"], ["--fused_adam"], ["--ema", "0.9"]]


def steps(
    precision: Precision, count: int = 6, device: torch.device | str = "cpu"
) -> tuple[JointModel, list[dict[str, float]]]:
    """Train tiny float32 networks for some steps -> model, losses."""
    options = JointOptions(joint_start_epoch=1, adv_every=2)
    model = JointModel(tiny_networks(dtype=torch.float32), options, device=device, precision=precision)
    rows = []
    for step in range(1, count + 1):
        clean, noisy = (images.to(device) for images in tiny_batch(step, dtype=torch.float32)[:2])
        drawn = draw_step(clean.shape, 3, 0, step, model.device)
        rows.append({name: float(x) for name, x in model.training_step(clean, noisy, drawn, step, 1).items()})
    return model, rows


@pytest.mark.parametrize("flags", [*FLAGS, [word for flags in FLAGS[2:] for word in flags] + FLAGS[0]])
@pytest.mark.no_stand_in
def test_run_with_other_precision_trains_and_resumes_bit_identically(root, flags, device):  # noqa: F811
    flags = [*flags, "--device", device.type]
    train(root, "--epochs", "4", *flags, save="whole")
    train(root, "--epochs", "4", "--steps", "3", *flags)
    train(root, "--epochs", "4", *flags)
    assert_resumed(root, device)
    for name, value in flat(weights(root)).items():
        assert not isinstance(value, torch.Tensor) or value.dtype in (torch.float32, torch.int64, torch.bool), name


def assert_resumed(root, device):  # noqa: F811
    """Compare the runs `saves`, resumed, and `whole`: bit by bit on the CPU, on a GPU by the losses, to 1 %."""
    resumed, whole = rows(root, "train"), rows(root, "train", "whole")
    if device.type == "cpu":
        assert_same(weights(root), weights(root, "whole"))
        assert resumed == whole
        return
    assert [row["step"] for row in resumed] == [row["step"] for row in whole]
    for name in ("reg", "std1", "std2"):
        assert [row[name] for row in resumed] == pytest.approx([row[name] for row in whole], rel=0.01)


@pytest.mark.no_stand_in
@pytest.mark.parametrize(("amp", "digits"), [("bf16", 2**-8), ("fp16", 2**-11)])
def test_amp_follows_float32_to_its_digits_and_not_closer(amp, digits, device):
    # Of the same weights:
    exact, rounded = (steps(precision, 1, device)[1][0] for precision in (Precision(), Precision(amp=amp)))
    for name in ("reg", "std1", "std2", "rec"):
        assert 0 < abs(exact[name] - rounded[name]) / exact[name] < 20 * digits, name
    assert exact["gp"] != rounded["gp"], "the fakes of the critics' batch are rounded"


@pytest.mark.parametrize("precision", [Precision(channels_last=True), Precision(fused_adam=True)])
@pytest.mark.no_stand_in
def test_kernels_change_no_more_than_the_last_digits(precision, device):
    for plain, other in zip(*(steps(each, device=device)[1] for each in (Precision(), precision))):
        for name in ("reg", "std1", "std2", "rec"):
            assert plain[name] == pytest.approx(other[name], rel=1e-4)


def test_networks_compute_in_the_chosen_format_and_the_gradient_penalty_in_float32(monkeypatch):
    seen = {"network": set(), "penalty": set()}
    penalty = losses.gradient_penalty

    def watched(critic, *images):
        def call(mixed):
            score = critic(mixed)
            seen["penalty"].add((score.dtype, torch.is_autocast_enabled("cpu")))
            return score

        return penalty(call, *images)

    networks = tiny_networks(dtype=torch.float32)
    for network in networks.values():
        first = next(layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
        first.register_forward_hook(lambda layer, given, made: seen["network"].add(made.dtype))
    monkeypatch.setattr(losses, "gradient_penalty", watched)
    model = JointModel(networks, JointOptions(joint_start_epoch=1, adv_every=1), precision=Precision(amp="bf16"))
    clean, noisy, _ = tiny_batch(0, dtype=torch.float32)
    found = model.training_step(clean, noisy, draw_step(clean.shape, 3, 0, 1, torch.device("cpu")), 1, 1)
    assert seen["penalty"] == {(torch.float32, False)}
    assert torch.bfloat16 in seen["network"]
    assert all(loss.dtype == torch.float32 for loss in found.values())


@pytest.mark.no_stand_in
def test_overflowing_gradients_of_fp16_skip_the_step_and_lower_the_scale(device):
    model, _ = steps(Precision(amp="fp16"), 1, device)
    update = model.generator_update
    before = {key: tensor.clone() for key, tensor in model.networks["E"].state_dict().items()}
    scale = update.scaler.get_scale()
    update.backward_and_step(model.networks["E"](torch.rand(2, 3, 8, 8, device=device)).sum() * 1e38)
    assert update.scaler.get_scale() == scale / 2
    assert_same(model.networks["E"].state_dict(), before)


@pytest.mark.parametrize("fused", [True, False])
def test_fused_updates_are_the_runs_choice_and_not_the_states(fused):
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    before, after = (torch.optim.Adam([x], fused=of) for x, of in zip(parameters, (not fused, fused)))
    update = Update({"E": after}, "fp16", torch.device("cpu"))
    update.load({"E": before.state_dict()}, update.scaler.state_dict())
    assert after.param_groups[0]["fused"] is fused
    update.backward_and_step(parameters[1].sum() * 1e-3)
    assert (parameters[1] < 1).all()


def test_scale_of_fp16_is_saved(root, monkeypatch):  # noqa: F811
    scalers, update = {}, torch.amp.GradScaler.update
    monkeypatch.setattr(torch.amp.GradScaler, "update", lambda self: (scalers.setdefault(id(self), self), update(self)))
    train(root, "--epochs", "2", "--amp", "fp16")
    state = checkpoints.load_checkpoint(checkpoints.numbered_files(models(root), "training_state_")[-1])
    assert state["model"]["scalers"] == [scaler.state_dict() for scaler in scalers.values()]
    assert all(saved["scale"] < 2**16 or saved["_growth_tracker"] == 4 for saved in state["model"]["scalers"])


def test_amp_cannot_change_on_resume_but_kernels_can(root):  # noqa: F811
    train(root, "--epochs", "1")
    train(root, "--epochs", "2", "--channels_last", "--fused_adam", "--tf32")
    with pytest.raises(ValueError, match="begun with amp none, not bf16 \\(--amp\\)"):
        train(root, "--epochs", "3", "--amp", "bf16")


def test_tf32_is_off_unless_wanted(root):  # noqa: F811
    for flags, expected in (([], False), (["--tf32"], True)):
        train(root, "--epochs", "1", *flags)
        assert torch.backends.cudnn.allow_tf32 is expected
        assert torch.backends.cuda.matmul.allow_tf32 is expected
    runtime.allow_tf32(False)


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="a switch of PyTorch 2.9")
@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_is_what_was_asked_for_whatever_the_program_has_set_for_all_backends(allowed):
    products = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    try:
        for elsewhere in ("tf32", "ieee"):
            torch.backends.fp32_precision = elsewhere
            runtime.allow_tf32(allowed)
            assert [switch.fp32_precision == "tf32" for switch in products] == [allowed, allowed]
    finally:
        torch.backends.fp32_precision = "none"
        runtime.allow_tf32(False)


@pytest.mark.no_stand_in
def test_compiled_networks_train_and_resume_bit_identically(root, monkeypatch, device):  # noqa: F811
    compiled = []
    compile_module = torch.nn.Module.compile

    def without_code_generation(module):  # what is captured and differentiated is the same, without a C++ compiler
        compiled.append(module)
        compile_module(module, backend="aot_eager" if device.type == "cpu" else "inductor")

    monkeypatch.setattr(torch.nn.Module, "compile", without_code_generation)
    place = ("--device", device.type)
    train(root, "--epochs", "4", *place, save="plain")
    assert not compiled
    train(root, "--epochs", "4", "--compile", *place, save="whole")
    assert len(compiled) == 6
    train(root, "--epochs", "4", "--compile", "--steps", "3", *place)
    train(root, "--epochs", "4", "--compile", *place)
    assert_resumed(root, device)
    plain, whole = rows(root, "train", "plain"), rows(root, "train", "whole")
    assert [row["std1"] for row in plain] == pytest.approx([row["std1"] for row in whole], rel=1e-3)
