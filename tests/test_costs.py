"""What a training costs, counted before it begins, against what it then does; FLOPs: tests/test_speed_benchmark.py."""

import json
import re

import pytest
import torch

import main_train_jointly
from evaluation import costs
from evaluation.costs import Meter, count_flops, epochs_of_tests, measure_step
from models import JointModel, JointOptions, Precision, draw_step
from tests.camera import CAMERA, command, make_camera
from tests.conftest import contents
from tests.runs import flat, newest_state
from tests.test_train_command import train
from tests.tiny import CONFIGS, PATCH, tiny_batch, tiny_networks
from utils.trainer import Schedule


def dry_run(root, capsys, *more: str) -> tuple[dict, str]:
    """Options, and the tables with single spaces."""
    main_train_jointly.main([*command(root, *more), "--dry_run"])
    printed = capsys.readouterr().out
    settings, _, tables = printed[printed.index("{") :].partition("\n\n")
    return json.loads(settings), re.sub(" +", " ", tables)


def test_memory_is_that_of_the_tensors_that_live_at_once():
    with Meter() as meter:
        first = torch.empty(1000, device="meta")  # 4,000 bytes
        second = first.view(10, 100)[2:]  # the same ones
        third = second * 2  # 3,200
        assert (meter.bytes, meter.peak) == (7200, 7200)
        del first, second
        assert (meter.bytes, meter.peak) == (3200, 7200)
        fourth = third.add_(1).half()  # 1,600
        assert (meter.bytes, meter.peak) == (4800, 7200)
        torch.ones(100_000)  # not on the device
    assert meter.peak == 7200 and fourth.shape == (8, 100)


def test_memory_of_a_layer_counts_weights_gradients_and_what_the_backward_pass_keeps():
    with Meter() as meter:
        weight = torch.empty(50, 50, device="meta", requires_grad=True)  # 10,000 bytes
        loss = (torch.empty(20, 50, device="meta") @ weight).square().sum()  # inputs and product 4,000 each, kept
        assert meter.bytes == 10_000 + 2 * 4000 + 4
        loss.backward()
        assert meter.bytes == 2 * 10_000 + 4 and weight.grad is not None


def test_step_of_no_values_has_the_flops_of_one_with_values():
    options = JointOptions(joint_start_epoch=2, adv_every=2)
    model = JointModel(tiny_networks(dtype=torch.float32), options)
    clean, noisy, _ = tiny_batch(0, dtype=torch.float32)

    def steps(epoch: int) -> None:
        for step in (1, 2):
            drawn = draw_step(clean.shape, 3, 0, step, model.device)
            model.training_step(clean, noisy, drawn, step, epoch)

    found = measure_step(CONFIGS, options, Precision(), (2, 3, PATCH, PATCH))
    assert found.flops == tuple(count_flops(lambda epoch=epoch: steps(epoch)) / 2 for epoch in (1, 2))


def test_test_of_no_values_has_the_flops_of_one_with_values():
    """Two images of one size and one of another; the averages synthesise, too, and do not denoise."""
    options = JointOptions(ema=0.9)
    model = JointModel(tiny_networks(dtype=torch.float32), options)
    sizes, without, joint = {(48, 40): 2, (33, 50): 1}, 0, 0
    for size, count in sizes.items():
        image = torch.zeros(1, 3, *size)
        for averaged in (False, True):
            without += count * count_flops(lambda of=averaged, image=image: model.synthesize(image, image, image, of))
        joint += count * count_flops(lambda image=image: model.denoise(image))
    found = measure_step(CONFIGS, options, Precision(), (2, 3, PATCH, PATCH), sizes)
    assert found.test == (without, without + joint) and without > 0 and joint > 0


def test_memory_of_a_step_without_values_is_that_with_values():
    """The peak of real tensors on the CPU, whose kernels here are those of "meta", is the same to a few per cent."""
    options = JointOptions(joint_start_epoch=1, adv_every=1)
    with Meter(torch.device("cpu")) as meter:
        model = JointModel(tiny_networks(dtype=torch.float32), options)
        batch = {name: torch.zeros(4, 3, PATCH, PATCH, dtype=torch.uint8) for name in ("clean", "noisy")}
        for step in (1, 2):
            model.train_batch(batch, step, 1)
    found = measure_step(CONFIGS, options, Precision(), (4, 3, PATCH, PATCH))
    assert found.peak == pytest.approx(meter.peak, rel=0.05)


@pytest.mark.parametrize("steps", [None, 17, 3, 0])
def test_tests_are_those_of_the_schedule(steps):
    schedule = Schedule(3, 9, steps, 20, 2, 5)
    due = [step for step in range(1, schedule.last_step + 1) if schedule.tests_at(step)] or [0]
    assert epochs_of_tests(schedule) == [schedule.epoch(step) for step in due]
    first = [] if due == [0] else [0]
    assert epochs_of_tests(schedule, begin_with_test=True) == [*first, *epochs_of_tests(schedule)]


def test_dry_run_tells_what_the_training_then_takes_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    make_camera(tmp_path)
    before = contents(tmp_path)
    kept = ("--epochs", "4", "--ema", "0.9", "--keep_checkpoints", "1", "--joint_start_epoch", "3")
    kept += ("--test_epoch", "1")
    measured = []
    measure = costs.measure_step
    monkeypatch.setattr(costs, "measure_step", lambda *how: measured.append(measure(*how)) or measured[0])
    options, text = dry_run(tmp_path, capsys, *kept)
    assert contents(tmp_path) == before and not (tmp_path / "saves").exists() and not (tmp_path / "cache").exists()
    assert options["G2_nc"] == 2 and options["batch_size"] == 2 and options["dry_run"]
    assert "steps 8 2 per epoch" in text

    train(tmp_path, *kept)
    state = newest_state(tmp_path / "saves" / CAMERA)["model"]
    sizes = [x.nbytes for x in flat({x: y for x, y in state.items() if x != "optimizers"}).values()]
    moments = [x.nbytes for name, x in flat(state["optimizers"]).items() if re.search("/(exp_avg.*|step)$", name)]
    networks = [x.nbytes for part in ("networks", "averages") for x in flat(state[part]).values()]
    assert measured[0].networks == sum(networks)
    scalars = sum(sizes) - sum(networks)  # of the scalers
    assert measured[0].state == sum(sizes) - scalars + sum(moments)
    files = list((tmp_path / "saves" / CAMERA / "models").rglob("checkpoint_*.pth"))
    assert len(files) == 6 + 3 and " 1 of each network are kept" in text
    rows = (tmp_path / "saves" / CAMERA / "logs/metrics.jsonl").read_text().splitlines()
    tests = [row for row in map(json.loads, rows) if row["kind"] == "test"]
    total = sum(measured[0].test["psnr" in row] for row in tests)  # with the denoiser once it trains
    assert f"operations of the tests {total / 1e18:,.4g} EFLOP {len(tests)} tests, images of each: 1" in text
    cached = sum(path.stat().st_size - 128 for path in (tmp_path / "cache").rglob("*.npy"))  # without headers
    assert f"cache {cached / 1e9:,.3g} GB of disk" in text
    images = sum(len(content) for name, content in before.items() if name.endswith(".png"))
    assert f"images {images / 1e9:,.3g} GB of disk 10 files" in text


def test_dry_run_takes_options_for_gpus_and_writes_no_lists(tmp_path, capsys):
    make_camera(tmp_path)
    before = contents(tmp_path)
    words = "--generate_data_lists --device cuda --gpu_ids 0 1 --amp bf16 --fused_adam --channels_last --compile"
    assert "memory of the GPU" in dry_run(tmp_path, capsys, *words.split())[1]
    assert contents(tmp_path) == before
