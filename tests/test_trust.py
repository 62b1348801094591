"""A small part of each campaign of tests.trust, always the same, and every file that fuzzing has found."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.trust import fuzz

CORPUS = sorted((ROOT / "tests" / "corpus").glob("*/*"))


# With this seed attacks has limits on tensors, .mat and option files, kill and lost_writes have trainings.
SMALL = {"kill": ".006 2", "lost_writes": ".003 2", "attacks": ".02 905", "long_run": ".003 2"}  # share and seed


@pytest.mark.parametrize("campaign", SMALL)
def test_campaign_finds_nothing(campaign, tmp_path):
    share, seed = SMALL[campaign].split()
    words = f"-m tests.trust {campaign} --share {share} --seed {seed} --folder {tmp_path}"
    done = subprocess.run([sys.executable, *words.split()], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| 0 failures |" in done.stdout


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_fuzzing_has_found_ends_in_a_value_or_one_line(path, tmp_path):
    name = path.parent.name
    copy = tmp_path / f"file{fuzz.PARSERS[name][0]}"
    copy.write_bytes(path.read_bytes())
    fuzz.parse(name, copy)
