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

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the suite is for the CPU; before torch looks
os.environ["OMP_NUM_THREADS"] = "1"  # tiny networks gain nothing from more, and the suite runs in a process per core
os.environ["NECA_TRUSTED"] = os.sep  # tests read what they have written, with any PyTorch
import torch

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
