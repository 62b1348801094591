"""The chain that makes the paper's denoising table, on a tiny camera."""

import json
import shlex
from pathlib import Path

import pytest

from benchmark import table2
from options.evaluate import evaluate_parser
from options.train_denoiser import train_denoiser_options, train_denoiser_parser
from tests.camera import CAMERA, make_camera

RECIPE = "--nc 4 --nb 3 --patch_size 32 --batch_size 2 --steps 2 --num_workers 0 --device cpu"


@pytest.fixture
def arguments(tmp_path) -> list[str]:
    make_camera(tmp_path)
    folders = {"--train_img_dir": "crops", "--data_prep_dir": "lists", "--dir_save": "saves", "--pretrain_dir": "none"}
    words = [str(word) for option, name in folders.items() for word in (option, tmp_path / name)]
    return ["--cam_name", CAMERA, *words, "--classic", "noisy", "--on_scenes", "--recipe", RECIPE]


def test_rows_are_trained_scored_and_set_beside_the_paper(arguments, tmp_path, capfd):
    words = [*arguments, "--rows", "AWGN", "real", "--seeds", "3"]
    assert table2.main(words) == 0
    assert "written: " in capfd.readouterr().out
    summary = json.loads((tmp_path / "saves" / "report" / "results.json").read_text())["summary"]
    assert set(summary) == {"noisy", "AWGN", "real"}
    assert "pgap" in summary["AWGN"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "saves").glob("*/models/*.pth")}
    assert {path.parent.parent.name for path in before} == {"awgn_3", "real_3"}
    assert table2.main(words) == 0  # everything is there
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "saves").glob("*/models/*.pth")} == before


def test_failed_training_is_named_and_its_log_says_why(arguments, tmp_path, capfd):
    words = [*arguments[:-1], RECIPE + " --patch_size 4000", "--rows", "AWGN"]
    assert table2.main(words) == 1
    assert "failed: awgn_0" in capfd.readouterr().err
    assert "--patch_size" in (tmp_path / "saves" / "awgn_0.log").read_text()


def test_what_is_missing_is_said_before_anything_runs(arguments, tmp_path, capsys):
    assert table2.main([word for word in arguments if word != "--on_scenes"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("missing: ")]
    assert len(lines) == 4
    assert "main_train_jointly.py --cam_name ZZ" in lines[0]
    assert "fit of ZZ" in lines[1]
    assert all("BlocksSrgb.mat" in line for line in lines[2:])
    assert not (tmp_path / "saves").exists()


def test_dry_run_prints_commands_that_the_parsers_take(arguments, capsys):
    table2.main([*arguments, "--dry_run"])
    commands = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("python")]
    trainings = [words[1:] for words in commands if words[0] == "main_train_denoiser.py"]
    named = {train_denoiser_options(train_denoiser_parser(), words).name for words in trainings}
    assert named == {table2.run_name(row, 0) for row in table2.ROWS}
    for words in commands[len(trainings) :]:
        assert words[0] == "main_eval.py"
        assert evaluate_parser(()).parse_args(words[1:]).command == words[1]


def test_scores_stand_beside_the_papers():
    table = table2.paper_beside_ours({"real": {"psnr": {"mean": 37.126}, "ssim": {"mean": 0.9344}}})
    assert table.frame.loc["real"].tolist() == ["37.12 / 0.934", "37.13 / 0.934"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--recipe=--seed 7"], "--recipe"),
        (["--recipe=--source=real"], "--recipe"),
        (["--recipe='--nc 3"], "--recipe"),
        (["--recipe=--name x"], "--recipe"),
        (["--seeds", "0", "0"], "--seeds 0 0: one is there twice"),
    ],
)
def test_options_that_the_table_varies_itself_or_twice_are_refused_before_anything_runs(arguments, words, message):
    with pytest.raises(ValueError, match=message):
        table2.main([*arguments, *words])


def test_rows_of_the_paper_are_rows_here():
    assert set(table2.PAPER) <= {*table2.ROWS, "bm3d"}
    assert Path(table2.BLOCKS[0]).name == "ValidationNoisyBlocksSrgb.mat"
