"""Files that are whole or absent, and folders that remember what they were begun with."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

TEMPORARY = re.compile(r"\..*\.\d+\.tmp(\.\w+)?")  # names given by `atomic_path`


@contextmanager
def atomic_path(path: str | Path, flush: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` when the block succeeds.

    The data is flushed to the disk before the rename and the folder after it, so neither a kill nor a power cut leaves
    half a file under the final name, and what is deleted next is deleted after the new file is safe. When the block
    raises, the temporary file is removed and `path` stays as it was. The temporary name keeps the suffix, since image
    writers choose the format by it. Without `flush`, meant for many files whose reader notices damage, a power cut may
    cut off the end.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        if flush:
            flush_file(temporary)
            replace_file(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError as error:
        if error.filename is None and error.errno:  # a write that failed, on a full disk for instance
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: str | Path) -> None:
    """Make a folder, and those around it that are missing, so that a power cut does not take them and all in them."""
    folder = Path(folder)
    missing = list(takewhile(lambda each: not each.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        _flush_names(each.parent)


def flush_file(path: str | Path) -> None:
    """Let what has been written to a file survive a power cut."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def replace_file(source: Path, target: Path) -> None:
    """Rename a file, in place of any other, and let its new name survive a power cut."""
    os.replace(source, target)
    _flush_names(target.parent)


def _flush_names(folder: Path) -> None:
    """Let a folder's entries, not only the files, survive a power cut; Windows cannot, and need not."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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


def remove_leftovers(folder: str | Path) -> None:
    """Delete the temporary files that a killed process has left anywhere below `folder`."""
    for path in Path(folder).rglob(".*.tmp*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def sha256_of(paths: Iterable[str | Path]) -> str:
    """Return the SHA-256 of files read one after the other, as of `cat FILES | sha256sum`."""
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(2**20):
                total.update(piece)
    return total.hexdigest()


def claim_file(path: str | Path) -> None:
    """Check that a file can be written, before the work for it begins. Raise ValueError if it cannot."""
    if Path(path).is_dir():
        raise ValueError(f"{path}: a folder, expected a file name")
    claim_folder(Path(path).parent)


def claim_folder(folder: str | Path) -> None:
    """Make a folder for results, before the work begins. Raise ValueError if it cannot be written."""
    try:
        make_folder(folder)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror})") from None


def lock_folder(folder: str | Path, message: str = "another process writes to it; wait until it has ended") -> FileLock:
    """Keep other processes out of a folder until the returned lock is released or this process ends.

    Raise ValueError with the folder and `message` when another process has it.
    """
    lock = FileLock(Path(folder) / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"{folder}: {message}") from None
    return lock


def claim_record(
    folder: str | Path,
    name: str,
    content: Mapping[str, Any],
    *,
    same: Iterable[str] | None = None,
    flags: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
    begun: bool = True,
    results: Iterable[Path] = (),
) -> dict[str, Any]:
    """Remember in the JSON file `name` what a folder was begun with, or check that it is the same still.

    Write `content` and return what was recorded before, or an empty dict for a new folder.

    Args:
        folder: the folder.
        name: the record's name in it.
        content: plain values by their keys.
        same: the keys whose values must not change; all of them by default.
        flags: the command's option that sets a key, for the message.
        defaults: values of keys that an older record may lack.
        begun: False if the folder holds no results yet, so that its record may change.
        results: files that only this work makes: found without a record, they belong to somebody else.

    Raises:
        ValueError: a value has changed, the record is damaged, or there are results without one.
    """
    path = Path(folder) / name
    content = json.loads(json.dumps(content))  # as it will be read again: lists in place of tuples
    before: dict[str, Any] = {}
    if path.exists() and begun:
        before = read_record(path)
        for key in content if same is None else same:
            old = before.get(key, (defaults or {}).get(key))
            if old != content[key]:
                flag = f" ({flags[key]})" if flags and flags.get(key) else ""
                raise ValueError(f"{folder}: was begun with {key} {_spelled(old)}, not {_spelled(content[key])}{flag}")
    elif not path.exists():
        for result in results:
            if os.path.lexists(result):
                raise ValueError(f"{result}: is there, but {folder} has no {name} that says what it was made with")
    if content != before:
        write_json(path, content)
    return before


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds an object. Raise ValueError that names the file if it does not."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: missing or damaged ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged, it holds a {type(content).__name__} where an object was expected")
    return content


def _spelled(value: Any) -> str:
    """Spell a recorded value as a user would type it."""
    if isinstance(value, list):
        return " ".join(map(_spelled, value))
    return "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)
