"""Properties: the test suite's own (tests/test_properties.py), with thousands of examples each."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.trust import Result

EXAMPLES = 2000  # of each property
COUNTED = re.compile(r"- (\d+) passing\D*, (\d+) failing")  # hypothesis' words


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Run the tests with `share` times EXAMPLES."""
    words = f"-m pytest -p no:cacheprovider --basetemp={folder / 'pytest'} tests/test_properties.py --tb=short"
    words += f" --hypothesis-seed={seed} --hypothesis-show-statistics"
    environment = os.environ | {"NECA_EXAMPLES": str(max(15, round(EXAMPLES * share)))}
    done = subprocess.run([sys.executable, *words.split()], capture_output=True, text=True, env=environment)
    passing, failing = (sum(map(int, counts)) for counts in zip(*COUNTED.findall(done.stdout), ("0", "0")))
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if (done.returncode or not passing) and not failures:
        failures = [done.stdout[-1500:] + done.stderr[-500:]]
    return Result(f"{passing} examples held, {failing} failed", failures)
