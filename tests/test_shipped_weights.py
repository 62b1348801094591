"""What ships for the demo camera, against the simulator's own noise on its test scenes.

The fit has the bars that matter. The NeCA weights are minutes of the published losses on a CPU: their level and their
correlation between neighbours have to be near, not their distribution.
"""

import numpy as np
import pandas as pd
import pytest

from data.demo.scenes import DemoOptions, all_scenes, noise_statistics
from inference import load_neca
from metrics import kld_exact, noise_of
from noise import load_noise
from tests.conftest import ROOT
from utils.image import to_uint8

SEEDS = range(3)
STRUCTURE = ("lag-1 h", "lag-1 v", "lag-(1,1)", "rg", "gb", "rb")


@pytest.fixture(scope="module")
def rows():
    """Statistics of the middles of the test scenes: the simulator's noise, the fit's, NeCA-W's, and white noise."""
    generator, fit, found = load_neca(ROOT / "pretrain" / "DC"), load_noise(ROOT / "pretrain" / "DC"), []
    for scene in (scene for scene in all_scenes(DemoOptions()) if scene.half == "test"):
        clean, real = (image[192:704, 384:896] for image in (scene.clean(), scene.noisy(0)))
        gain, truth = generator.estimate_gain(real), noise_of(real, clean)
        for seed in SEEDS:
            fake = generator.synthesize(clean, gain, seed=seed, key=scene.name)
            rendered = fit.synthesize(clean, iso=scene.iso, seed=seed, key=scene.name)
            white = to_uint8((clean + np.random.default_rng(seed).normal(0, truth.std(), clean.shape)) / 255)
            for model, image in {"real": real, "pipeline": rendered, "NeCA-W": fake, "white": white}.items():
                row = {
                    "iso": scene.iso,
                    "seed": seed,
                    "model": model,
                    "kld_exact": kld_exact(truth, noise_of(image, clean)),
                }
                found.append(row | noise_statistics(noise_of(image, clean)))
    return pd.DataFrame(found)


def mean_of(rows, column, **wanted):
    return rows.loc[(rows[list(wanted)] == pd.Series(wanted)).all(axis=1), column].mean()


def test_correlations_of_the_fit_are_within_008_of_the_real_noise(rows):
    for seed in SEEDS:
        for column in STRUCTURE:
            fake, real = (mean_of(rows, column, model=model, seed=seed) for model in ("pipeline", "real"))
            assert abs(fake - real) < 0.08, f"{column} is {fake:.3f}, real {real:.3f} (seed {seed})"


def test_correlations_of_the_weights_are_near_those_of_the_real_noise(rows):
    for column in STRUCTURE:
        fake, real = (mean_of(rows, column, model=model) for model in ("NeCA-W", "real"))
        assert abs(fake - real) < 0.1, f"{column} is {fake:.3f}, real {real:.3f}"


def test_histogram_of_the_weights_is_closer_than_white_gaussian_noise_of_the_true_std(rows):
    assert mean_of(rows, "kld_exact", model="NeCA-W") < mean_of(rows, "kld_exact", model="white") / 1.5


@pytest.mark.parametrize("model", ["pipeline", "NeCA-W"])
def test_standard_deviation_is_within_5_percent(rows, model):
    for seed in SEEDS:
        fake, real = (mean_of(rows, "std", model=one, seed=seed) for one in (model, "real"))
        assert fake == pytest.approx(real, rel=0.05)


def test_histogram_of_the_fit_is_closer_than_white_gaussian_noise_of_the_true_std_on_every_iso(rows):
    for iso in set(rows["iso"]):
        made, white = (mean_of(rows, "kld_exact", model=model, iso=iso) for model in ("pipeline", "white"))
        assert made < white / 4


def test_shipped_files_stay_small():
    files = list((ROOT / "pretrain" / "DC").glob("checkpoint_*"))
    assert {file.name for file in files} == {f"checkpoint_{letter}.safetensors" for letter in ("E", "G1", "G2")}
    assert sum(file.stat().st_size for file in files) < 1e6
