"""Several processes on the CPU that train one model, as torchrun and `--gpu_ids 0 1` start them."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.camera import CAMERA, command, make_camera
from tests.conftest import ROOT, wait_until
from tests.refusal import one_line
from tests.runs import assert_same
from tests.shared_batch import BATCH, train
from tests.test_train_command import models, rows, weights
from utils import distributed, runtime
from utils.distributed import share_of

OWN_START = "import sys; from utils.distributed import start_processes; sys.exit(start_processes(2, sys.argv[1:]))"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
# The denoiser without BatchNorm, whose batch on the CPU is a process's own share.
RUN = ("--batch_size", "4", "--epochs", "6", "--test_epoch", "1", "--G3_act_mode", "R", "--ema", "0.9")


@pytest.fixture
def root(tmp_path) -> Path:
    make_camera(tmp_path, scenes=6)
    return tmp_path


def start(*words: str, own: bool = False) -> subprocess.Popen:
    """Start a script in two processes, by torchrun or by our own start."""
    launcher = ["-c", OWN_START] if own else ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([sys.executable, *launcher, *map(str, words)], cwd=ROOT, env=ENVIRONMENT, **pipes)


def run(*words: str, own: bool = False) -> tuple[int, str]:
    process = start(*words, own=own)
    output = process.communicate(timeout=120)[0]
    return process.returncode, output


@pytest.mark.parametrize(("codes", "expected"), [((130, 1), 130), ((1, 1), 1), ((0, 0), 0)])
def test_a_run_that_ctrl_c_has_ended_in_one_process_ends_so_though_others_miss_it(tmp_path, codes, expected):
    script = tmp_path / "ends.py"  # the second process ends as the first one leaves it
    script.write_text(f"import os, sys, time\nrank = int(os.environ['RANK'])\nsys.exit({codes}[rank])\n")
    assert run(script, own=True)[0] == expected


@pytest.mark.no_stand_in
def test_two_processes_with_half_the_batch_each_give_the_weights_of_one_with_the_whole(tmp_path, device):
    code, output = run("tests/shared_batch.py", tmp_path / "weights.pt", device, own=True)
    assert code == 0, output
    shared = torch.load(tmp_path / "weights.pt", weights_only=True)
    alone = train(slice(0, BATCH))
    largest = max(float((shared[name] - alone[name]).abs().max()) for name in alone)
    assert largest < (1e-9 if device.type == "cpu" else 1e-6)  # of float64
    half = train(slice(0, BATCH // 2))
    assert max(float((half[name] - alone[name]).abs().max()) for name in alone) > 1e-5, "the batch's size must matter"


def test_failure_of_one_process_ends_all_with_its_error(tmp_path):
    begun = time.monotonic()
    code, output = run("tests/shared_batch.py", tmp_path / "weights.pt", "cpu", "fail", own=True)
    assert code == 1
    assert "error: the second process has its reasons" in output
    assert "Traceback" not in output
    assert not (tmp_path / "weights.pt").exists()
    assert time.monotonic() - begun < 60


def test_torchrun_trains_as_one_process_does_and_either_continues_the_other(root):
    code, output = run("main_train_jointly.py", *command(root, *RUN, "--steps", "3", "--num_workers", "1", save="two"))
    assert code == 0, output
    assert output.count("complete: 3 steps") == 1, "the first process alone speaks"
    for save, steps in (("one", "3"), ("one", "6"), ("two", "6")):
        words = [sys.executable, "main_train_jointly.py", *command(root, *RUN, "--steps", steps, save=save)]
        assert subprocess.run(words, cwd=ROOT, env=ENVIRONMENT).returncode == 0
    # Not the critics: in float32 Adam makes much of the last digits of their gradients. Float64 is compared above.
    for name in ("std1", "std2", "rec"):
        losses = [[row.get(name, 0) for row in rows(root, "train", save)] for save in ("one", "two")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3), "logged losses are means over all processes"
    assert len(rows(root, "test", "two")) == 6
    code, output = run("main_train_jointly.py", *command(root, *RUN, "--not_train", save="two"), own=True)
    assert code == 0, output


def test_killed_process_ends_the_run_which_continues_bit_identically(root):
    arguments = (*RUN, "--num_workers", "1")
    code, output = run("main_train_jointly.py", *command(root, *arguments, save="whole"), own=True)
    assert code == 0, output
    process = start("main_train_jointly.py", *command(root, *arguments), own=True)
    log = root / "saves" / CAMERA / "logs" / "metrics.jsonl"
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) > 6, process)
    os.kill(second_of(process.pid), signal.SIGKILL)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "another process of this run has ended" in output
    assert list(models(root).glob("training_state_*")), "it was killed after the first checkpoints"
    code, output = run("main_train_jointly.py", *command(root, *arguments), own=True)
    assert code == 0, output
    assert "resuming after step" in output
    assert_same(weights(root), weights(root, "whole"))
    assert rows(root, "train") == rows(root, "train", "whole")


def test_stop_signal_to_the_starting_process_saves_in_all_and_exits_cleanly(root):
    process = start("main_train_jointly.py", *command(root, *RUN, "--epochs", "5000", "--test_epoch", "9999"), own=True)
    log = root / "saves" / CAMERA / "logs" / "metrics.jsonl"
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) > 3, process)
    process.terminate()
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert int(weights(root)["step"]) == rows(root, "train")[-1]["step"]


def second_of(pid: int) -> int:
    """The process of rank 1 among the children of a process."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return next(int(child) for child in children if "RANK=1" in Path(f"/proc/{child}/environ").read_text().split("\0"))


def test_batch_that_cannot_be_shared_equally_is_named(monkeypatch):
    monkeypatch.setattr("utils.distributed.rank", lambda: 1)
    monkeypatch.setattr("utils.distributed.world_size", lambda: 4)
    assert share_of(8) == slice(2, 4)
    with pytest.raises(ValueError, match=r"batch size 6: 4 processes .* multiple of 4"):
        share_of(6)


@pytest.mark.parametrize(
    ("name", "gpu_ids", "cuda", "torchrun", "expected"),
    [
        ("auto", [0, 1], True, False, ["cuda:0", "cuda:1"]),
        ("cuda", [2, 3, 5], True, False, ["cuda:2", "cuda:3", "cuda:5"]),
        ("auto", [0], True, False, ["cuda:0"]),
        ("cpu", [0, 1], True, False, ["cpu"]),
        ("auto", [0, 1], False, False, ["cpu"]),
        ("auto", [0, 1], True, True, ["cuda:0"]),  # one of them
    ],
)
def test_several_gpus_start_a_process_each(monkeypatch, name, gpu_ids, cuda, torchrun, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 6)
    monkeypatch.setattr(torch.cuda, "set_device", lambda gpu: None)
    for variable in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(variable, "1") if torchrun else monkeypatch.delenv(variable, raising=False)
    assert list(map(str, runtime.choose_devices(name, gpu_ids))) == expected


@pytest.mark.parametrize(
    ("gpu_ids", "place", "count", "expected"),
    [([0], 0, 1, 0), ([2], 0, 1, 2), ([0], 3, 4, 3), ([1, 3], 0, 2, 1), ([1, 3], 1, 2, 3), ([1], 0, 2, 0)],
)
def test_each_process_of_a_machine_takes_its_own_gpu(monkeypatch, gpu_ids, place, count, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", lambda gpu: None)
    monkeypatch.setenv("LOCAL_RANK", str(place))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))
    assert runtime.choose_device("auto", gpu_ids) == torch.device("cuda", expected)


def test_the_same_gpu_twice_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="GPUs 1 1: one is there twice"):
        runtime.choose_devices("auto", [1, 1])


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="GPUs 0 to 1, none for process 2"):
        runtime.choose_device("auto", [0])


def meet(monkeypatch, **environment: str) -> None:
    """Enter and leave the process group of an environment, with little patience."""
    monkeypatch.setattr(distributed, "JOIN_SECONDS", 0.3)
    monkeypatch.setattr(distributed, "SAY_AFTER", 0)
    monkeypatch.setattr(distributed, "POLL", 0.02)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with distributed.process_group(torch.device("cpu")):
        assert (distributed.rank(), distributed.world_size(), distributed.local_rank()) == (0, 1, 0)


@pytest.fixture
def here() -> dict[str, str]:
    """An address of this machine where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}


@pytest.mark.parametrize(
    "left", [{"RANK": "3", "WORLD_SIZE": "8"}, {"RANK": "5", "WORLD_SIZE": "2"}, {"RANK": "a", "WORLD_SIZE": ""}]
)
def test_ranks_that_a_cluster_has_left_are_ignored_with_a_note(monkeypatch, capsys, left):
    meet(monkeypatch, **left, LOCAL_RANK="3", LOCAL_WORLD_SIZE="4")
    assert distributed.local_world_size() == 1
    note = capsys.readouterr().err
    assert note.startswith(f"note: RANK {left['RANK']} and WORLD_SIZE {left['WORLD_SIZE']} ") and note.count("\n") == 1


def test_one_process_waits_for_nobody(monkeypatch, capsys, here):
    meet(monkeypatch)
    meet(monkeypatch, RANK="0", WORLD_SIZE="1", **here)
    meet(monkeypatch, RANK="0", WORLD_SIZE="1")
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("rank", "missing"),
    [("0", "ranks missing at {}: 1, 2 of 3"), ("1", "rank 0 of 3 does not answer at {}")],
)
def test_missing_ranks_are_named_with_the_address_after_a_while(monkeypatch, capsys, here, rank, missing):
    what = missing.format(":".join(here.values()))
    with pytest.raises(ValueError, match=one_line(what, "after 0.3 s", "unset RANK, WORLD_SIZE")):
        meet(monkeypatch, RANK=rank, WORLD_SIZE="3", **here)
    assert what in capsys.readouterr().err  # said before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"RANK": "2"}, ["RANK is 2 and WORLD_SIZE 2", "below 2"]),
        ({"RANK": "-1"}, ["RANK is '-1'", "from 0 on"]),
        ({"RANK": "a"}, ["RANK is 'a'", "from 0 on"]),
        ({"WORLD_SIZE": "0"}, ["WORLD_SIZE is '0'", "from 1 on"]),
        ({"MASTER_PORT": ""}, ["MASTER_PORT is ''", "from 1 on"]),
    ],
)
def test_ranks_that_no_launcher_gives_are_named(monkeypatch, here, wrong, words):
    with pytest.raises(ValueError, match=one_line(*words, "unset RANK, WORLD_SIZE")):
        meet(monkeypatch, **{"RANK": "0", "WORLD_SIZE": "2", **here, **wrong})


def test_a_port_that_somebody_uses_is_named(monkeypatch, here):
    with socket.socket() as used:
        used.bind((here["MASTER_ADDR"], int(here["MASTER_PORT"])))
        used.listen()
        with pytest.raises(ValueError, match=one_line("rank 0 of 2", here["MASTER_PORT"], "in use", "unset RANK")):
            meet(monkeypatch, RANK="0", WORLD_SIZE="2", **here)


def test_a_rank_hears_that_another_has_given_up():
    store = torch.distributed.HashStore()
    store.set("0", "")
    assert distributed._missing(store, 1, "a:1") == ""
    assert distributed._missing(store, 3, "a:1") == "ranks missing at a:1: 1, 2 of 3"
    store.set(distributed.GIVEN_UP, "")
    with pytest.raises(ValueError, match="ranks missing at a:1: 1, 2 of 3; another rank has given up"):
        distributed._missing(store, 3, "a:1")
