"""Properties: the test suite's own (tests/test_properties.py), with thousands of examples each."""

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmark.trust import Result

EXAMPLES = 2000  # of each property
COUNTED = re.compile(r"- (\d+) passing examples, (\d+) failing examples, (\d+) invalid")


def campaign(folder: Path, share: float, seed: int) -> Result:
    """Run the tests with `share` times EXAMPLES."""
    examples = max(15, round(EXAMPLES * share))
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={folder / 'pytest'}",
        "tests/test_properties.py",
    ]
    words += [f"--hypothesis-seed={seed}", "--hypothesis-show-statistics"]
    environment = os.environ | {"NECA_EXAMPLES": str(examples)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    counts = [tuple(map(int, match)) for match in COUNTED.findall(done.stdout)]
    tried, failing = sum(map(sum, counts)), sum(failing for _, failing, _ in counts)
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode and not failures:
        failures = [done.stdout[-1500:] + done.stderr[-500:]]
    passing = sum(passing for passing, _, _ in counts)
    return Result("properties", f"{passing} examples held and {failing} failed, of {tried} tried", failures)
