"""Files that are whole or absent, and folders that remember what they were begun with."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filelock import FileLock

try:
    import resource
except ImportError:  # Windows, whose limits are beyond what we open
    resource = None  # type: ignore[assignment]

TEMPORARY = re.compile(r"\..*\.\d+\.tmp(\.\w+)?")  # names given by `temporary_name`
LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)  # answers of fsync that mean a loss; others, that it is not offered
# Answers of a rename that mean: not in place of this file, which another program has open, or of any file.
IN_PLACE_OF = (
    errno.EACCES,
    errno.EPERM,
    errno.EBUSY,
    errno.EEXIST,
    errno.EXDEV,
    getattr(errno, "ETXTBSY", errno.EBUSY),
)
PAUSES = (0.05, 0.2, 0.5)  # seconds before a refused rename is tried again: virus scanners and indexers let go soon
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
ENDS = 4096  # bytes at each end of a file that its state depends on
WEB_PAGE = re.compile(
    rb"\s*(<!--((?!-->).)*-->\s*)*<(!doctype html|html|head|body|script|meta|title|\?xml)\b", re.IGNORECASE | re.DOTALL
)


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
    temporary = temporary_name(path)
    try:
        yield temporary
        if flush:
            flush_file(temporary)
            replace_file(temporary, path)
        else:
            _rename(temporary, path)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):  # on a full disk for instance
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that `remove_leftovers` knows; it keeps the suffix."""
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")


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
        _flush(file.fileno(), path)


def replace_file(source: Path, target: Path) -> None:
    """Rename a file, in place of any other, and let its new name survive a power cut."""
    _rename(source, target)
    _flush_names(target.parent)


def _flush_names(folder: Path) -> None:
    """Let a folder's entries, not only the files, survive a power cut; Windows cannot, and need not."""
    if os.name == "posix":
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:  # it can be written, but not read
            return
        try:
            _flush(descriptor, folder)
        finally:
            os.close(descriptor)


def _flush(descriptor: int, path: str | Path) -> None:
    """Flush a file or folder where the file system offers it: CIFS, VirtualBox and others do not flush folders."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in LOST:
            raise OSError(error.errno, error.strerror, str(path)) from None


def _rename(source: Path, target: Path) -> None:
    """Rename a file in place of any other, also to another file system, or where the place has to be free first.

    The target is whole or absent at any time. Raise OSError that names it.
    """
    for pause in (*PAUSES, 0):
        try:
            return os.replace(source, target)
        except OSError as error:
            if error.errno == errno.EXDEV and source.parent != target.parent:
                return _move(source, target)
            if error.errno not in IN_PLACE_OF:
                raise OSError(error.errno, error.strerror, str(target)) from None
            refusal = error
        time.sleep(pause)
    old = temporary_name(target.with_name(f"{target.stem}.old{target.suffix}"))
    try:
        os.replace(target, old)
        try:
            os.replace(source, target)
        except OSError:
            os.replace(old, target)
            raise
    except OSError:
        reason = f"{refusal.strerror}; is it open in another program, or mounted?"
        raise OSError(refusal.errno, reason, str(target)) from None
    with suppress(OSError):  # still open somewhere
        old.unlink()


def _move(source: Path, target: Path) -> None:
    """Move a file to another file system; it gets its name when it is whole."""
    beside = temporary_name(target)
    try:
        shutil.copyfile(source, beside)
        flush_file(beside)
        _rename(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    source.unlink()


def write_bytes(path: str | Path, content: bytes, flush: bool = True) -> None:
    """Write `content` to `path` atomically."""
    with atomic_path(path, flush) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write `content` to `path` atomically, as UTF-8, and file names that are not as the bytes that they are."""
    write_bytes(path, content.encode(errors="surrogateescape"))


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove_leftovers(folder: str | Path) -> None:
    """Delete the temporary files that a killed process has left anywhere below `folder`."""
    for path in Path(folder).rglob(".*.tmp*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def web_page(content: bytes | Path) -> str:
    """Say that a download is a web page, by its first bytes or those of a file; "" for any other."""
    if isinstance(content, Path):
        try:
            with open(content, "rb") as file:
                content = file.read(ENDS)
        except OSError:
            return ""
    is_page = WEB_PAGE.match(content[:ENDS].removeprefix(b"\xef\xbb\xbf"))
    return "a web page, perhaps of a failed download; download the file itself" if is_page else ""


def require_folder(path: str | Path) -> None:
    """Raise ValueError that says what is there in place of a folder."""
    path = Path(path)
    if not path.is_dir():
        archive = "an archive, expected a folder; unpack it" if path.suffix.lower() in ARCHIVES else "not a folder"
        raise ValueError(f"{path}: {(web_page(path) or archive) if path.exists() else 'no such folder'}")


def sha256_of(paths: Iterable[str | Path]) -> str:
    """Return the SHA-256 of files read one after the other, as of `cat FILES | sha256sum`."""
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(2**20):
                total.update(piece)
    return total.hexdigest()


def file_state(path: str | Path) -> str:
    """Describe a file so that another one in its place is noticed: size, time of change, checksum of its two ends.

    States are compared for equality alone, for dates may lie in the future, and a file that replaces another may be
    older. The ends tell files of equal size and date from each other, such as one whose tags have been edited in place.
    Empty where the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            ends = file.read(ENDS)
            file.seek(max(0, status.st_size - ENDS))
            ends += file.read()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {zlib.crc32(ends):08x}"


def may_keep_open(count: int) -> int:
    """Return how many files, at most `count`, one user of files may keep open; raise the system's limit if need be.

    A quarter of the limit (`ulimit -n`), since there are others.
    """
    if resource is None:
        return count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 4 * count:
        wanted = 4 * count if hard == resource.RLIM_INFINITY else min(4 * count, hard)
        with suppress(OSError, ValueError):  # not every system grants what it names
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return count if soft == resource.RLIM_INFINITY else max(1, min(count, soft // 4))


def claim_file(path: str | Path) -> None:
    """Check that a file can be written, before the work for it begins. Raise ValueError if it cannot."""
    if Path(path).is_dir():
        raise ValueError(f"{path}: a folder, expected a file name")
    claim_folder(Path(path).parent)


def claim_folder(folder: str | Path) -> None:
    """Make a folder for results, before the work begins. Raise ValueError if it cannot be written."""
    try:
        make_folder(folder)
        probe = temporary_name(Path(folder) / "claim")
        probe.touch()
        probe.unlink(missing_ok=True)  # when it is closed: not every file system removes open files
    except OSError as error:
        raise ValueError(f"{folder}: cannot be written ({error.strerror})") from None


def lock_folder(
    folder: str | Path,
    message: str = "another process writes to it; wait until it has ended",
    wait: Callable[[], None] | None = None,
) -> FileLock:
    """Keep other processes out of a folder until the returned lock is released or this process ends.

    Where the file system has no locks, a note says so and nobody is kept out. When another process has the lock, call
    `wait` and wait; without it raise ValueError with the folder and `message`.
    """
    from filelock import FileLock, Timeout  # here, for the library neca locks nothing

    path = Path(folder) / ".lock"
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if wait is None:
                raise ValueError(f"{folder}: {message} (if none is left, on no machine: delete {path})") from None
            wait()
            lock.acquire()
    except OSError as error:
        if error.filename is not None:  # the file itself, not its lock, is the trouble
            raise
        advice = "write to it from one process at a time"
        print(f"note: {folder}: its file system gives no locks ({error.strerror}); {advice}", file=sys.stderr)
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
        raise ValueError(f"{path}: missing or damaged ({web_page(Path(path)) or error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: damaged, it holds a {type(content).__name__} where an object was expected")
    return content


def _spelled(value: Any) -> str:
    """Spell a recorded value as a user would type it."""
    if isinstance(value, list):
        return " ".join(map(_spelled, value))
    return "none" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)
