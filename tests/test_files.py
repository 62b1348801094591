"""Files that are whole or absent, locks, and folders that remember what they were begun with."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from utils.files import (
    atomic_path,
    claim_file,
    claim_record,
    lock_folder,
    remove_leftovers,
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
