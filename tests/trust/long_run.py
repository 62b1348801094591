"""A long run: thousands of steps with cache, workers, averaged weights and tests need no more memory, disk or time."""

import math
import os
import time
from functools import partial
from pathlib import Path

import main_train_jointly
from tests.camera import CAMERA, command, make_camera
from tests.trust import Result
from tests.trust.commands import OUT, new_folder
from tests.trust.processes import Process
from utils.run import KEPT_STATES

STEPS, COMPARED = 20_000, 1000  # in all; at the beginning and at the end
EPOCH, TEST_EPOCHS, LOG = 2, 125, 20  # steps of an epoch, epochs from test to test, steps of a row of the log
KEPT, LETTERS = 2, 9  # checkpoints of each of the six networks and three averages
SLOWER, LARGER = 0.05, 0.05  # by how much the end may differ from the beginning
OPTIONS = f"""--test_epoch {TEST_EPOCHS} --log_step {LOG} --keep_checkpoints {KEPT} --ema .9 --keep_best --num_workers 2
    --epochs 1000000 --cache_dir cache"""


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Train for `share` times STEPS and compare the end with the beginning, in seconds of the processors."""
    steps = max(300, round(STEPS * share))
    compared = min(COMPARED, steps // 4)
    make_camera(new_folder(folder / "inputs"))
    words = [*command(folder / "inputs", *OPTIONS.split(), save=OUT), "--steps", str(steps), "--seed", str(seed)]
    run = folder / "inputs" / OUT / CAMERA
    process, metrics = Process(partial(main_train_jointly.main, words), folder), run / "logs" / "metrics.jsonl"
    seen = [(0, 0.0, 0)]  # step, seconds of processor time, bytes of memory
    while not process.has_ended():
        rows = metrics.read_bytes().count(b'"kind": "train"') if metrics.exists() else 0
        if rows * LOG > seen[-1][0]:
            seen.append((rows * LOG, *used(process.pid)))
        time.sleep(0.05)
    ended = process.wait()
    seen = [each for each in seen if each[2]]  # without what was read while the processes ended
    if ended.code or len(seen) < 10:
        return Result(f"{seen[-1][0] if seen else 0} steps", [ended.output[-1500:]])

    def seconds(first: int, last: int) -> float:
        times = [next(second for step, second, _ in seen if step >= at) for at in (first, last)]
        return times[1] - times[0]

    begin, end = seen[0][0], seen[-1][0]
    speeds = [compared / seconds(begin, begin + compared), compared / seconds(end - compared, end)]
    tenth = len(seen) // 10
    memories = [max(m for _, _, m in seen[i * tenth : (i + 1) * tenth]) / 2**20 for i in (1, 9)]
    checkpoints, states = len(list(run.rglob("checkpoint_*_*.pth"))), len(list(run.rglob("training_state_*")))
    rows, tests = metrics.read_bytes().count(b"\n"), math.ceil(steps / (EPOCH * TEST_EPOCHS))
    wrong = {
        f"slower: {speeds[0]:.2f}, then {speeds[1]:.2f} steps per second of the processors": (
            steps >= 2 * COMPARED and speeds[1] < speeds[0] * (1 - SLOWER)  # fewer steps tell nothing
        ),
        f"memory grew from {memories[0]:.0f} to {memories[1]:.0f} MB": memories[1] > memories[0] * (1 + LARGER),
        f"{checkpoints} checkpoints and {states} states": checkpoints > KEPT * LETTERS or states > KEPT_STATES,
        f"{rows} rows": rows > steps // LOG + 2 * tests,
    }
    what = f"{steps} steps, {tests} tests; {speeds[0]:.2f} and {speeds[1]:.2f} steps per second of the processors"
    what += f" in the first and last {compared}; {memories[0]:.0f} and {memories[1]:.0f} MB; {checkpoints} checkpoints"
    return Result(what, [fault for fault, is_so in wrong.items() if is_so])


def used(session: int) -> tuple[float, int]:
    """Add up what the processes of a session have used: seconds of processor time, and bytes of memory now."""
    ticks = pages = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))  # its own, and those of its children that have ended
            pages += int(fields[21])
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")
