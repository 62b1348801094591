"""main_eval.py noise as users run it."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import skimage.io

import main_eval
from evaluation import noise
from evaluation.noise import COLUMNS
from evaluation.noise_models import judged_models
from noise.kinds import KINDS
from tests.conftest import read_csv
from tests.noisy_set import CAMERA, STD, make_set, make_weights
from tests.refusal import one_line
from utils.image import read_image, write_image

METRICS = COLUMNS[5:]

NEED_A_FIT = {kind.name for kind in KINDS.values() if kind.needs == "fit"}


@pytest.fixture
def root(tmp_path):
    make_set(tmp_path)
    make_weights(tmp_path)
    return tmp_path


def evaluate(root, *more):
    more = [root / word if word == "data/out" else word for word in more]
    words = ["--data_dir", root / "data", "--data_prep_dir", root / "lists", "--pretrain_dir", root / "pretrain"]
    words += ["--output_dir", root / "out", "--cam_name", CAMERA, "--device", "cpu", *more]
    main_eval.main(["noise", *map(str, words)])
    return read_csv(root / "out" / "results.csv")


def test_all_models_are_evaluated_on_every_test_image_and_draw(root):
    rows = evaluate(root, "--draws", "2", "--html", "--num_workers", "2")
    assert list(rows[0]) == list(COLUMNS)
    models = {row["model"] for row in rows}
    assert models == set(judged_models()) - NEED_A_FIT
    for model in models:
        draws = 1 if model == "real" else 2
        assert sum(row["model"] == model for row in rows) == 4 * draws  # two scenes of two frames
    one, other = [row for row in rows if row["model"] == "NeCA-W"][:2]
    assert one["image"] == other["image"] and one["draw"] != other["draw"] and one["kld_exact"] != other["kld_exact"]
    assert {row["image"].split("_")[0] for row in rows} == {"0005", "0006"}
    assert all(np.isfinite(float(row[metric])) for row in rows for metric in METRICS)


def test_results_are_written_for_people_and_for_programs(root, capsys):
    evaluate(root, "--html")
    pictures = {"scores", "noises", "autocorrelation", "phases", "spectra", "noise_levels", "histograms"}
    files = {f"{name}.png" for name in pictures} | {"report.md", "report.html", "results.csv", "results.json"}
    assert {path.name for path in (root / "out").iterdir()} == files
    assert all(skimage.io.imread(path).shape[2] == 3 for path in (root / "out").glob("*.png"))
    assert (root / "out" / "report.html").read_text().count("data:image/png;base64,") == len(pictures)
    report = (root / "out" / "report.md").read_text()
    for text in (
        *(set(judged_models()) - NEED_A_FIT),
        "Without pipeline, pipeline x image",
        "ISO 800",
        "ISO 3200",
        "split test",
        "random model: 1",
        "noises.png",
    ):
        assert text in report, text
    assert "random model: 1" in report
    content = json.loads((root / "out" / "results.json").read_text(), parse_constant=lambda name: 1 / 0)  # no NaN
    assert {"summary", "by_iso", "differences", "definitions", "provenance"} <= set(content)
    weights = root / "pretrain" / CAMERA / "checkpoint_G2.pth"
    assert content["provenance"]["weights (SHA-256)"][str(weights)] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert content["provenance"]["options"]["seed"] == 0
    assert "NeCA-W" in capsys.readouterr().out


def test_same_seed_gives_the_same_rows_whatever_the_workers(root):
    words = "--draws", "2", "--models", "NeCA-W", "coloured"
    first = evaluate(root, *words, "--num_workers", "0")
    assert evaluate(root, *words, "--num_workers", "3") == first
    other = evaluate(root, *words, "--seed", "1")
    assert [row["model"] for row in other] == [row["model"] for row in first]
    assert other != first


def test_truth_scores_alike_in_all_its_guises_and_better_than_a_wrong_std(root):
    """The set's noise is white with one std per ISO: AWGN of that std is the truth."""
    for path in (root / "data").rglob("*NOISY*.png"):
        noise = read_image(path) - read_image(str(path).replace("noisy", "clean").replace("NOISY", "GT")).astype(float)
        wrong = np.clip(read_image(path) + 0.5 * np.rot90(noise), 0, 255).round().astype(np.uint8)
        write_image(root / "wrong" / path.name, wrong)
    rows = evaluate(root, "--models", "AWGN-ISO", "AWGN-image", "real", "--fake_dir", root / "wrong")
    mean = {
        model: np.mean([float(row["kld_exact"]) for row in rows if row["model"] == model])
        for model in ("AWGN-ISO", "AWGN-image", "real", "wrong")
    }
    wrong = mean.pop("wrong")
    assert max(mean.values()) < 1.5 * min(mean.values())
    assert wrong > 1.5 * max(mean.values())


def test_uncropped_parts_and_their_crops_give_the_same_rows(root):
    first = evaluate(root, "--models", "AWGN-image", "coloured", "real")
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "lists")
    make_set(root, cropped=False)
    rows = evaluate(root, "--models", "AWGN-image", "coloured", "real")
    assert rows == first


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


def write_fakes(root, change=lambda image: image, name="{path.name}"):
    for path in sorted((root / "data").rglob("*NOISY*")):
        write_image(root / "fakes" / name.format(path=path), change(read_image(path)))
    return root / "fakes"


def test_missing_fake_is_named_before_the_work_begins(root, monkeypatch):
    (write_fakes(root) / "0006_NOISY_SRGB_011_00001.png").unlink()
    monkeypatch.setattr(main_eval, "evaluate", None)  # is not reached
    with pytest.raises(ValueError, match=r"fakes: has no 0006_NOISY_SRGB_011_00001\.png .*--fake_dir"):
        evaluate(root, "--models", "AWGN-image", "--fake_dir", root / "fakes")


def test_fake_of_another_size_is_named(root):
    fakes = write_fakes(root, lambda image: image[:-8])
    with pytest.raises(ValueError, match=r"0005_NOISY_SRGB_010_00001\.png: 88x96 pixels"):
        evaluate(root, "--models", "AWGN-image", "--fake_dir", fakes)


def test_fake_with_a_border_around_an_uncropped_frame_is_no_fit(root):
    for folder in ("data", "lists"):
        shutil.rmtree(root / folder)
    make_set(root, cropped=False)
    fakes = write_fakes(root, lambda image: np.pad(image, ((5, 5), (5, 5), (0, 0))))
    with pytest.raises(ValueError, match="106x106 pixels, but the real noisy image has 96x96"):
        evaluate(root, "--models", "AWGN-image", "--fake_dir", fakes)


def test_fakes_of_uncropped_frames_are_cut_where_the_frames_are(tmp_path):
    """Perfect fakes are perfect in every piece."""
    name, random = f"0001_001_{CAMERA}_00800_00100_5500_N", np.random.default_rng(0)
    clean = random.integers(60, 190, (27, 27, 3)).repeat(30, 0).repeat(30, 1).astype(np.uint8)  # 810 pixels: is cut
    noisy = np.clip(clean + random.normal(0, 9, clean.shape), 0, 255).round().astype(np.uint8)
    for kind, image in (("GT", clean), ("NOISY", noisy)):
        write_image(tmp_path / "data" / name / f"0001_{kind}_SRGB_010.PNG", image)
    write_image(tmp_path / "fakes" / "0001_NOISY_SRGB_010.PNG", noisy)
    words = ("--split", "all", "--models", "AWGN-image", "--fake_dir", f"mine={tmp_path / 'fakes'}")
    rows = [row for row in evaluate(tmp_path, *words) if row["model"] == "mine"]
    assert len(rows) == 4
    assert {float(row["kld_exact"]) for row in rows} == {float(row["acf"]) for row in rows} == {0}


def test_one_fake_is_not_taken_for_the_same_name_in_several_scenes(root):
    """SIDD-Small's names lack the instance."""
    for path in sorted((root / "data").rglob("*.png")):
        path.rename(path.with_name(path.name[5:]))
    with pytest.raises(ValueError, match="several scenes have a file of this name"):
        evaluate(root, "--models", "AWGN-image", "--fake_dir", write_fakes(root))
    rows = evaluate(
        root, "--models", "AWGN-image", "--fake_dir", write_fakes(root, name="{path.parent.parent.name}/{path.name}")
    )
    assert rows


def test_damaged_weights_end_the_run_though_absent_ones_do_not(root):
    path = root / "pretrain" / CAMERA / "checkpoint_G2.pth"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"checkpoint_G2\.pth: damaged"):
        evaluate(root)


def test_ncnet_alone_is_enough_for_neca_s(root):
    (root / "pretrain" / CAMERA / "checkpoint_G1.pth").unlink()
    models = {row["model"] for row in evaluate(root)}
    assert "NeCA-S" in models and "NeCA-W" not in models


def test_model_with_noise_for_some_images_only_says_so(root):
    for path in (root / "data").rglob("0006_*_011_*.png"):
        path.unlink()
    evaluate(root, "--models", "AWGN-image", "real")
    assert "real has noise for 2 of 3 images" in (root / "out" / "report.md").read_text()


def test_no_noise_for_any_image_is_an_error(root):
    for path in (root / "data").rglob("*GT*_011_*.png"):  # the second frames show something else
        write_image(path, 255 - read_image(path))
    with pytest.raises(ValueError, match="no noise for any of the images"):
        evaluate(root, "--models", "real")


def test_saturated_crops_do_not_spoil_the_rest(root):
    for path in (root / "data").rglob("0006_*.png"):
        write_image(path, np.full((96, 96, 3), 255, np.uint8))
    rows = evaluate(root, "--models", "AWGN-ISO", "AWGN-image")
    assert {row["std"] for row in rows if row["image"].startswith("0006")} == {"nan"}
    summary = json.loads((root / "out" / "results.json").read_text())["summary"]
    assert summary["AWGN-image"]["std"]["mean"] == pytest.approx(1, abs=0.05)
    overview, by_iso = (root / "out" / "report.md").read_text().split("## By ISO")
    assert "not ranked" not in overview.lower()
    assert "AWGN-image (not ranked)" in by_iso  # of the ISO that has no noise at all


def test_report_of_an_earlier_evaluation_does_not_stay_beside_a_newer(root):
    evaluate(root, "--models", "AWGN-image", "--html")
    evaluate(root, "--models", "AWGN-image")
    assert not (root / "out" / "report.html").exists()


def test_numbers_are_written_before_the_pictures(root, monkeypatch):
    """A disk that gets full on the way has the numbers."""

    def fail(path, image):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("evaluation.noise_report.write_image", fail)
    with pytest.raises(OSError, match="No space"):
        evaluate(root, "--models", "AWGN-image")
    assert (root / "out" / "results.csv").exists() and (root / "out" / "results.json").exists()


@pytest.mark.parametrize("name", ["bad\udcff", "a|b", "<script>", "名前", "x" * 300])
def test_odd_names_of_models_are_shown_and_harm_nothing(root, name):
    rows = evaluate(root, "--models", "AWGN-image", "--html", "--fake_dir", f"{name}={write_fakes(root)}")
    assert len({row["model"] for row in rows}) == 2


def test_models_that_cannot_be_had_are_left_out_and_the_reason_told(root, capsys):
    shutil.rmtree(root / "pretrain")
    (root / "lists" / f"{CAMERA}_train.txt").unlink()
    rows = evaluate(root)
    assert {row["model"] for row in rows} == {"AWGN-image", "real"}
    told = capsys.readouterr().out
    report = (root / "out" / "report.md").read_text()
    for text in ("Without NeCA-W: camera ZZ has no weights", "Without copula, copula x channel std, coloured, "):
        assert text in told
        assert text in report.replace("\\", "")


@pytest.mark.parametrize(
    "more, message",
    [
        (("--models", "NeCA-W", "--pretrain_dir", "nowhere"), "--pretrain_dir"),
        (("--data_dir", "nowhere"), "--data_dir"),
        (("--cam_name", "QQ"), "--cam_name"),
        (("--split", "all", "--models", "coloured"), "training list"),
        (("--scene_list", "nowhere.txt"), "nowhere.txt"),
        (("--fake_dir", "nowhere"), "--fake_dir"),
        (("--fake_dir", "real=."), "'real' cannot be its name or is taken"),
        (("--fake_dir", "real noise=."), "is taken"),
        (("--fake_dir", " =."), "cannot be its name"),
        (("--fake_dir", "name="), "nothing is no folder"),
        (("--noise_level", "3e38", "--models", "NeCA-S"), "noise_level"),
        (("--output_dir", "data/out"), "--output_dir"),
        (("--data_prep_dir", "nowhere"), "--data_prep_dir"),
    ],
)
def test_bad_options_are_named_and_nothing_is_written(root, more, message):
    with pytest.raises(ValueError, match=message):
        evaluate(root, *more)
    assert not list((root / "out").glob("*")) if (root / "out").exists() else True


def test_neca_s_takes_the_true_std_or_the_level_that_was_asked_for(root):
    by_iso = {row["iso"]: row for row in evaluate(root, "--models", "NeCA-S")}
    for iso, std in STD.items():
        found = {row["iso"]: row for row in evaluate(root, "--models", "NeCA-S", "--noise_level", str(std))}
        assert float(by_iso[str(iso)]["std"]) == pytest.approx(float(found[str(iso)]["std"]), rel=0.02)
        other = next(level for level in STD if level != iso)
        assert float(by_iso[str(other)]["std"]) != pytest.approx(float(found[str(other)]["std"]), rel=0.2)


def test_a_model_and_an_image_that_fail_are_left_out_and_named_in_the_report(root, monkeypatch):
    """An hour's evaluation is not lost by its last image."""
    fakes, read = write_fakes(root), noise.read_samples
    content = (last := fakes / "0006_NOISY_SRGB_011_00001.png").read_bytes()
    last.write_bytes(content[:2000] + bytes(8) + content[2008:])  # both ends, which are looked at before, are whole

    def fail(pairs, *more):
        if pairs[0].noisy.name.startswith("0005_NOISY_SRGB_011"):
            raise ValueError("one image: cannot be read")
        return read(pairs, *more)

    monkeypatch.setattr(noise, "read_samples", fail)
    with pytest.raises(ValueError, match=one_line("one image: cannot", "; ", last.name, "damaged", "; the report has")):
        evaluate(root, "--models", "AWGN-image", "--fake_dir", f"mine={fakes}", "--num_workers", "0")
    rows = read_csv(root / "out" / "results.csv")
    assert {row["model"] for row in rows} == {"AWGN-image"}
    assert sorted(row["image"][:4] for row in rows) == ["0005", "0006", "0006"]
    assert (root / "out" / "report.md").read_text().count("Failed and left out: ") == 2
