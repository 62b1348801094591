"""The frame of every command: memory, and what errors look like. Without PyTorch, whose import takes seconds."""

import ctypes
import io
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The way out of what a machine refuses to loader processes.
WITHOUT_WORKERS = "use --num_workers 0, or give more shared memory (/dev/shm, docker run --shm-size), memory or files"


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's `main` and exit with what it returns (nothing: 0).

    A ValueError or OSError, which is what users can cause, ends in one line on stderr and exit code 1; set the
    environment variable NECA_TRACEBACK=1 to see where it was raised. Anything else is our own fault and keeps its
    traceback.
    """
    if sys.stderr is None:  # closed; progress bars want one
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    for stream in (sys.stdout, sys.stderr):  # a name that the console's encoding lacks ends no command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except (ValueError, OSError) as error:
        code = 1
        if os.environ.get("NECA_TRACEBACK"):
            traceback.print_exc()
        # A DataLoader worker's error arrives with the worker's whole traceback; its last line is the message.
        message = (str(error).strip() or type(error).__name__).splitlines()[-1]
        print(f"error: {printable(message.removeprefix('ValueError: '))}", file=sys.stderr)
    except Exception as error:
        code = 1
        if _out_of_gpu_memory(error):
            advice = "use a smaller --batch_size or --tile, or --device cpu"
            print(f"error: the GPU is out of memory; {advice}", file=sys.stderr)
        elif isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):  # PyTorch's words
            short = "memory, shared memory (/dev/shm) or open files (ulimit -n)"
            advice = "use fewer --num_workers, or 0"
            print(f"error: a loader process has ended, perhaps for want of {short}; {advice}", file=sys.stderr)
        else:
            traceback.print_exc()
    # Outside the except blocks: a live exception would keep a DataLoader's workers alive, and the exit waiting.
    sys.exit(code)


def _out_of_gpu_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # a command that has not imported it uses no GPU
    return torch is not None and isinstance(error, torch.cuda.OutOfMemoryError)


class _Blamed(ValueError):
    """An error that names its way out already."""


@contextmanager
def blame(way_out: str) -> Iterator[None]:
    """Append the way out to a ValueError that is raised inside: a flag, "--iso", or more, "--a, or use --b".

    So functions below the commands say what is wrong and where, and the command says which option to change. The
    innermost blame wins.
    """
    try:
        yield
    except _Blamed:
        raise
    except ValueError as error:
        change = "change " if way_out.startswith("--") else ""
        raise _Blamed(f"{error}; {change}{way_out}") from error


def keep_freed_memory() -> None:
    """Let this process keep what it has freed, for its next allocation (Linux with the GNU C library; else nothing).

    A training step and the cropper allocate and free the same large arrays every time. By default their pages go back
    to the system and come again filled with zeros, which costs 3 to 4 % of a step on a CPU, or of a frame.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    trim_threshold, mmap_threshold = -1, -3  # malloc.h
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_threshold, 2**30)


def printable(text: str) -> str:
    """Make text one line: no control or invisible characters, and none of a file name's undecodable bytes."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in str(text)).strip()
