"""Power cuts: what a command does to the disk is recorded, and every state that a cut could leave is continued from.

Only what was flushed is sure to be there: a file's content by its `fsync`, the names in a folder by that of the folder.
Of everything after, any part may be missing, later changes before earlier ones, and a content may be cut in its middle.
"""

import itertools
import math
import os
import pickle
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.trust import Result, some
from tests.trust.commands import OUT, Case, contents, differences, make_inputs, new_folder
from tests.trust.processes import Command, run
from utils.checkpoints import STATE_PREFIX

STATES = 200  # distinct states of a command that are continued from; those of all cuts, where there are fewer
CHOICES = 32  # states of one cut that are looked at; all, where there are fewer
STARTS_OPERATION = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}  # Python's audit events

State = tuple[tuple[str, bytes | None], ...]  # content by path, None for a folder


class Names(NamedTuple):
    """A change of a folder's entries, by path: the number of a file, or None for one that is gone."""

    folder: str
    entries: dict[str, int | None]


class Data(NamedTuple):
    """New content of a file."""

    file: int
    content: bytes | None


class Flush(NamedTuple):
    """An fsync: of a file by its number, of a folder by its path, of everything (None)."""

    what: int | str | None


Operation = Names | Data | Flush


class Recorder:
    """Journal of what this process does below a folder, made by comparing it before every operation."""

    def __init__(self, folder: Path):
        self.folder, self.journal = folder, list[Operation]()
        self._files: dict[str, int] = {}  # numbers by path, as far as the journal goes
        self._numbers: dict[int, int] = {}  # by inode, which the system gives again
        self._contents: dict[int, bytes | None] = {}
        self._count, self._busy = itertools.count(), False
        self._fsync, self._sync = os.fsync, os.sync
        os.fsync, os.sync = self._flush, self._flush_all  # type: ignore[assignment]
        sys.addaudithook(lambda event, arguments: self.look() if event in STARTS_OPERATION else None)

    def look(self) -> None:
        """Write into the journal what has changed since the last look: one operation, and contents."""
        if self._busy:
            return
        self._busy = True
        paths = {str(path.relative_to(self.folder)): path for path in sorted(self.folder.rglob("*"))}
        inodes = {name: path.lstat().st_ino for name, path in paths.items()}
        for inode in self._numbers.keys() - set(inodes.values()):
            del self._numbers[inode]
        for name, path in paths.items():
            number = self._numbers.setdefault(inodes[name], next(self._count))
            content = None if path.is_dir() else path.read_bytes()
            if self._contents.get(number, b"none yet") != content:
                self.journal.append(Data(number, content))
                self._contents[number] = content
        files = {name: self._numbers[inode] for name, inode in inodes.items()}
        changed = sorted(name for name in files.keys() | self._files.keys() if files.get(name) != self._files.get(name))
        if changed:
            # A rename changes two names at once; it counts as one of the folder that it goes to.
            goes_to = next((name for name in changed if name in files), changed[0])
            self.journal.append(Names(os.path.dirname(goes_to), {name: files.get(name) for name in changed}))
        self._files, self._busy = files, False

    def _flush(self, descriptor: Any) -> None:
        self.look()
        path = os.readlink(f"/proc/self/fd/{descriptor if isinstance(descriptor, int) else descriptor.fileno()}")
        name = os.path.relpath(path, self.folder)
        if os.path.isdir(path):
            self.journal.append(Flush("" if name == "." else name))
        elif name in self._files:
            self.journal.append(Flush(self._files[name]))

    def _flush_all(self) -> None:
        self.look()
        self.journal.append(Flush(None))


def recorded(command: Command, out: Path, journal: Path) -> int | None:
    """Run a command, and keep a journal of what it does in `out`'s folder."""
    recorder = Recorder(out)
    try:
        return command()
    finally:
        recorder.look()
        journal.write_bytes(pickle.dumps(recorder.journal))


def states_of(journal: list[Operation], cut: int, choices: random.Random) -> list[State]:
    """List the states that a power cut after `cut` operations could leave, or draw CHOICES of them."""
    flushed: dict[int | str | None, int] = {}  # last flush of files and folders; of everything by None
    for index, operation in enumerate(journal[:cut]):
        if isinstance(operation, Flush):
            flushed[operation.what] = index

    def is_safe(index: int, what: int | str) -> bool:
        return index < max(flushed.get(what, 0), flushed.get(None, 0))

    versions: dict[int, list[bytes | None]] = {}
    unsure: dict[int, list[bool]] = {}  # of changes of names, by their index: made, or not
    for index, operation in enumerate(journal[:cut]):
        if isinstance(operation, Names):
            unsure[index] = [True] if is_safe(index, operation.folder) else [True, False]
        elif isinstance(operation, Data):
            content = operation.content
            if content is None or is_safe(index, operation.file):
                versions[operation.file] = [content]
            else:
                possible = versions.setdefault(operation.file, [b""])
                kept = possible[0] if possible[0] and content.startswith(possible[0]) else b""  # it was appended to
                possible += [content, content[: (len(kept) + len(content)) // 2]]

    parts: list[Sequence[Any]] = [*unsure.values(), *versions.values()]
    count = math.prod(map(len, parts))
    every: Iterable[Sequence[Any]] = itertools.product(*parts)
    if count > CHOICES:
        every = ([choices.choice(part) for part in parts] for _ in range(CHOICES))
    return [_state(journal, dict(zip(unsure, each)), dict(zip(versions, each[len(unsure) :]))) for each in every]


def _state(journal: list[Operation], made: dict[int, bool], contents: dict[int, bytes | None]) -> State:
    """Put together a state of the folder: of changes of names that were made, and contents of files."""
    there: dict[str, int] = {}
    for index, is_made in made.items():
        operation = journal[index]
        assert isinstance(operation, Names)
        for name, file in operation.entries.items() if is_made else ():
            there.pop(name, None)
            if file is not None:
                there[name] = file
    state: dict[str, bytes | None] = {".": None}
    for name in sorted(there):  # folders before what is in them
        if state.get(os.path.dirname(name) or ".", b"") is None:
            state[name] = contents.get(there[name], b"")
    return tuple((name, content) for name, content in state.items() if name != ".")


def broken(state: State, journal: list[Operation], cut: int, weights: dict[str, set[str]]) -> str:
    """Say what a power cut has taken of a training: a state that had been saved, or the weights that go with one."""
    saved = [name for operation in journal[: max(0, cut - 2)] if isinstance(operation, Names)  # flushed, too
             for name, file in operation.entries.items() if file is not None and name in weights]  # fmt: skip
    there = {name for name, content in state if content}
    newest = max(weights.keys() & there, default="")
    if newest < max(saved, default=""):
        return f"{max(saved)} is lost"
    missing = weights.get(newest, set()) - there
    return f"{newest} is there without {min(missing)}" if missing else ""


def weights_of(journal: list[Operation]) -> dict[str, set[str]]:
    """List the files of weights that go with each training state: the first states go with the first epochs."""
    names = {name for operation in journal if isinstance(operation, Names) for name in operation.entries}
    states = sorted(name for name in names if os.path.basename(name).startswith(STATE_PREFIX))
    numbered = {name: match[1] for name in names if (match := re.search(r"/checkpoint_\w+_(\d+)\.pth$", name))}
    epochs = sorted(set(numbered.values()))
    return {state: {name for name in numbered if numbered[name] == epoch} for state, epoch in zip(states, epochs)}


def check_case(case: Case, folder: Path, most: int, seed: int, counts: Counter[str]) -> list[str]:
    """Record a command, and continue from at most so many of the states that it could leave."""
    choices, failures = random.Random(seed), list[str]()
    work, journal_file = new_folder(folder / "work"), folder / "journal.pickle"
    ended = run(partial(recorded, case.command(0), work, journal_file), work)
    if ended.code:
        return [f"{case.name}, recorded: {ended.output}"]
    expected = contents(work / OUT)
    journal = pickle.loads(journal_file.read_bytes())
    found: dict[State, int] = {}
    weights, faults = weights_of(journal), dict[str, str]()
    for cut in range(len(journal) + 1):
        for state in states_of(journal, cut, choices):
            found.setdefault(state, cut)
            if fault := broken(state, journal, cut, weights):
                faults.setdefault(fault, f"{case.name}, cut after operation {cut} of {len(journal)}: {fault}")
    failures += faults.values()
    counts["operations"] += len(journal)
    counts["states"] += len(found)
    chosen = list(found.items())
    if len(chosen) > most:
        chosen = choices.sample(chosen, most)
    for state, cut in chosen:
        work = new_folder(folder / "work")
        for name, content in state:
            if content is None:
                (work / name).mkdir(parents=True)
            else:
                (work / name).write_bytes(content)
        ended = run(case.command(0), work)
        different = differences(contents(work / OUT), expected)
        counts["continued"] += 1
        if ended.code or different or "Traceback" in ended.output:
            what = f"{case.name}, cut after operation {cut} of {len(journal)} ({journal[max(0, cut - 1)]!s:.120})"
            failures.append(f"{what}: code {ended.code}, differ: {different[:5]}; {ended.output[-600:]}")
    return failures


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Cut the power in every command that runs in one process."""
    every = [case for case in make_inputs(new_folder(folder / "inputs")) if case.processes == 1]
    cases = some(every, share, seed)
    counts, failures = Counter[str](), list[str]()
    for case in cases:
        failures += check_case(case, folder, max(2, round(STATES * share)), seed, counts)
    number = f"{counts['operations']} operations of {len(cases)} commands, {counts['states']} states after a cut"
    return Result(f"{number}, {counts['continued']} of them continued", failures)
