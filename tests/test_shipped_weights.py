"""The weights that ship for the demo camera, against the simulator's own noise on its test scenes."""

import pytest

from benchmark.demo_truth import STRUCTURE, compare_with_truth, mean_of
from data.demo.scenes import DemoOptions
from models import load_neca
from tests.conftest import ROOT

SEEDS = range(3)


@pytest.fixture(scope="module")
def rows():
    return list(compare_with_truth(load_neca(ROOT / "pretrain" / "DC"), DemoOptions(), SEEDS, side=512))


def test_correlations_are_within_008_of_the_real_noise(rows):
    for seed in SEEDS:
        for column in STRUCTURE:
            fake, real = (mean_of(rows, column, model=model, seed=seed) for model in ("NeCA-W", "real"))
            assert abs(fake - real) < 0.08, f"{column} is {fake:.3f}, real {real:.3f} (seed {seed})"


def test_standard_deviation_is_within_5_percent(rows):
    for seed in SEEDS:
        fake, real = (mean_of(rows, "std", model=model, seed=seed) for model in ("NeCA-W", "real"))
        assert fake == pytest.approx(real, rel=0.05)


def test_histogram_is_closer_than_white_gaussian_noise_of_the_true_std_on_every_iso(rows):
    for iso in {row["iso"] for row in rows}:
        assert mean_of(rows, "kld_exact", model="NeCA-W", iso=iso) < mean_of(rows, "kld_exact", model="white", iso=iso)


def test_shipped_files_stay_small():
    files = list((ROOT / "pretrain" / "DC").glob("checkpoint_*.pth"))
    assert {file.name for file in files} == {"checkpoint_E.pth", "checkpoint_G1.pth", "checkpoint_G2.pth"}
    assert sum(file.stat().st_size for file in files) < 20e6
