"""main_eval.py noise as users run it."""

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import skimage.io

import main_eval
from evaluation.noise import COLUMNS, METRICS
from evaluation.noise_models import MODEL_NAMES
from tests.noisy_set import CAMERA, STD, make_set, make_weights
from utils.image import read_image, write_image


@pytest.fixture
def root(tmp_path):
    make_set(tmp_path)
    make_weights(tmp_path)
    return tmp_path


def evaluate(root, *more):
    words = ["--data_dir", root / "data", "--data_prep_dir", root / "lists", "--pretrain_dir", root / "pretrain"]
    words += ["--output_dir", root / "out", "--cam_name", CAMERA, "--device", "cpu", *more]
    main_eval.main(["noise", *map(str, words)])
    with open(root / "out" / "results.csv") as file:
        return list(csv.DictReader(file))


def test_all_models_are_evaluated_on_every_test_image_and_draw(root):
    rows = evaluate(root, "--draws", "2", "--html", "--num_workers", "2")
    assert list(rows[0]) == list(COLUMNS)
    models = {row["model"] for row in rows}
    assert models == set(MODEL_NAMES)
    for model in models:
        draws = 1 if model == "real" else 2
        assert sum(row["model"] == model for row in rows) == 4 * draws  # two scenes of two frames
    assert {row["image"].split("_")[0] for row in rows} == {"0005", "0006"}
    assert all(np.isfinite(float(row[metric])) for row in rows for metric in METRICS)


def test_results_are_written_for_people_and_for_programs(root, capsys):
    evaluate(root, "--html")
    pictures = {"scores", "noises", "autocorrelation", "spectra", "noise_levels", "histograms"}
    files = {f"{name}.png" for name in pictures} | {"report.md", "report.html", "results.csv", "results.json"}
    assert {path.name for path in (root / "out").iterdir()} == files
    report = (root / "out" / "report.md").read_text()
    for text in (*MODEL_NAMES, "ISO 800", "ISO 3200", "split test", "each random model: 1", "noises.png"):
        assert text in report, text
    content = json.loads((root / "out" / "results.json").read_text(), parse_constant=lambda name: 1 / 0)  # no NaN
    assert {"summary", "by_iso", "differences", "definitions", "provenance"} <= set(content)
    weights = root / "pretrain" / CAMERA / "checkpoint_G2.pth"
    assert content["provenance"]["weights (SHA-256)"][str(weights)] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert content["provenance"]["options"]["seed"] == 0
    assert "NeCA-W" in capsys.readouterr().out


def test_report_pages_show_the_same_pictures(root):
    evaluate(root, "--models", "AWGN-image", "--html")
    page = (root / "out" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 6


def test_same_seed_gives_the_same_rows_whatever_the_workers(root):
    first = evaluate(root, "--draws", "2", "--num_workers", "0")
    assert evaluate(root, "--draws", "2", "--num_workers", "3") == first
    other = evaluate(root, "--draws", "2", "--seed", "1")
    assert [row["model"] for row in other] == [row["model"] for row in first]
    assert other != first


def test_draws_differ(root):
    rows = evaluate(root, "--draws", "2", "--models", "NeCA-W")
    assert rows[0]["image"] == rows[1]["image"] and rows[0]["draw"] != rows[1]["draw"]
    assert rows[0]["kld_exact"] != rows[1]["kld_exact"]


def test_true_noise_process_beats_a_wrong_std_where_the_truth_is_known(root):
    """The set's noise is white with one std per ISO: AWGN of that std is the truth."""
    rows = evaluate(root, "--models", "AWGN-ISO", "AWGN-image", "real")
    mean = {
        model: np.mean([float(row["kld_exact"]) for row in rows if row["model"] == model])
        for model in ("AWGN-ISO", "AWGN-image", "real")
    }
    assert max(mean.values()) < 1.5 * min(mean.values())  # all three are the same process


def test_uncropped_parts_and_their_crops_give_the_same_rows(root):
    first = evaluate(root, "--models", "AWGN-image", "coloured", "real")
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "lists")
    make_set(root, cropped=False)
    rows = evaluate(root, "--models", "AWGN-image", "coloured", "real")
    for row, before in zip(rows, first, strict=True):
        assert row["image"] == before["image"]
        if row["model"] == "real":  # no random numbers in it
            assert row == before


def test_fakes_from_a_folder_are_scored_as_they_are(root):
    """The real noisy images themselves, as somebody's fakes, are perfect; other white noise is not."""
    for path in (root / "data").rglob("*NOISY*.png"):
        write_image(root / "perfect" / path.name, read_image(path))
        image = read_image(path).astype(int) + np.random.default_rng(0).integers(-20, 21, (96, 96, 3))
        write_image(root / "poor" / path.parts[-3] / path.name, np.clip(image, 0, 255).astype(np.uint8))
    rows = evaluate(root, "--models", "AWGN-image", "--fake_dir", f"mine={root / 'perfect'}", root / "poor")
    perfect = [row for row in rows if row["model"] == "mine"]
    assert len(perfect) == 4
    for row in perfect:
        assert {metric: float(row[metric]) for metric in METRICS} == dict.fromkeys(METRICS, 0) | {"std": 1}
    assert all(float(row["kld_exact"]) > 0.01 for row in rows if row["model"] == "poor")


def test_missing_fake_is_named(root):
    (root / "fakes").mkdir()
    with pytest.raises(ValueError, match=r"fakes: has no 0005_NOISY_SRGB_010_00001\.png .*--fake_dir"):
        evaluate(root, "--models", "AWGN-image", "--fake_dir", root / "fakes")


def test_fake_of_another_size_is_named(root):
    for path in (root / "data").rglob("*NOISY*.png"):
        write_image(root / "fakes" / path.name, read_image(path)[:-8])
    with pytest.raises(ValueError, match=r"0005_NOISY_SRGB_010_00001\.png: 88x96 pixels"):
        evaluate(root, "--models", "AWGN-image", "--fake_dir", root / "fakes")


def test_models_that_cannot_be_had_are_left_out_and_the_reason_told(root, capsys):
    shutil.rmtree(root / "pretrain")
    (root / "lists" / f"{CAMERA}_train.txt").unlink()
    rows = evaluate(root)
    assert {row["model"] for row in rows} == {"AWGN-image", "real"}
    told = capsys.readouterr().out
    assert "without NeCA-W, NeCA-S: camera ZZ has no weights" in told
    assert "without coloured, heteroscedastic, AWGN-ISO" in told


@pytest.mark.parametrize(
    "more, message",
    [
        (("--models", "NeCA-W", "--pretrain_dir", "nowhere"), "--pretrain_dir"),
        (("--data_dir", "nowhere"), "--data_dir"),
        (("--cam_name", "QQ"), "--cam_name"),
        (("--split", "all", "--models", "coloured"), "training list"),
        (("--scene_list", "nowhere.txt"), "nowhere.txt"),
        (("--fake_dir", "nowhere"), "--fake_dir"),
        (("--fake_dir", "real=."), "called 'real' already"),
        (("--data_prep_dir", "nowhere"), "--data_prep_dir"),
    ],
)
def test_bad_options_are_named_and_nothing_is_written(root, more, message):
    with pytest.raises(ValueError, match=message):
        evaluate(root, *more)
    assert not list((root / "out").glob("*")) if (root / "out").exists() else True


def test_listed_scene_that_is_absent_is_named(root):
    (root / "lists" / f"{CAMERA}_test.txt").write_text("0099_001_ZZ_00800_00100_5500_N\n")
    with pytest.raises(ValueError, match="0099_001_ZZ"):
        evaluate(root)


def test_neca_s_takes_the_true_std_or_the_level_that_was_asked_for(root):
    rows = evaluate(root, "--models", "NeCA-S", "AWGN-image")
    ratio = {model: np.mean([float(r["std"]) for r in rows if r["model"] == model]) for model in ("NeCA-S",)}
    louder = evaluate(root, "--models", "NeCA-S", "--noise_level", str(2 * max(STD.values())))
    assert np.mean([float(row["std"]) for row in louder]) > 1.3 * ratio["NeCA-S"]


def test_panel_and_charts_can_be_opened_by_others(root):
    evaluate(root, "--models", "AWGN-image")
    for path in (root / "out").glob("*.png"):
        assert skimage.io.imread(path).shape[2] == 3
