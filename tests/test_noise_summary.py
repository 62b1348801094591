"""From rows to means, spreads, ranks and intervals."""

import math

import numpy as np
import pandas as pd
import pytest

from data.pairs import find_pairs, read_pair
from evaluation import c2st
from evaluation.noise_metrics import METRICS, Comparison, Reference, measure
from evaluation.noise_report import RANKED, best_models, is_ranked, summarise_models, summary_table, verdict
from evaluation.report import differences
from tests.noisy_set import make_set


def row(model: str, image: str, draw: int = 0, **values) -> dict:
    base = dict.fromkeys((*METRICS, "score"), 1.0)
    return {"image": image, "camera": "ZZ", "iso": 800, "model": model, "draw": draw} | base | values


def summarise(rows: list[dict]) -> dict:
    return summarise_models(pd.DataFrame(rows))


def test_mean_and_spreads_are_over_images_and_over_draws():
    values = {("s1/a", 0): 1.0, ("s1/a", 1): 3.0, ("s2/b", 0): 6.0, ("s2/b", 1): 4.0}
    rows = [row("m", image, draw, acf=value) for (image, draw), value in values.items()]
    found = summarise(rows)["m"]["acf"]
    assert found["mean"] == 3.5
    assert found["over_images"] == pytest.approx(np.std([2, 5], ddof=1))
    assert found["over_draws"] == pytest.approx(np.std([3.5, 3.5], ddof=1))


def test_crops_almost_without_noise_do_not_decide_who_is_ranked():
    """The std of a fake over that of a nearly black crop is any number."""
    rows = [row("m", f"s/{image}", std=std) for image, std in enumerate((1.1, 0.9, 40.0))]
    assert is_ranked(summarise(rows)["m"])
    nothing = [row("nothing", f"s/{image}", std=std) for image, std in enumerate((0, 0, math.nan))]
    assert not is_ranked(summarise(nothing)["nothing"])


def test_unranked_models_come_last_the_furthest_std_at_the_end():
    stds = {"silent": 0.0, "loud": 5.0, "fine": 1.0}
    rows = [row(name, "s/a", std=std, score=0.0 if name == "silent" else 9.0) for name, std in stds.items()]
    assert list(summarise(rows)) == ["fine", "loud", "silent"]


def test_unknown_values_are_left_out_of_the_mean():
    rows = [row("m", "s/a", nlf=math.nan), row("m", "s/b", nlf=2.0)]
    assert summarise(rows)["m"]["nlf"]["mean"] == 2
    assert math.isnan(summarise(rows[:1])["m"]["nlf"]["mean"])


def test_models_are_sorted_by_score():
    rows = [row(name, "s/a", score=score) for name, score in (("poor", 2.0), ("good", 0.1), ("fair", 1.0))]
    assert list(summarise(rows)) == ["good", "fair", "poor"]


@pytest.fixture(scope="module")
def rows_with_a_fake_without_noise(tmp_path_factory) -> list[dict]:
    """Real rows of three fakes: no noise, far too strong noise, white noise a little off."""
    data, _ = make_set(tmp_path_factory.mktemp("set"))
    rows, random = [], np.random.default_rng(0)
    for pair in find_pairs(sorted(data.iterdir())):
        reference = Reference(*read_pair(pair))
        shape, std = reference.clean.shape, reference.noise.std()
        fakes = {
            "nothing": np.zeros(shape),
            "loud": random.normal(0, 4 * std, shape),
            "white": 3 + random.normal(0, 1.3 * std, shape),
        }
        for name, noise in fakes.items():
            rows.append(row(name, pair.label) | measure(Comparison(reference, noise)))
    return rows


def test_fake_without_noise_comes_first_in_nothing(rows_with_a_fake_without_noise):
    summary = summarise(rows_with_a_fake_without_noise)
    assert next(iter(summary)) == "white"
    # Without the rule it would: white noise has no structure to lose, and here the other fakes are biased.
    assert summary["nothing"]["bias"]["mean"] < summary["white"]["bias"]["mean"]
    assert summary["nothing"]["kld"]["mean"] < summary["white"]["kld"]["mean"]
    assert not is_ranked(summary["nothing"]) and not is_ranked(summary["loud"])
    for metric in RANKED:
        assert best_models(summary, metric) == ["white"], metric
    table = summary_table(summary)
    assert {name for names in table.best.values() for name in names} == {"white"}
    unranked = [name for name in table.frame.index if "not ranked" in name]
    assert unranked == [f"{name} (not ranked)" for name in list(summary)[1:]]


def test_nothing_is_ranked_by_the_divergences_that_drop_bins(rows_with_a_fake_without_noise):
    summary = summarise(rows_with_a_fake_without_noise)
    assert best_models(summary, "kld") == best_models(summary, "kld_naflow") == []


@pytest.mark.parametrize("metric, values", [("acf", {"real": 0.0, "m": 0.5}), ("std", {"low": 0.8, "m": 1.1})])
def test_floor_is_no_competitor_and_std_is_best_at_one(metric, values):
    rows = [row(name, "s/a", **{metric: value}) for name, value in values.items()]
    assert best_models(summarise(rows), metric) == ["m"]


def test_difference_is_paired_and_its_interval_that_of_resampled_scenes():
    random = np.random.default_rng(0)
    rows, deltas = [], []
    for scene in range(60):
        level, delta = random.normal(0, 10), random.normal(0.3, 1)  # images differ far more than the models do
        deltas.append(delta)
        for image in range(3):
            rows += [row("a", f"s{scene}/{image}", acf=level), row("b", f"s{scene}/{image}", acf=level + delta)]
    found = differences(pd.DataFrame(rows), "a", "acf", seed=0)["b"]
    error = np.std(deltas) / math.sqrt(60)  # of a mean over scenes; the images of one are copies
    assert found["difference"] == pytest.approx(np.mean(deltas))
    assert found["low"] == pytest.approx(np.mean(deltas) - 1.96 * error, abs=0.2 * error)
    assert found["high"] == pytest.approx(np.mean(deltas) + 1.96 * error, abs=0.2 * error)
    assert found["scenes"] == 60


def test_difference_takes_only_images_that_both_have():
    rows = [row("a", "s/1", acf=1.0), row("a", "s/2", acf=5.0), row("b", "s/1", acf=1.5), row("c", "t/9")]
    found = differences(pd.DataFrame(rows), "a", "acf", seed=0)
    assert found["b"]["difference"] == 0.5
    assert math.isnan(found["b"]["low"])  # a single scene tells nothing about others
    assert "c" not in found


def test_verdict_names_the_closest_model_what_it_has_seen_and_who_is_hardest_to_tell():
    scores = {"coloured x std": 0.1, "pipeline": 0.2, "AWGN-image": 1.0, "silent": 0.0}
    rows = [row(name, "s/a", score=score, std=0.0 if name == "silent" else 0.9) for name, score in scores.items()]
    empty = np.zeros(0)
    aucs = {
        ("pipeline", 8): (0.4, 0.52, 0.6),
        ("coloured x std", 8): (0.97, 0.98, 0.99),
        ("real", 8): (0.5, 0.51, 0.52),
    }
    tests = [
        c2st.Test(*key, seed, auc, 1, 1, empty, empty)
        for key, values in aucs.items()
        for seed, auc in enumerate(values)
    ]
    closest, fair, told = verdict(summarise(rows), c2st.TwoSampleTests(tests, "scene", "real", []))
    assert (
        closest.startswith("By the score coloured x std is closest") and "0.100" in closest and "0.90 times" in closest
    )
    assert "Next is pipeline: 0.200." in closest
    assert "gets 1 of the values" in fair and "pipeline is closest: 0.200" in fair
    assert "hardest for it is pipeline. pipeline: with patches of 8 pixels it cannot (AUC 0.52)" in told
    assert "coloured x std: with patches of 8 pixels it nearly always can (AUC 0.98)" in told and "real (floor)" in told
    assert len(verdict(summarise(rows[1:2]))) == 1  # it has seen nothing, and no classifier was asked
    assert verdict(summarise(rows[3:])) == ["No model is ranked: the std of each is off by a factor of more than 2."]
