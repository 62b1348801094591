"""Kills: commands end at random moments in every way there is, are started again, and must end with the same bytes."""

import os
import random
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.trust import Result, some
from tests.trust.commands import OUT, Case, contents, differences, make_inputs, new_folder
from tests.trust.processes import LIMIT, Ended, Process

COUNT = 1000
# How a command ends, and how often among ten. A full disk is a limit on the sizes of files, a read-only folder one
# whose permissions change while the command runs.
WAYS = ("SIGKILL",) * 5 + ("SIGTERM", "SIGINT") + ("full disk",) * 2 + ("read-only folder",)
MOST_IN_A_ROW = 5  # kills before a command is left to finish


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Kill the commands in turn, `share` times COUNT in all."""
    cases = some(make_inputs(new_folder(folder / "inputs")), share, seed)
    moments, counts, failures = random.Random(seed), Counter[str](), list[str]()
    seconds: dict[str, float] = {}
    expected: dict[str, dict[str, bytes]] = {}
    for case in cases:
        began = time.monotonic()
        ended = run_case(case, new_folder(folder / "work"), 1, lambda processes: None)
        seconds[case.name], expected[case.name] = time.monotonic() - began, contents(folder / "work" / OUT)
        if ended.code:
            return Result("0 kills", [f"{case.name}, undisturbed: {ended.output}"])
    wanted = max(len(cases), round(COUNT * share))
    turn = 0
    while counts["kills"] < wanted:
        case = cases[turn % len(cases)]
        turn += 1
        work, story, before = new_folder(folder / "work"), list[str](), counts["kills"]
        for _ in range(MOST_IN_A_ROW):
            left = 0.1 if not story else 0.0
            way, moment = moments.choice(WAYS), moments.uniform(left, 1) * seconds[case.name]
            state = _state(work)
            kill = Kill(way, moment, work / OUT, moments)
            ended = run_case(case, work, moments.randint(0, 1) if way != "full disk" else 0, kill)
            make_writable(work / OUT)
            if kill.came_too_late:
                break
            counts["kills"] += 1
            counts[f"by {way}"] += 1
            counts["before anything was written"] += _state(work) == state
            story.append(f"{way} after {moment:.2f} s (exit code {ended.code})")
            failures += [f"{case.name}, {', '.join(story)}: {reason}" for reason in faults(way, ended)]
        if counts["kills"] == before:
            continue
        ended = run_case(case, work, 1, lambda processes: None)
        different = differences(contents(work / OUT), expected[case.name])
        counts["resumed runs"] += 1
        if ended.code or different:
            failures.append(f"{case.name}, {', '.join(story)}: differ: {different[:5]}, {ended.output[-500:]}")
    detail = ", ".join(f"{count} {what}" for what, count in sorted(counts.items()) if what.startswith("by "))
    early, resumed = counts["before anything was written"], counts["resumed runs"]
    number = f"{counts['kills']} kills of {len(cases)} commands ({detail}; {early} before anything was written)"
    return Result(f"{number}; {resumed} continued runs compared", failures)


class Kill:
    """End a command, after some time, in one of the WAYS."""

    def __init__(self, way: str, moment: float, out: Path, random: random.Random):
        self.way, self.moment, self.out, self.random = way, moment, out, random
        self.came_too_late = False

    def __call__(self, processes: list[Process]) -> None:
        """Wait for the moment and strike."""
        time.sleep(self.moment)
        self.came_too_late = all(process.has_ended() for process in processes)
        victims = [self.random.choice(processes)] if self.way == "SIGKILL" else processes
        for process in victims if not self.came_too_late else []:
            if self.way == "full disk" and not process.has_ended():
                limit = self.random.choice((0, 1000, 20_000))
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            elif self.way.startswith("SIG"):
                process.signal(getattr(signal, self.way))
        if self.way == "read-only folder":
            for path in [self.out, *self.out.rglob("*")]:
                if path.is_dir():
                    path.chmod(0o555)


def run_case(case: Case, folder: Path, workers: int, disturb: Callable[[list[Process]], None]) -> Ended:
    """Run a command, in one process or in several as torchrun does, and disturb it."""
    command = case.command(workers)
    if case.processes == 1:
        processes = [Process(command, folder)]
    else:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        shared = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": str(case.processes)}
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(case.processes)]
        processes = [Process(command, folder, shared | rank) for rank in ranks]
    disturb(processes)
    deadline = time.monotonic() + LIMIT
    while not all(process.has_ended() for process in processes) and time.monotonic() < deadline:
        if any(process.has_failed() for process in processes):
            break
        time.sleep(0.005)
    for process in processes:  # torchrun ends the others when one has failed
        if not process.has_ended() and len(processes) > 1:
            time.sleep(0.1)
            process.signal(signal.SIGTERM)
    every = [process.wait() for process in processes]
    codes = [ended.code for ended in every]
    peak, seconds = max(ended.peak for ended in every), sum(ended.seconds for ended in every)
    return Ended(min(codes) or max(codes), "".join(ended.output for ended in every), peak, seconds)


def faults(way: str, ended: Ended) -> list[str]:
    """Say what is wrong with how a command has ended: anything but a clean stop, or one line of error."""
    if "Traceback" in ended.output:
        return [ended.output[-1500:]]
    allowed = {"SIGKILL": (-9, 0, 1, -15), "SIGTERM": (-15, 0), "SIGINT": (130, 0, -15)}.get(way, (1, 0, -15))
    return [] if ended.code in allowed else [f"exit code {ended.code}: {ended.output[-500:]}"]


def make_writable(folder: Path) -> None:
    """Undo what a read-only folder was."""
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Describe what is in a folder, so that any write shows."""
    return sorted((str(path), os.stat(path).st_mtime_ns, path.stat().st_size) for path in folder.rglob("*"))
