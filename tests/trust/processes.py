"""Commands in forked processes, which have imported everything: a run takes its own time and not PyTorch's import."""

import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from utils.command import run_command

Command = Callable[[], int | None]
LIMIT = 300  # seconds after which a command counts as hanging


class Ended(NamedTuple):
    """End of a command: exit code, or minus the signal's number; the text; peak bytes; seconds of the processors."""

    code: int
    output: str
    peak: int
    seconds: float


class Process:
    """A command at work in `folder`, in a session of its own, its output going to a pipe."""

    def __init__(self, command: Command, folder: Path, environment: Mapping[str, str] | None = None):
        self._pipe, end = os.pipe()
        fcntl.fcntl(end, 1031, 2**20)  # F_SETPIPE_SZ: nobody reads before the command has ended
        self.pid = os.fork()
        if not self.pid:
            _become(command, folder, environment or {}, end)
        os.close(end)
        self._status: tuple[int, int, float] | None = None

    def has_ended(self) -> bool:
        """Tell if the command has ended."""
        if self._status is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                seconds = usage.ru_utime + usage.ru_stime
                self._status = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, seconds
        return self._status is not None

    def has_failed(self) -> bool:
        """Tell if the command has ended, and not with success."""
        return self.has_ended() and self._status is not None and self._status[0] != 0

    def signal(self, number: int) -> None:
        """Send a signal to the command, not to the loader processes that it has started."""
        if not self.has_ended():
            os.kill(self.pid, number)

    def wait(self, seconds: float = LIMIT) -> Ended:
        """Wait for the end, killing a command that takes longer, and whatever it has started."""
        deadline = time.monotonic() + seconds
        while not self.has_ended() and time.monotonic() < deadline:
            time.sleep(0.002)
        hangs = not self.has_ended()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        while not self.has_ended():
            time.sleep(0.002)
        with open(self._pipe, "rb") as pipe:
            output = pipe.read().decode(errors="replace")
        assert self._status is not None
        code, peak, used = self._status
        return Ended(code, output + f"\nTraceback: no end in {seconds:.0f} s" * hangs, peak, used)


def run(command: Command, folder: Path) -> Ended:
    """Run a command to its end."""
    return Process(command, folder).wait()


def _become(command: Command, folder: Path, environment: Mapping[str, str], output: int) -> None:
    """Turn this forked process into the command, and never return."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _drop_privileges()
        os.chdir(folder)
        os.environ.update(environment)
        for terminal in (1, 2):
            os.dup2(output, terminal)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        run_command(command)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:  # before or after the command proper, where Python itself would print it
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _drop_privileges() -> None:
    """Let the administrator's processes, too, be stopped by folders that are read-only (Linux)."""
    header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()  # linux/capability.h, version 3
    capset = getattr(ctypes.CDLL(None), "capset", None)
    if capset:
        capset(header, data)
