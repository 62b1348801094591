"""The training options: the published flags are a promise, and every option must do something."""

import csv
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest

import main_eval
import main_train_jointly
from evaluation.noise_models import judged_models
from models import JointOptions
from noise.kinds import KINDS
from options.data import make_demo_parser
from options.evaluate import evaluate_parser
from options.inference import export_options, gains_options, quick_test_parser
from options.synthesize import synthesize_options, synthesize_parser
from options.train_denoiser import train_denoiser_parser
from options.train_jointly import joint_options, network_configs, train_jointly_parser
from options.training import fixed_options
from tests.conftest import ROOT

PUBLISHED = list(csv.DictReader((Path(__file__).parent / "published_train_options.csv").open()))
RENAMED = {
    "not_aug": "augment",
    "not_train": "train",
    "not_train_shuffle": "shuffle",
    "seperate_train": "separate_train",
}
NEGATED = {"augment", "train", "shuffle"}  # stored positively


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: row["flag"])
def test_published_flag_is_accepted_with_its_default(row):
    parser = train_jointly_parser()
    name = RENAMED.get(row["flag"][2:], row["flag"][2:])
    default = getattr(parser.parse_args([]), name)
    if row["kind"] == "switch":
        assert row["default"] == "False"
        assert default is (name in NEGATED)
        assert getattr(parser.parse_args([row["flag"]]), name) is not default
        return
    read = {"str": str, "int": int, "float": float, "int list": lambda text: [int(text.strip("[]"))]}[row["kind"]]
    assert default == read(row["default"])
    given = row["default"].strip("[]")
    assert getattr(parser.parse_args([row["flag"], given]), name) == default


def test_published_choices_are_all_accepted():
    for row in PUBLISHED:
        for choice in filter(None, (row["choices"] or "").split("|")):
            train_jointly_parser().parse_args([row["flag"], choice])


def test_published_command_of_the_readme_is_accepted_as_written():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    [command] = [line for line in lines if "main_train_jointly.py --dir_save" in line]
    args = train_jointly_parser().parse_args(shlex.split(command)[2:])
    assert joint_options(args) == replace(JointOptions(), separate_train=True, lr_decay_2=(80,))


def test_options_reach_every_setting_of_the_training_step():
    words = """--gan_mode lsgan --pd_stride 2 --joint_start_epoch 7 --separate_train --lambda_reg 2 --lr_E 1
        --clip_grad_norm 3 --lr_decay_1 5 --lr_decay_2 6 --beta1 0.1 --adv_every 2 --ema 0.5"""
    given = joint_options(train_jointly_parser().parse_args(words.split()))
    assert given.clip_grad_norm == 3
    assert [
        field.name for field in fields(given) if getattr(given, field.name) == getattr(JointOptions(), field.name)
    ] == []


def test_right_spelling_is_accepted_beside_the_published_one():
    assert train_jointly_parser().parse_args(["--separate_train"]).separate_train


@pytest.mark.parametrize(
    "words",
    [
        "--gan_mode hinge",
        "--patch_size 0",
        "--lr_E -1",
        "--lr_E nan",
        "--lr_E 1e308",
        "--beta1 1",
        "--epoch 3",
        "--E_nc x",
        "--img_channels 2",
    ],
)
def test_wrong_option_ends_in_one_line_that_names_it(words, capsys):
    with pytest.raises(SystemExit) as stop:
        train_jointly_parser().parse_args(words.split())
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert words.split()[0] in message


def test_help_of_tf32_says_what_the_published_numbers_were_made_with():
    described = next(action.help for action in train_jointly_parser()._actions if action.dest == "tf32")
    assert "PyTorch 1.13" in described and "published numbers" in described


@pytest.mark.parametrize("make", [train_jointly_parser, train_denoiser_parser, synthesize_parser, make_demo_parser])
def test_every_option_has_help_and_shows_its_default_as_it_is_typed(make):
    parser = make()
    for action in parser._actions:
        assert action.help, action.option_strings
    assert not re.search(r"\(default:\s+\[", parser.format_help())


def test_options_fixed_on_resume_are_those_that_change_the_weights():
    fixed = fixed_options(train_jointly_parser())
    assert {"patch_size", "seed", "lr_E", "augment", "G2_nc", "cam_name", "lambda_gp"} <= set(fixed)
    assert not {"epochs", "steps", "device", "num_workers", "dir_save", "use_tb", "cache_dir", "cache"} & set(fixed)


def test_option_file_stands_for_its_options_and_later_ones_win(tmp_path):
    (tmp_path / "recipe.txt").write_text("# a comment\n--cam_name GP  --patch_size 48   # another\n\n--ema 0.5\n")
    args = train_jointly_parser().parse_args([f"@{tmp_path}/recipe.txt", "--ema", "0.9"])
    assert (args.cam_name, args.patch_size, args.ema) == ("GP", 48, 0.9)


@pytest.mark.parametrize(
    "content, said",
    [(b"@{self}", "includes itself"), (b"--cam_name 'G", "No closing quotation"), (b"\xff\xfe", "no text")],
)
def test_bad_option_file_ends_in_one_line(tmp_path, capsys, content, said):
    path = tmp_path / "recipe.txt"
    path.write_bytes(content.replace(b"{self}", str(path).encode()))
    with pytest.raises(SystemExit):
        train_jointly_parser().parse_args([f"@{path}"])
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


@pytest.mark.parametrize("path", sorted((ROOT / "options" / "recipes").glob("*.txt")), ids=lambda path: path.stem)
def test_recipe_is_accepted(path):
    args = train_jointly_parser().parse_args([f"@{path}"])
    joint_options(args)
    network_configs(args)


def test_published_recipe_changes_nothing_but_what_the_published_command_does():
    args = train_jointly_parser().parse_args([f"@{ROOT}/options/recipes/published.txt"])
    changed = {name for name, value in vars(args).items() if value != train_jointly_parser().get_default(name)}
    assert changed == {"batch_size", "augment", "test_epoch", "separate_train", "lr_decay_2"}


def test_help_is_short_and_help_all_has_every_option(capsys):
    for words, is_whole in (["--help"], False), (["--help-all"], True):
        with pytest.raises(SystemExit, match="0"):
            train_jointly_parser().parse_args(words)
        shown = capsys.readouterr().out
        for flag in ("--cam_name", "--keep_best", "--init_type", "--gan_mode", "--help-all"):
            assert flag in shown
        for row in PUBLISHED:
            assert row["flag"] in shown or not is_whole
        for flag in ("--G2_nc", "--lambda_gp", "--lr_D1", "--checkpoint_E_name"):
            assert (flag in shown) == is_whole, flag


def test_every_command_has_the_published_default_camera():
    models = ("NeCA-W",)
    words = ["--input_dir", "a", "--output_dir", "b"]
    namespaces = [
        train_jointly_parser().parse_args([]),
        quick_test_parser().parse_args([]),
        export_options([]),
        gains_options([]),
        synthesize_options(words),
        evaluate_parser(models).parse_args(["noise"]),
    ]
    assert {args.cam_name for args in namespaces} == {"IP"}
    assert evaluate_parser(models).parse_args(["denoise"]).cam_name == ["IP"]


def test_evaluation_takes_noise_models_by_the_names_of_all_commands(capsys):
    parser = evaluate_parser(tuple(judged_models()))
    for key, kind in KINDS.items():
        assert parser.parse_args(["noise", "--models", key, "real"]).models == [kind.name, "real"]
        assert parser.parse_args(["noise", "--models", kind.name]).models == [kind.name]
    with pytest.raises(SystemExit):
        parser.parse_args(["noise", "--models", "laplace"])
    assert "--models: invalid choice: 'laplace'" in capsys.readouterr().err


@pytest.mark.parametrize("run", [lambda: main_eval.main(["noise"]), lambda: main_train_jointly.main([])])
def test_command_without_data_ends_in_a_line_that_names_the_commands_that_make_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"no such folder; Crop_SIDD\.py .*main_make_demo\.py"):
        run()
