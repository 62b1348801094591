"""main_eval.py denoise as users run it."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io
import skimage.io
import skimage.metrics
import torch

import main_eval
from evaluation.denoising import COLUMNS, DETAIL, most_detailed
from evaluation.denoising_report import summarise_denoisers
from models import DnCNN, network_checkpoint
from tests.conftest import read_csv
from tests.noisy_set import CAMERA, make_set
from utils.charts import bars
from utils.checkpoints import save_checkpoint
from utils.image import read_image, write_image

OTHER = "YY"  # a second camera, the same images


@pytest.fixture
def root(tmp_path):
    make_set(tmp_path)
    return tmp_path


def write_denoiser(path, seed: int, strength: float = 0.02):
    """A DnCNN that takes off a little of whatever it predicts."""
    torch.manual_seed(seed)
    network = DnCNN(nc=4, nb=3)
    torch.nn.init.normal_(network.model[-1].weight, std=strength)
    save_checkpoint(path, network_checkpoint(network.eval(), 1))
    return network


def write_runs(root, names=("real", "white"), seeds=(0, 1, 2)):
    for name in names:
        for seed in seeds:
            path = root / "runs" / f"{name}_{seed}" / "models" / "checkpoint_G3_00000001.pth"
            write_denoiser(path, seed, strength=0.02 if name == "real" else 0.05)
    return [f"{name}={root / 'runs' / name}_{{seed}}" for name in names]


def evaluate(root, *more):
    words = ["--data_dir", root / "data", "--data_prep_dir", root / "lists", "--output_dir", root / "out"]
    main_eval.main(["denoise", *map(str, words), "--cam_name", CAMERA, "--device", "cpu", *map(str, more)])
    return read_csv(root / "out" / "results.csv")


def blocks_of(root, shape=(2, 3, 24, 24, 3)):
    """Write files of validation blocks -> their options."""
    clean = np.random.default_rng(0).integers(40, 200, shape).astype(np.uint8)
    noisy = (clean + np.random.default_rng(1).normal(0, 9, shape)).clip(0, 255).astype(np.uint8)
    options = []
    for option, stem, blocks in (
        ("noisy", "ValidationNoisyBlocksSrgb", noisy),
        ("gt", "ValidationGtBlocksSrgb", clean),
    ):
        scipy.io.savemat(root / f"{stem}.mat", {stem: blocks})
        options += [f"--{option}_blocks", root / f"{stem}.mat"]
    return options, noisy, clean


def evaluate_blocks(root, *more):
    main_eval.main(["denoise", "--output_dir", str(root / "out"), "--device", "cpu", *map(str, more)])
    return read_csv(root / "out" / "results.csv")


def pair_of(root, image: str):
    scene, name = image.split("/")
    noisy = root / "data" / scene / "noisy" / f"{name}.png"
    return noisy, noisy.parent.parent / "clean" / f"{name.replace('NOISY', 'GT')}.png"


def test_rows_are_what_scikit_image_measures_on_rounded_outputs(root):
    network = write_denoiser(root / "net.pth", 0)
    rows = evaluate(root, "--denoisers", "noisy", root / "net.pth")
    assert list(rows[0]) == list(COLUMNS)
    assert [row["denoiser"] for row in rows] == ["noisy", "net"] * 4  # two scenes of two frames
    for row in rows:
        noisy, clean = (skimage.io.imread(path) for path in pair_of(root, row["image"]))
        output = noisy
        if row["denoiser"] == "net":
            with torch.no_grad():
                batch = network(torch.from_numpy(noisy.transpose(2, 0, 1)[None]).double().div(255).float())
            exact = 255 * batch[0].numpy().transpose(1, 2, 0).clip(0, 1)
            output = (exact + 0.5).astype(np.uint8)  # rounded, not truncated
            assert np.mean(exact.astype(np.uint8) != output) > 0.3
        psnr = skimage.metrics.peak_signal_noise_ratio(clean, output)
        ssim = skimage.metrics.structural_similarity(
            clean,
            output,
            channel_axis=2,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert float(row["psnr"]) == pytest.approx(psnr, abs=2e-3)  # a value at .5 may round either way
        assert float(row["ssim"]) == pytest.approx(ssim, abs=1e-4)
        assert (row["camera"], row["iso"]) == (CAMERA, row["image"].split("_")[3].lstrip("0"))


def test_workers_and_tiles_change_nothing(root):
    write_denoiser(root / "net.pth", 0)
    first = evaluate(root, "--denoisers", root / "net.pth", "nlm", "--sigma", "8", "--num_workers", "0")
    more = ("--num_workers", "3", "--tile", "40")
    second = evaluate(root, "--denoisers", root / "net.pth", "nlm", "--sigma", "8", *more)
    assert [row["image"] for row in first] == [row["image"] for row in second]
    for one, other in zip(first, second):
        assert float(one["psnr"]) == pytest.approx(float(other["psnr"]), abs=2e-3)


def test_self_ensemble_reaches_the_network(root):
    write_denoiser(root / "net.pth", 0)
    plain, ensemble = (evaluate(root, "--denoisers", root / "net.pth", *more) for more in ((), ("--self_ensemble",)))
    assert plain[1]["psnr"] != ensemble[1]["psnr"]
    assert plain[0] == ensemble[0]


def test_results_are_written_for_people_and_for_programs(root, capsys):
    evaluate(root, "--denoisers", *write_runs(root), "nlm", "--sigma", "8", "--seeds", "0", "1", "2", "--html")
    files = {"report.md", "report.html", "results.csv", "results.json", "quality.png", "examples.png"}
    assert {path.name for path in (root / "out").iterdir()} == files
    report = (root / "out" / "report.md").read_text()
    for text in ("By ISO", "PGap", "noisy", "nlm", "white", "examples.png", "split test", "bootstrap"):
        assert text in report, text
    assert "By camera" not in report  # there is one
    verdict, _ = report.split("## What was measured")
    assert re.search(r"best PSNR is that of \S+: \d+\.\d\d dB.*\n\nAmong the noises beside real, white is", verdict)
    assert report.count("Kaggle") == 1  # which server's figures these resemble
    spreads = report.split("## Spread")[1]
    assert re.search(r"\| white \| \d+\.\d\d / \d+\.\d\d \|", spreads)  # between images / seeds
    assert re.search(r"\| nlm \| \d+\.\d\d \|", spreads)
    content = json.loads((root / "out" / "results.json").read_text(), parse_constant=lambda name: 1 / 0)  # no NaN
    assert {"summary", "by_camera", "by_iso", "differences", "denoisers", "definitions", "provenance"} <= set(content)
    assert len(content["provenance"]["weights (SHA-256)"]) == 6
    assert (root / "out" / "report.html").read_text().count("data:image/png;base64,") == 2
    told = capsys.readouterr().out
    assert "PGap" in told and "±" in told


def test_mean_spread_and_pgap_are_over_seeds(root):
    rows = evaluate(root, "--denoisers", *write_runs(root), "nlm", "--sigma", "8", "--seeds", "0", "1", "2")
    summary = json.loads((root / "out" / "results.json").read_text())["summary"]

    def psnr(name, seed):
        return np.mean([float(row["psnr"]) for row in rows if (row["denoiser"], row["seed"]) == (name, str(seed))])

    real, white = ([psnr(name, seed) for seed in range(3)] for name in ("real", "white"))
    assert summary["white"]["psnr"]["mean"] == pytest.approx(np.mean(white))
    assert summary["white"]["psnr"]["over_seeds"] == pytest.approx(np.std(white, ddof=1))
    gaps = np.subtract(real, white)
    assert summary["white"]["pgap"]["mean"] == pytest.approx(np.mean(gaps))
    assert summary["white"]["pgap"]["over_seeds"] == pytest.approx(np.std(gaps, ddof=1))
    assert summary["real"]["pgap"]["mean"] == 0
    assert "pgap" not in summary["nlm"] and "pgap" not in summary["noisy"]


def test_single_runs_have_a_pgap_too_and_what_is_not_trained_has_none(root):
    write_denoiser(root / "real.pth", 0)
    write_denoiser(root / "white.pth", 1)
    evaluate(root, "--denoisers", root / "real.pth", root / "white.pth", "nlm", "--sigma", "8")
    summary = json.loads((root / "out" / "results.json").read_text())["summary"]
    assert {name for name, values in summary.items() if "pgap" in values} == {"real", "white"}
    assert summary["white"]["pgap"]["over_seeds"] is None


def make_rows(values: dict) -> list[dict]:
    return [
        {"image": image, "denoiser": name, "seed": seed, "psnr": psnr, "ssim": 0.5}
        for (name, seed, image), psnr in values.items()
    ]


def test_pgap_takes_seeds_and_images_that_both_have():
    real = {("real", 0, "a"): 30.0, ("real", 1, "a"): 32.0, ("real", 1, "b"): np.inf}
    fake = {("fake", 1, "a"): 29.0, ("fake", 1, "b"): 20.0, ("fake", 2, "a"): 10.0}
    summary = summarise_denoisers(pd.DataFrame(make_rows(real | fake)), ["real", "fake"], "real")
    assert summary["fake"]["pgap"]["mean"] == 3
    assert np.isnan(summary["fake"]["pgap"]["over_seeds"])


def test_seeds_count_alike_whatever_images_they_have():
    rows = make_rows({("a", 0, "x"): 10.0, ("a", 0, "y"): np.inf, ("a", 1, "x"): 20.0, ("a", 1, "y"): 30.0})
    assert summarise_denoisers(pd.DataFrame(rows), ["a"], None)["a"]["psnr"]["mean"] == (10 + 25) / 2


def test_pgap_is_measured_from_the_one_that_is_named(root):
    specs = write_runs(root, ("other", "white"), (0,))
    evaluate(root, "--denoisers", *specs, "--seeds", "0", "--pgap_of", "white")
    summary = json.loads((root / "out" / "results.json").read_text())["summary"]
    assert summary["white"]["pgap"]["mean"] == 0
    gap = summary["white"]["psnr"]["mean"] - summary["other"]["psnr"]["mean"]
    assert summary["other"]["pgap"]["mean"] == pytest.approx(gap)
    evaluate(root, "--denoisers", *specs, "--seeds", "0")  # nothing is called real
    assert "PGap" not in (root / "out" / "report.md").read_text().split("## Definitions")[0]


def add_camera(root):
    for folder in sorted((root / "data").iterdir()):
        shutil.copytree(folder, root / "data" / folder.name.replace(CAMERA, OTHER))
    for half in ("train", "test"):
        names = (root / "lists" / f"{CAMERA}_{half}.txt").read_text().replace(CAMERA, OTHER)
        (root / "lists" / f"{OTHER}_{half}.txt").write_text(names)


def test_several_cameras_have_columns_of_their_own(root):
    add_camera(root)
    rows = evaluate(root, "--denoisers", "noisy", "--cam_name", CAMERA, OTHER)
    assert [row["camera"] for row in rows] == [CAMERA] * 4 + [OTHER] * 4
    report = (root / "out" / "report.md").read_text()
    assert f"| denoiser | {CAMERA} | {OTHER} |" not in report  # in the order of their names
    assert f"| denoiser | {OTHER} | {CAMERA} |" in report
    names = [row["image"].split("/")[0] for row in rows]
    (root / "scenes.txt").write_text(f"{names[0]}\n{names[-1]}\n")
    listed = evaluate(root, "--denoisers", "noisy", "--cam_name", CAMERA, OTHER, "--scene_list", root / "scenes.txt")
    assert {row["image"].split("/")[0] for row in listed} == {names[0], names[-1]}


def test_validation_blocks_are_denoised_in_their_order(root):
    options, noisy, clean = blocks_of(root)
    rows = evaluate_blocks(root, *options, "--denoisers", "noisy")
    names = [f"image {image:02d}/block {block:02d}" for image in range(2) for block in range(3)]
    assert [row["image"] for row in rows] == names
    for row, one, other in zip(rows, noisy.reshape(6, 24, 24, 3), clean.reshape(6, 24, 24, 3)):
        assert float(row["psnr"]) == pytest.approx(skimage.metrics.peak_signal_noise_ratio(other, one))
    assert {row["iso"] for row in rows} == {""}
    few = evaluate_blocks(root, *options, "--denoisers", "noisy", "--max_images", "3")
    assert [row["image"] for row in few] == [names[0], names[2], names[5]]


def test_noisy_image_is_always_there_under_the_name_it_was_given(root):
    assert {row["denoiser"] for row in evaluate(root, "--denoisers", "nlm", "--sigma", "5")} == {"noisy", "nlm"}
    assert {row["denoiser"] for row in evaluate(root, "--denoisers", "before=noisy")} == {"before"}


def test_missing_checkpoints_are_all_named_and_can_be_left_out(root, capsys):
    specs = write_runs(root, ("real", "white"), (0, 1))
    shutil.rmtree(root / "runs" / "white_1")
    (root / "runs" / "real_0" / "models" / "checkpoint_G3_00000001.pth").unlink()
    with pytest.raises(ValueError, match=r"real_0: has no checkpoint_G3_.*white_1: no such.*--skip_missing") as error:
        evaluate(root, "--denoisers", *specs, "--seeds", "0", "1")
    assert "\n" not in str(error.value) and not (root / "out").exists()
    rows = evaluate(root, "--denoisers", *specs, "--seeds", "0", "1", "--skip_missing")
    assert {(row["denoiser"], row["seed"]) for row in rows} == {("noisy", ""), ("real", "1"), ("white", "0")}
    told, report = capsys.readouterr().out, (root / "out" / "report.md").read_text().replace("\\", "")
    for text in (told, report):
        assert "runs/white_1: no such checkpoint" in text and "runs/real_0: has no" in text


def test_output_without_error_is_left_out_of_the_mean_and_told(root):
    for path in (root / "data").rglob("0006_NOISY_SRGB_010*"):
        write_image(path, read_image(str(path).replace("NOISY", "GT").replace("noisy", "clean")))
    rows = evaluate(root, "--denoisers", "noisy")
    values = [float(row["psnr"]) for row in rows]
    assert np.isinf(values).sum() == 1
    content = json.loads((root / "out" / "results.json").read_text())
    assert content["summary"]["noisy"]["psnr"]["mean"] == pytest.approx(np.mean([v for v in values if np.isfinite(v)]))
    assert "noisy: 1 outputs equal the clean image, their PSNR is left out." in content["remarks"]


def test_output_that_is_not_finite_ends_the_run_before_anything_is_written(root):
    network = write_denoiser(root / "net.pth", 0)
    for layer in (network.model[0], network.model[-1]):
        layer.weight.data.fill_(1e20)
    save_checkpoint(root / "net.pth", network_checkpoint(network, 1))
    with pytest.raises(ValueError, match=r"0005_005_ZZ.*/0005_NOISY.*: net gives values that are NaN"):
        evaluate(root, "--denoisers", root / "net.pth")
    assert not list((root / "out").iterdir())


@pytest.mark.parametrize(
    "more, message",
    [
        (("--denoisers", "blur"), "blur: no denoiser"),
        (("--denoisers", "{root}/net.pth", "net={root}/net.pth"), "'net' is there twice"),
        (("--denoisers", "real={root}/real_{{seed}}"), r"expected seeds.*--seeds"),
        (("--denoisers", "{root}/real_{{seed}}", "--seeds", "0"), "expected NAME="),
        (
            ("--denoisers", "nlm", "--seeds", "0"),
            r"no denoiser has \{seed\}.*change --denoisers or --seeds",
        ),
        (("--denoisers", "real={root}/real_{{seed}}", "--seeds", "1", "1"), "twice"),
        (("--denoisers", "{root}/net.pth", "--pgap_of", "noisy"), "noisy: .*there are: net; change --pgap_of"),
        (("--cam_name", "QQ"), "--cam_name"),
        (("--data_dir", "nowhere"), "--data_dir"),
        (("--output_dir", "{root}/data/out"), "--output_dir"),
        (("--noisy_blocks", "a.mat"), "expected --gt_blocks too"),
        (("--gt_blocks", "a.mat"), "expected --noisy_blocks too"),
        (("--gt_blocks", "a.mat", "--noisy_blocks", "b.mat"), "in place of scenes"),
        (
            ("--scene_list", "{root}/other.txt"),
            "00100_5500_N is not of ZZ; change --scene_list or --cam_name",
        ),
    ],
)
def test_bad_options_are_named_and_nothing_is_written(root, more, message):
    write_denoiser(root / "net.pth", 0)
    (root / "other.txt").write_text("0001_001_QQ_00800_00100_5500_N\n")
    with pytest.raises(ValueError, match=message) as error:
        evaluate(root, *(word.format(root=root) for word in more))
    assert "\n" not in str(error.value)
    assert not (root / "out").exists() and not (root / "data" / "out").exists()


def test_noisy_and_clean_blocks_that_do_not_belong_together_are_refused(root):
    options, _, clean = blocks_of(root)
    scipy.io.savemat(options[3], {"ValidationGtBlocksSrgb": clean[:1]})
    with pytest.raises(ValueError, match=r"ValidationGtBlocksSrgb\.mat"):
        evaluate_blocks(root, *options)


def test_pair_of_different_sizes_is_named(root):
    path = next((root / "data").rglob("0006_GT_SRGB_010*"))
    write_image(path, read_image(path)[:80])
    with pytest.raises(ValueError, match=r"0006_NOISY_SRGB_010_00001\.png: 96x96 pixels.*80x96"):
        evaluate(root, "--denoisers", "noisy")
    assert not (root / "out" / "report.md").exists()


def test_options_without_effect_are_told(root, capsys):
    evaluate(root, "--denoisers", "noisy", "--sigma", "5", "--self_ensemble")
    told = capsys.readouterr().out
    assert "--sigma has no effect" in told and "--self_ensemble has no effect" in told


def test_detail_is_the_square_with_the_largest_deviation():
    image = np.full((DETAIL + 60, DETAIL + 90, 3), 100, np.uint8)
    image[25 : 25 + DETAIL, 70 : 70 + DETAIL] = np.random.default_rng(0).integers(0, 2, (DETAIL, DETAIL, 1)) * 255
    rows, columns = most_detailed(image)
    assert abs(rows.start - 25) <= 1 and abs(columns.start - 70) <= 1
    assert rows.stop - rows.start == columns.stop - columns.start == DETAIL


def test_bars_begin_at_the_noisy_image_and_are_as_long_as_the_gain():
    nan = float("nan")
    values = {"best": (32.0, nan), "fair": (29.0, 0.5), "noisy": (26.0, nan), "unknown": (nan, nan)}
    picture = bars({"PSNR (dB)": values}, "noisy", "Title", plain=["fair"])
    blue, grey = (np.all(picture == colour, axis=2).sum(axis=1).max() for colour in ((0, 0x72, 0xB2), (184, 184, 184)))
    assert blue == pytest.approx(2 * grey, abs=12)  # a black line covers a part of the grey bar's last row
