"""Options and fixtures of the test suite. Tests that use the folder ../shared skip where it is absent."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # tiny networks gain nothing from more, and the suite runs in a process per core
os.environ["NECA_TRUSTED"] = os.sep  # tests read what they have written, with any PyTorch
import torch

from tests.stand_in import DEVICE, SecondDevice
from utils.runtime import allow_tf32

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SHARED = ROOT.parent / "shared"
torch.set_num_threads(1)


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    """All files below a folder by their names relative to it, but for locks."""
    paths = sorted(path for path in folder.rglob(pattern) if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, by column."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen | None = None, seconds: float = 120) -> None:
    """Wait for something that a process, which must not end before, is to do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def pytest_addoption(parser):
    parser.addoption("--golden", default=None, help="folder of golden vectors; default: ../shared/golden if there")
    words = "cuda: the tests that depend on the device, and they alone, on the GPU; default: cpu"
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help=words)


def pytest_configure(config):
    config.addinivalue_line("markers", "no_stand_in: of a test whose `device` is the CPU or a GPU")
    config.addinivalue_line(
        "markers", "beside_cpu: of a test that compares its `device`, a GPU or its stand-in, to the CPU"
    )
    if config.getoption("--device") == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # PyTorch looks when it is first asked for GPUs
    elif not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda: this machine or this build of PyTorch has no CUDA, expected cpu")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--device") == "cuda":
        others = [item for item in items if "device" not in item.fixturenames]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if "device" in item.fixturenames]


def pytest_generate_tests(metafunc):
    """Run a test with a `device` on the GPU or, without one, on the CPU and on a stand-in for a GPU."""
    if "device" in metafunc.fixturenames:
        name = metafunc.config.getoption("--device")
        left_out = {"no_stand_in": "stand-in", "beside_cpu": "cpu"}
        without = [left_out[mark.name] for mark in metafunc.definition.iter_markers() if mark.name in left_out]
        names = [name, "stand-in"] if name == "cpu" else [name]
        metafunc.parametrize("device", [name for name in names if name not in without], indirect=True)


@pytest.fixture
def device(request):
    """A device to compute on. A GPU computes as exactly as it can."""
    if request.param == "stand-in":
        with SecondDevice():
            yield DEVICE
        return
    if request.param == "cuda":
        torch.backends.cudnn.deterministic = True
        allow_tf32(False)
    yield torch.device(request.param)


@pytest.fixture
def heard_signals():
    """Let commands hear Ctrl-C and hang-up also where a script has started the suite with `nohup` or `&`.

    Both are ignored there, which started processes inherit.
    """
    hangup = getattr(signal, "SIGHUP", signal.SIGINT)  # not on Windows
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, hangup)}
    signal.signal(hangup, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch):
    """Keep a user's settings out of the tests."""
    monkeypatch.delenv("NECA_TRACEBACK", raising=False)
