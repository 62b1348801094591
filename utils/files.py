"""Files that are either whole or not there."""

import errno
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def atomic_path(path: str | Path, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block succeeds.

    The data is flushed to the disk before the rename, so neither a kill nor a power cut leaves half a file
    under the final name. When the block raises, the temporary file is removed and `path` stays as it was.
    The temporary name keeps the suffix, since image writers choose the format by it.
    Without `flush`, for the many files of which the reader finds out himself, a power cut may cut off the end.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = path.stem if len(path.stem) < 60 else f"{path.stem[:30]}.{zlib.crc32(os.fsencode(path.name)):08x}"
    temporary = path.with_name(f".{stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        if flush:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None and error.errno:  # a write that failed, on a full disk for instance
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes, flush: bool = True) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path, flush) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def claim_file(path: str | Path, option: str) -> None:
    """See to it that a file can be written before the work for it begins. Raises ValueError that names `option`."""
    if Path(path).is_dir():
        raise ValueError(f"{path}: a folder, expected a file name; change {option}")
    claim_folder(Path(path).parent, option)


def claim_folder(folder: str | Path, option: str) -> None:
    """Make a folder for results before the work begins. Raises ValueError, naming `option`, if it cannot be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror}); change {option}") from None


def lock_folder(folder: str | Path, message: str) -> TextIO | None:
    """Keep other processes out of a folder: -> the lock, to be closed; the system lifts it when this process ends.

    None where the system has no such locks. Raises ValueError with the folder and `message` when another has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = open(Path(folder) / ".lock", "w")  # noqa: SIM115 - as long as the run
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of this process alone, loader workers do not inherit it
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise ValueError(f"{folder}: {message}") from None
    return file
