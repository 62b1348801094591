"""Planted faults: in a copy of the code one guard is taken away, and the campaign that it guards must fail."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.trust import Result


class Fault(NamedTuple):
    """A change of a file, old text to new, the command that must notice it, and words that its failure must have."""

    file: str
    changes: dict[str, str]
    command: str
    words: str


WEIGHTS = 'for name, content in networks.items():\n            save_checkpoint(self.models / f"{name}_'
REMOVAL = "        self.remove_old(networks, keep)  # only now"
FAULTS = {
    "folders are not flushed": Fault(
        "utils/files.py",
        {'    if os.name == "posix":\n': "    if False:\n"},
        "-m tests.trust lost_writes --share .01 --seed 2",
        " is lost",
    ),
    "training state before weights": Fault(
        "utils/run.py",
        {
            WEIGHTS: WEIGHTS.replace("networks.items()", "()"),
            REMOVAL: f'        {WEIGHTS}{{epoch:08d}}.pth", content | {{"step": step}})\n{REMOVAL}',
        },
        "-m tests.trust lost_writes --share .01 --seed 2",
        " is there without ",
    ),
    "cache key without states": Fault(
        "data/cache.py",
        {"(path.name, file_state(path))": "path.name"},
        "-m pytest -q -p no:cacheprovider tests/test_properties.py -k cache",
        "FAILED tests/test_properties.py::test_cache_gives_what_the_files_hold",
    ),
    "loader without weights_only": Fault(
        "utils/checkpoints.py",
        {"weights_only=True)\n": "weights_only=False)\n"},
        "-m tests.trust attacks --share .05",
        "it ran code",
    ),
}


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Plant every fault, whatever the share."""
    failures = []
    for name, fault in FAULTS.items():
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(Path.cwd(), copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "saves", "doc"))
        code = (copy / fault.file).read_text()
        for old, new in fault.changes.items():
            assert code.count(old) == 1, f"{fault.file}: not found once: {old}"
            code = code.replace(old, new)
        (copy / fault.file).write_text(code)
        done = subprocess.run([sys.executable, *fault.command.split()], cwd=copy, capture_output=True, text=True)
        if done.returncode != 1 or fault.words not in done.stdout + done.stderr:
            failures.append(f"{name}: not found: {(done.stdout + done.stderr)[-700:]}")
    return Result(f"{len(FAULTS)} planted, {len(FAULTS) - len(failures)} found", failures)
