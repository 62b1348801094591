"""Files that are whole or absent, locks, and folders that remember what they were begun with."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT, contents
from utils.files import (
    atomic_path,
    claim_file,
    claim_record,
    file_state,
    lock_folder,
    remove_leftovers,
    replace_file,
    sha256_of,
    write_text,
)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(ValueError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="tells files from folders by Linux's /proc")
def test_content_is_on_the_disk_before_the_name_and_the_name_before_anything_else(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def flush(descriptor):
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), replace(*names)))
    write_text(tmp_path / "a.txt", "new")
    assert done == ["file", "rename", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="Windows flushes no folders")
def test_names_of_new_folders_are_on_the_disk_before_what_is_in_them(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr("utils.files._flush_names", lambda folder: flushed.append(folder.relative_to(tmp_path)))
    write_text(tmp_path / "a" / "b" / "c.txt", "new")
    assert sorted(map(str, flushed[:2])) == [".", "a"]
    assert str(flushed[-1]) == "a/b"


UNFLUSHED = [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.ENOSYS, errno.EPERM, errno.EROFS]


def failing(number: int, where=lambda *args: True):
    """Make a function of `os` fail with an error number, for some arguments."""

    def change(function):
        def fail(*args):
            if where(*args):
                raise OSError(number, os.strerror(number))
            return function(*args)

        return fail

    return change


@pytest.mark.parametrize("number", UNFLUSHED)
@pytest.mark.parametrize("of_folders", [True, False])
def test_a_file_system_that_does_not_flush_takes_files_all_the_same(tmp_path, monkeypatch, number, of_folders):
    of = lambda descriptor: not of_folders or os.path.isdir(f"/proc/self/fd/{descriptor}")  # noqa: E731
    monkeypatch.setattr(os, "fsync", failing(number, of)(os.fsync))
    write_text(tmp_path / "new" / "a.txt", "content")
    assert (tmp_path / "new" / "a.txt").read_text() == "content"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_flush_that_has_lost_data_fails_with_the_files_name(tmp_path, monkeypatch, number):
    monkeypatch.setattr(os, "fsync", failing(number)(os.fsync))
    with pytest.raises(OSError, match=r"a\.txt") as lost:
        write_text(tmp_path / "a.txt", "content")
    assert lost.value.errno == number and not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_read_takes_files(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", failing(errno.EACCES, lambda path, *flags: path == tmp_path)(os.open))
    write_text(tmp_path / "a.txt", "content")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["content"]


REFUSED = [errno.EACCES, errno.EBUSY, errno.EXDEV, errno.EEXIST, errno.ETXTBSY]


@pytest.mark.parametrize("number", REFUSED)
def test_a_file_is_replaced_where_only_a_free_name_can_be_taken(tmp_path, monkeypatch, number):
    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr("utils.files.PAUSES", (0,))
    monkeypatch.setattr(os, "replace", failing(number, lambda source, target: os.path.exists(target))(os.replace))
    write_text(tmp_path / "a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new"}


def test_a_file_is_replaced_once_a_scanner_lets_it_go(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr("utils.files.PAUSES", (0, 0))
    calls = iter([True, True])
    monkeypatch.setattr(os, "replace", failing(errno.EACCES, lambda *names: next(calls, False))(os.replace))
    write_text(tmp_path / "a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new"}


@pytest.mark.parametrize("number", REFUSED)
@pytest.mark.parametrize("refused", [lambda source, target: True, lambda source, target: target.name == "a.txt"])
def test_a_file_that_cannot_be_replaced_is_named_and_stays(tmp_path, monkeypatch, number, refused):
    write_text(tmp_path / "a.txt", "old")
    replace = os.replace
    monkeypatch.setattr("utils.files.PAUSES", (0,))
    back = lambda source, target: refused(source, target) and ".old." not in source.name  # noqa: E731
    monkeypatch.setattr(os, "replace", failing(number, back)(replace))
    with pytest.raises(OSError, match=r"open in another program, or mounted\?: '.*/a\.txt'$") as error:
        write_text(tmp_path / "a.txt", "new")
    assert error.value.errno == number
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "old"}


def test_a_file_moves_to_another_file_system(tmp_path, monkeypatch):
    for folder, content in (("one", "new"), ("other", "old")):
        write_text(tmp_path / folder / "a.txt", content)
    apart = lambda source, target: source.parent != target.parent  # noqa: E731
    monkeypatch.setattr(os, "replace", failing(errno.EXDEV, apart)(os.replace))
    replace_file(tmp_path / "one" / "a.txt", tmp_path / "other" / "a.txt")
    assert contents(tmp_path) == {"other/a.txt": b"new"}


def test_leftovers_of_a_kill_are_removed_and_other_hidden_files_are_not(tmp_path):
    (tmp_path / "deep").mkdir()
    with atomic_path(tmp_path / "deep" / "a.png") as temporary:
        temporary.write_bytes(b"")
        copy = temporary.with_name(temporary.name.replace(str(os.getpid()), "123"))
        copy.write_bytes(b"half")
    (tmp_path / ".my.tmp").write_bytes(b"")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".my.tmp", "a.png", "deep"]


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected a file name"):
        claim_file(tmp_path)


def test_hash_is_that_of_the_files_one_after_the_other(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"def")
    command = f"cat {tmp_path}/a {tmp_path}/b | sha256sum"
    known = subprocess.run(command, shell=True, capture_output=True, text=True).stdout.split()[0]
    assert sha256_of([tmp_path / "a", tmp_path / "b"]) == known


def test_lock_keeps_another_process_out_until_it_is_released(tmp_path):
    words = [
        sys.executable,
        "-c",
        "import sys; from utils.files import lock_folder; lock_folder(sys.argv[1])",
        tmp_path,
    ]
    lock = lock_folder(tmp_path)
    refused = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert "another process" in refused.stderr
    lock.release()
    assert subprocess.run(words, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF])
def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch, capsys, number):
    monkeypatch.setattr(fcntl, "flock", failing(number)(fcntl.flock))
    for _ in range(2):  # nothing is left that a later process could take for a lock
        lock_folder(tmp_path).release()
        note = capsys.readouterr().err
        assert note.startswith(f"note: {tmp_path}: its file system gives no locks") and note.count("\n") == 1


def test_what_another_host_has_left_in_a_lock_file_is_no_lock(tmp_path):
    (tmp_path / ".lock").write_text("4711\nanother-host\n")
    lock_folder(tmp_path).release()


def test_a_lock_that_may_be_a_dead_hosts_says_how_to_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", failing(errno.EAGAIN)(fcntl.flock))
    with pytest.raises(ValueError, match=r"another process writes to it.*delete .*/\.lock\)$"):
        lock_folder(tmp_path)


def test_a_lock_file_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match=r"\.lock"):
        lock_folder(tmp_path)


def test_lock_does_not_live_on_in_forked_children(tmp_path):
    lock = lock_folder(tmp_path)
    child = os.fork()
    if not child:
        signal.pause()
    lock.release()
    lock_folder(tmp_path).release()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_changed_setting_is_named_with_its_option(tmp_path):
    assert claim_record(tmp_path, "made.json", {"size": (2, 3), "seed": 0}) == {}
    assert claim_record(tmp_path, "made.json", {"size": (2, 3), "seed": 0}) == {"size": [2, 3], "seed": 0}
    with pytest.raises(ValueError, match=r"was begun with size 2 3, not 2 4 \(--size\)$"):
        claim_record(tmp_path, "made.json", {"size": (2, 4), "seed": 0}, flags={"size": "--size"})
    claim_record(tmp_path, "made.json", {"size": (2, 3), "seed": 1}, same=["size"])
    assert json.loads((tmp_path / "made.json").read_text())["seed"] == 1
    with pytest.raises(ValueError, match="speed 1, not 2"):
        claim_record(tmp_path, "made.json", {"size": (2, 3), "seed": 1, "speed": 2}, defaults={"speed": 1})
    claim_record(tmp_path, "made.json", {"size": (9, 9)}, begun=False)
    assert json.loads((tmp_path / "made.json").read_text()) == {"size": [9, 9]}


def test_results_without_a_record_and_damaged_records_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.png: is there, but .* has no made\.json"):
        claim_record(tmp_path, "made.json", {}, results=[tmp_path / "b.png", tmp_path / "a.png"])
    for damaged in ("{", "[]"):
        (tmp_path / "made.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"made\.json: .*damaged"):
            claim_record(tmp_path, "made.json", {})


@pytest.mark.parametrize("edit", ["size", "date", "start", "end"])
def test_state_of_a_file_tells_it_from_any_other_in_its_place(tmp_path, edit):
    path = tmp_path / "a"
    path.write_bytes(bytes(20_000))
    os.utime(path, ns=(10**18, 10**18))
    before = file_state(path)
    content = bytearray(20_000 + (edit == "size"))
    content[100 if edit == "start" else -100] = edit in ("start", "end")
    path.write_bytes(content)
    date = 10**18 - 100 * (edit == "date")
    os.utime(path, ns=(date, date))
    assert file_state(path) != before
    path.write_bytes(bytes(20_000))
    os.utime(path, ns=(10**18, 10**18))
    assert file_state(path) == before
