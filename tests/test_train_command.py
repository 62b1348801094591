"""The training command as users run it, on a tiny camera: resuming, stopping, what it writes, what it refuses."""

import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import main_export
import main_train_jointly
import metrics
from evaluation.during_training import TESTED, JointImages, _mean_over_images, _measure_image
from evaluation.noise_metrics import METRICS, Comparison, Reference
from inference import load_neca
from inference.pretrained import find_checkpoints, load_generators
from metrics import noise_of
from models.networks import LETTERS
from noise.gains import read_bank
from tests.camera import CAMERA, command, make_camera
from tests.conftest import ROOT, contents, wait_until
from tests.refusal import one_line, refused
from tests.runs import assert_same, logged, newest_state
from utils import checkpoints
from utils.image import read_image
from utils.run import Run


@pytest.fixture
def root(tmp_path) -> Path:
    make_camera(tmp_path)
    return tmp_path


def models(root: Path, save: str = "saves") -> Path:
    return root / save / CAMERA / "models"


def weights(root: Path, save: str = "saves") -> dict:
    """Step, networks and optimisers of a run's newest training state."""
    state = newest_state(root / save / CAMERA)
    return {"step": state["step"], **state["model"]}


def rows(root: Path, kind: str, save: str = "saves") -> list[dict]:
    return logged(root / save / CAMERA, kind)


def log_lines(root: Path) -> list[str]:
    return (root / "saves" / CAMERA / "logs" / "train.log").read_text().splitlines()


def best(root: Path, save: str = "saves") -> dict:
    return json.loads((models(root, save) / "best" / "best.json").read_text())


def train(root: Path, *more: str, save: str = "saves") -> None:
    main_train_jointly.main(command(root, *more, save=save))


def start(root: Path, *more: str, save: str = "saves", **options) -> subprocess.Popen:
    """Start the training command as a process of its own."""
    words = [sys.executable, "main_train_jointly.py", *command(root, *more, save=save)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def test_run_writes_checkpoints_logs_options_and_pictures(root):
    train(root, "--epochs", "4", "--use_tb")
    run = root / "saves" / CAMERA
    for letter in LETTERS:
        content = checkpoints.load_checkpoint(models(root) / f"checkpoint_{letter}_00000004.pth")
        assert content["epoch"] == 4
        assert set(content) == {"epoch", "step", "model_state_dict", "config", "generator"}
    assert json.loads((run / "options.json").read_text())["patch_size"] == 32
    assert [row["step"] for row in rows(root, "train")] == list(range(1, 9))  # 4 crops in batches of 2, 4 epochs
    assert [row["step"] for row in rows(root, "test")] == [4, 8]
    metrics = {"psnr", "kld", "kld_exact", "acf", "xcorr", "nlf", "std", "lag1", "score"}
    assert set(rows(root, "test")[0]) == {"kind", "step", "epoch"} | metrics
    [line, _] = [line for line in log_lines(root) if "test  epoch" in line]
    for part in ("score ", "(0 truth, 1 white noise)", "std ", "psnr ", " dB"):
        assert part in line
    assert "kld" not in line and "lag1" not in line
    plots = {"", "_noises", "_autocorrelation", "_spectra", "_noise_levels", "_histograms", "_phases"}
    expected = {f"test_{step:08d}{plot}.png" for step in (4, 8) for plot in plots}
    assert {path.name for path in (run / "imgs").iterdir()} == expected
    assert "step 8" in (run / "logs" / "train.log").read_text()
    assert list((run / "tb").glob("events*"))


def test_losses_of_a_step_are_logged_under_their_names(root):
    train(root, "--epochs", "3")
    by_step = {row["step"]: set(row) - {"kind", "step", "epoch"} for row in rows(root, "train")}
    always = {"reg", "std1", "std2", "D_real", "D_fake", "gp"}
    assert by_step[1] == always  # epoch 1
    assert by_step[3] == always | {"rec"}  # from --joint_start_epoch 2 on
    assert by_step[5] == always | {"rec", "adv1", "adv2"}  # every fifth step


def test_psnr_is_measured_from_the_epoch_on_that_trains_the_denoiser(root):
    train(root, "--epochs", "4", "--test_epoch", "1", "--joint_start_epoch", "3")
    assert ["psnr" in row for row in rows(root, "test")] == [False, False, True, True]
    psnr_in_log = ["psnr" in line for line in log_lines(root) if "test  epoch" in line]
    assert psnr_in_log == [False, False, True, True]


def test_scenes_of_the_validation_list_are_tested_on_and_do_not_train(root, capsys):
    names = sorted(path.name for path in (root / "crops").iterdir())
    (root / "val.txt").write_text(names[0] + "\n")
    train(root, "--epochs", "1", "--val_list", str(root / "val.txt"), "--keep_best")
    assert "3 training and 1 test crops" in capsys.readouterr().out
    assert best(root)["score"] == rows(root, "test")[-1]["score"]
    for listed, expected in (
        (names[:-1], "leave some to train"),
        (["0099_001_ZZ_00800_00100_5500_N"], "no scene 0099"),
    ):
        (root / "val.txt").write_text("\n".join(listed) + "\n")
        with pytest.raises(ValueError, match=expected):
            train(root, "--epochs", "1", "--val_list", str(root / "val.txt"), save="other")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_resumed_run_is_bit_identical_to_an_uninterrupted_one(root, workers):
    train(root, "--epochs", "4", save="whole")
    for steps in ("3", "5", "8"):  # within an epoch, within another, the end
        train(root, "--epochs", "4", "--steps", steps, "--num_workers", workers, "--test_epoch", "1")
    assert_same(weights(root), weights(root, "whole"))
    resumed = {row["step"]: row for row in rows(root, "train")}
    assert resumed == {row["step"]: row for row in rows(root, "train", "whole")}


def test_averaged_weights_resume_bit_identically_and_are_saved_and_tested_beside_the_raw_ones(root):
    train(root, "--epochs", "4", "--ema", "0.9", save="whole")
    train(root, "--epochs", "4", "--ema", "0.9", "--steps", "3")
    train(root, "--epochs", "4", "--ema", "0.9")
    for letter in ("E", "G1", "G2"):
        name = f"checkpoint_{letter}_00000004.pth"
        resumed, whole, raw = (
            checkpoints.load_checkpoint(folder / name)["model_state_dict"]
            for folder in (models(root) / "ema", models(root, "whole") / "ema", models(root))
        )
        assert_same(resumed, whole)
        assert any(not torch.equal(resumed[key], raw[key]) for key in raw)
    assert {"kld", "kld_ema"} <= set(rows(root, "test")[0])
    assert_same(weights(root), weights(root, "whole"))


def test_rerun_of_a_complete_run_changes_nothing(root, capsys):
    train(root, "--epochs", "2")
    before = contents(models(root))
    train(root, "--epochs", "2")
    assert "complete" in capsys.readouterr().out
    assert contents(models(root)) == before


def test_other_seed_gives_other_weights(root):
    train(root, "--epochs", "2")
    train(root, "--epochs", "2", "--seed", "1", save="other")
    first, other = (weights(root, save)["networks"]["E"]["model.0.0.weight"] for save in ("saves", "other"))
    assert not torch.equal(first, other)


@pytest.mark.usefixtures("heard_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signal_finishes_the_step_saves_and_exits_cleanly(root, number):
    process = start(root, "--epochs", "1000", "--num_workers", "1", "--test_epoch", "1000", start_new_session=True)
    log = root / "saves" / CAMERA / "logs" / "metrics.jsonl"
    wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 3, process)
    os.killpg(process.pid, number)  # the whole group, as a terminal's Ctrl-C does
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    saved = weights(root)["step"]
    assert saved == rows(root, "train")[-1]["step"]
    train(root, "--epochs", "1000", "--steps", str(saved + 2))
    train(root, "--epochs", "1000", "--steps", str(saved + 2), save="whole")
    assert_same(weights(root), weights(root, "whole"))


@pytest.mark.parametrize("ema", ["0", "0.9"])
def test_best_generators_are_those_of_the_test_with_the_lowest_score(root, ema):
    for epochs in ("3", "8"):  # resumed: the best of the first part may stay the best
        train(root, "--keep_best", "--test_epoch", "1", "--ema", ema, "--epochs", epochs, "--lr_G1", "0.003")
    names = ["score"] + ["score_ema"] * (ema != "0")
    scores = {(row["epoch"], name): row[name] for row in rows(root, "test") for name in names}
    epoch, name = min(scores, key=scores.get)
    assert len(set(scores.values())) > 1
    record = best(root)
    assert (record["epoch"], record["score"]) == (epoch, scores[epoch, name])
    assert record["weights"] == ("averaged" if name == "score_ema" else "raw")
    folder = models(root) / "ema" if name == "score_ema" else models(root)
    for letter in ("E", "G1", "G2"):
        kept = checkpoints.load_checkpoint(models(root) / "best" / f"checkpoint_{letter}.pth")
        numbered = checkpoints.load_checkpoint(folder / f"checkpoint_{letter}_{epoch:08d}.pth")
        assert_same(kept["model_state_dict"], numbered["model_state_dict"])


def test_finished_run_has_the_gains_of_its_training_images(root):
    train(root, "--epochs", "2", "--ema", "0.9", "--keep_best")
    genet = load_generators(models(root))["E"]
    for place in ("gains.json", "models/ema/gains.json", "models/best/gains.json"):
        bank = read_bank(root / "saves" / CAMERA / place)
        assert [len(gains) for gains in bank.gains.values()] == [4]  # the crops of the training scenes, of one ISO
    bank = read_bank(root / "saves" / CAMERA / "gains.json")
    for name, gain in bank.of_iso(None):
        noisy = torch.from_numpy(read_image(next((root / "crops").rglob(f"{Path(name).name}.png"))))
        with torch.no_grad():
            expected = genet(noisy.permute(2, 0, 1)[None] / 255).item()
        assert gain == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("content", ['{"score": NaN}', "damaged"])
def test_damaged_record_of_the_best_is_replaced(root, content):
    train(root, "--keep_best", "--test_epoch", "1", "--epochs", "1")
    (models(root) / "best" / "best.json").write_text(content)
    train(root, "--keep_best", "--test_epoch", "1", "--epochs", "2")
    assert best(root)["epoch"] == 2


def test_run_that_starts_over_does_not_keep_the_best_of_another(root):
    train(root, "--keep_best", "--test_epoch", "1", "--epochs", "1")
    for path in models(root).glob("*.pth"):
        path.unlink()
    record = best(root) | {"score": 0.0}
    (models(root) / "best" / "best.json").write_text(json.dumps(record))
    train(root, "--keep_best", "--test_epoch", "1", "--epochs", "1", "--seed", "5")
    assert best(root)["score"] > 0


def test_bytes_of_checkpoints_do_not_depend_on_the_process_that_writes_them(tmp_path, monkeypatch):
    written = []
    for process in (1, 22222):
        monkeypatch.setattr(os, "getpid", lambda: process)  # noqa: B023
        checkpoints.save_checkpoint(tmp_path / "a.pth", {"epoch": 1, "weights": torch.ones(3)})
        written.append((tmp_path / "a.pth").read_bytes())
    assert written[0] == written[1]


def test_old_checkpoints_that_a_kill_has_spared_are_removed_by_the_next_run(root):
    words = ("--keep_checkpoints", "1", "--test_epoch", "1", "--epochs", "2")
    train(root, *words)
    spared = models(root) / "checkpoint_E_00000001.pth"
    spared.write_bytes((models(root) / "checkpoint_E_00000002.pth").read_bytes())
    train(root, *words)
    assert not spared.exists()


def test_rows_of_the_log_are_on_the_disk_before_the_state_that_resumes_after_them(root, monkeypatch):
    flushed, save = [], checkpoints.save_checkpoint
    monkeypatch.setattr("utils.run.flush_file", lambda path: flushed.append(path.read_text().count('"train"')))
    monkeypatch.setattr("utils.run.save_checkpoint", lambda path, content: (_saved(path, flushed), save(path, content)))
    train(root, "--test_epoch", "1", "--epochs", "2")
    assert flushed == [2, 4]


def _saved(path, flushed) -> None:
    if path.name.startswith("training_state_"):
        assert flushed[-1] == int(path.stem[-10:])


class Killed(BaseException):
    """Stands for a kill: no handler of ours catches it."""


def test_kill_between_any_two_files_leaves_a_resumable_run_and_usable_networks(root, monkeypatch):
    arguments = ("--epochs", "2", "--test_epoch", "1", "--ema", "0.9", "--keep_checkpoints", "1", "--keep_best")
    train(root, *arguments, save="whole")
    replace, done = os.replace, []

    def count_and_kill(source, target):
        if len(done) == kill_at:
            raise Killed
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", count_and_kill)
    for kill_at in range(1000):
        done.clear()
        save = f"killed_{kill_at}"
        try:
            train(root, *arguments, save=save)
        except Killed:
            if list(models(root, save).glob("training_state_*")):
                load_generators(models(root, save))
        else:
            break
        done = []
        monkeypatch.undo()
        train(root, *arguments, save=save)
        assert_same(weights(root, save), weights(root, "whole"))
        assert rows(root, "train", save) == rows(root, "train", "whole")
        assert rows(root, "test", save) == rows(root, "test", "whole")
        assert best(root, save) == best(root, "whole")
        load_generators(models(root, save) / "best")
        monkeypatch.setattr(os, "replace", count_and_kill)
    assert kill_at > 15, "two saves of ten files each, pictures and options"


@pytest.mark.parametrize(
    "changed",
    ["--patch_size 40", "--seed 3", "--lr_E 0.1", "--not_aug", "--gan_mode lsgan", "--G2_nc 4", "--separate_train"],
)
def test_changed_option_that_would_make_a_resume_wrong_is_named(root, changed):
    train(root, "--epochs", "2")
    flag = changed.split()[0]
    with pytest.raises(ValueError, match=flag):
        train(root, "--epochs", "4", *changed.split())


def test_changed_training_images_are_noticed_on_resume(root):
    train(root, "--epochs", "2")
    names = (root / "lists" / "ZZ_train.txt").read_text().split()
    (root / "lists" / "ZZ_train.txt").write_text("\n".join(names[:3]))
    with pytest.raises(ValueError, match="training images"):
        train(root, "--epochs", "4")


def test_truncated_newest_state_falls_back_to_the_one_before(root, capsys):
    train(root, "--epochs", "4")
    train(root, "--epochs", "4", save="whole")
    newest = checkpoints.numbered_files(models(root), "training_state_")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    train(root, "--epochs", "4")
    assert newest.name in capsys.readouterr().out
    assert_same(weights(root), weights(root, "whole"))


def test_states_that_cannot_be_read_stop_the_command(root):
    train(root, "--epochs", "2")
    for state in checkpoints.numbered_files(models(root), "training_state_"):
        state.write_bytes(b"PK")
    with pytest.raises(ValueError, match="none of its"):
        train(root, "--epochs", "4")


def test_keep_checkpoints_limits_the_network_files(root):
    train(root, "--epochs", "4", "--test_epoch", "1", "--keep_checkpoints", "2")
    assert [path.name for path in sorted(models(root).glob("checkpoint_G2_*"))] == [
        "checkpoint_G2_00000003.pth",
        "checkpoint_G2_00000004.pth",
    ]


def test_val_step_tests_within_an_epoch(root):
    train(root, "--epochs", "2", "--test_epoch", "10", "--val_step", "3")
    assert [row["step"] for row in rows(root, "test")] == [3, 4]  # every third step, and the end


def test_not_train_only_tests_the_newest_checkpoint(root):
    train(root, "--epochs", "2")
    before = weights(root)
    train(root, "--epochs", "2", "--not_train")
    assert_same(weights(root), before)
    first, second = rows(root, "test")
    assert first == second


def test_not_train_drops_no_recorded_rows(root):
    train(root, "--epochs", "4")
    checkpoints.numbered_files(models(root), "training_state_")[-1].unlink()
    before = rows(root, "train")
    train(root, "--epochs", "4", "--not_train")
    assert rows(root, "train") == before


def test_tensorboard_has_every_step_of_a_resumed_run_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for begin, values in ((0, [1.0, 2.0, 3.0]), (2, [30.0])):  # killed after step 3, continued after step 2
        run = Run(tmp_path, {}, {}, logging.Logger("run"), use_tb=True)
        run.begin(begin)
        for step, value in enumerate(values, begin + 1):
            run.metrics("train", step, 1, {"reg": value})
        run.close()
    found = EventAccumulator(str(tmp_path / "tb")).Reload().Scalars("train/reg")
    assert [(event.step, event.value) for event in found] == [(1, 1), (2, 2), (3, 30)]


@pytest.mark.parametrize("line", ['{"kind": "train", "step": "x"}', '{"step": 3}', "[]", '{"kind": "tr'])
def test_odd_lines_in_the_metrics_do_not_stop_a_resume(root, line):
    train(root, "--epochs", "2")
    with (root / "saves" / CAMERA / "logs" / "metrics.jsonl").open("a") as file:
        file.write(line)
    train(root, "--epochs", "4")
    assert [row["step"] for row in rows(root, "test")] == [4, 8]


def as_published(root: Path, save: str, epoch: int) -> None:
    """Turn the networks of a run's newest epoch into files of the published code, and all else of the run away."""
    newest = {letter: checkpoints.numbered_files(models(root, save), f"checkpoint_{letter}_")[-1] for letter in LETTERS}
    contents = {letter: checkpoints.load_checkpoint(path)["model_state_dict"] for letter, path in newest.items()}
    shutil.rmtree(root / save)
    for letter, content in contents.items():
        path = models(root, save) / f"checkpoint_{letter}_{epoch:08d}.pth"
        checkpoints.save_checkpoint(path, {"epoch": epoch, "model_state_dict": content})


def names_of(epoch: int) -> list[str]:
    return [word for x in LETTERS for word in (f"--checkpoint_{x}_name", f"checkpoint_{x}_{epoch:08d}.pth")]


def test_use_pretrained_begins_from_the_given_networks_after_their_epoch(root):
    train(root, "--epochs", "2", save="first")
    given = models(root, "first") / "checkpoint_G2_00000002.pth"
    train(root, "--steps", "5", "--use_pretrained", "--checkpoint_G2_name", str(given), "--lr_G2", "0")
    first, second = (weights(root, save)["networks"] for save in ("first", "saves"))
    assert torch.equal(second["G2"]["encoders.0.0.weight"], first["G2"]["encoders.0.0.weight"])
    assert not torch.equal(second["E"]["model.0.0.weight"], first["E"]["model.0.0.weight"])
    assert [(row["epoch"], row["step"]) for row in rows(root, "train")] == [(3, 5)]  # epochs of two steps


def test_run_of_the_published_code_goes_on_where_its_joint_epochs_and_rate_decays_are(root, capsys):
    train(root, "--epochs", "2")
    as_published(root, "saves", epoch=60)
    before = {path: path.read_bytes() for path in models(root).iterdir()}
    more = ("--use_pretrained", *names_of(60), "--joint_start_epoch", "61", "--lr_decay_1", "60")
    train(root, *more, "--epochs", "61", "--lr_E", "1e-4")
    assert "going on after epoch 60" in capsys.readouterr().out
    assert [(row["epoch"], row["step"], "rec" in row) for row in rows(root, "train")] == [
        (61, 121, True),
        (61, 122, True),
    ]
    assert all(path.read_bytes() == content for path, content in before.items())
    old, new = (
        checkpoints.load_checkpoint(models(root) / f"checkpoint_E_{epoch:08d}.pth")["model_state_dict"]
        for epoch in (60, 61)
    )
    change = max(float((new[key] - old[key]).abs().max()) for key in old)
    assert 0 < change < 2.1e-5  # two steps of Adam at a tenth of 1e-4
    train(root, *more, "--epochs", "62", "--lr_E", "1e-4")  # and it resumes as any other run
    assert rows(root, "train")[-1]["epoch"] == 62


def test_checkpoints_beyond_the_last_epoch_are_refused(root, capsys):
    train(root, "--epochs", "2")
    as_published(root, "saves", epoch=60)
    message = refused(
        capsys, main_train_jointly.main, command(root, "--use_pretrained", *names_of(60), "--epochs", "60")
    )
    assert "epoch 60" in message and "--epochs" in message


@pytest.mark.parametrize("given", [[], ["--use_pretrained"]])
def test_networks_of_another_training_in_the_runs_folder_are_never_mixed_with_its_own(root, capsys, given):
    train(root, "--epochs", "2")
    as_published(root, "saves", epoch=60)
    before = contents(root / "saves")
    train(root, "--epochs", "2", save="other")
    for letter in LETTERS if given else ():
        given = [
            *given,
            f"--checkpoint_{letter}_name",
            str(models(root, "other") / f"checkpoint_{letter}_00000002.pth"),
        ]
    message = refused(capsys, main_train_jointly.main, command(root, *given, "--epochs", "80"))
    for part in ("checkpoint_G3_00000060.pth", "--use_pretrained", "--dir_save"):
        assert part in message
    assert contents(root / "saves") == before


@pytest.mark.parametrize("steps", ["5", "60"])
def test_diverging_run_names_the_step_and_saves_nothing(root, steps):
    with pytest.raises(ValueError, match=r"is (nan|inf|-inf) at step \d+; the batch's files: .*_NOISY_SRGB|not finite"):
        train(root, "--epochs", "100", "--steps", steps, "--test_epoch", "1", "--lr_E", "1e30", "--lr_G1", "1e30")
    assert not list(models(root).iterdir())


MEASURED = ["--init_type", "measured", "--G2_nc", "8"]


def test_measured_start_is_tested_and_saved_before_the_first_step(root):
    train(root, *MEASURED, "--steps", "0", "--keep_best")
    (row,) = rows(root, "test")
    assert row["step"] == 0 and row["lag1"] < 1
    assert rows(root, "train") == []
    assert best(root)["step"] == 0
    load_generators(models(root))
    before = weights(root)["networks"]
    train(root, *MEASURED, "--steps", "1")  # and the training goes on from there
    after = weights(root)["networks"]
    assert [row["step"] for row in rows(root, "train")] == [1]
    moved = {
        letter: any(not torch.equal(after[letter][key], value) for key, value in before[letter].items())
        for letter in LETTERS
    }
    assert moved == {"E": True, "G1": True, "G2": False, "G3": False, "D1": True, "D2": True}


def test_start_without_steps_takes_fewer_images_than_a_batch_and_says_what_it_can_do(root, capsys):
    train(root, *MEASURED, "--steps", "0", "--batch_size", "1000")
    assert "cannot make its skew" in capsys.readouterr().out
    load_generators(models(root))
    with pytest.raises(ValueError, match="too few for a batch of 1000"):
        train(root, *MEASURED, "--steps", "1", "--batch_size", "1000", save="again")


def test_measured_training_resumes_bit_identically(root):
    train(root, *MEASURED, "--steps", "4")
    for last in ("1", "4"):
        train(root, *MEASURED, "--steps", last, save="again")
    assert_same(weights(root), weights(root, "again"))


# Files of one generator know each other


def mixed(folder, sources: dict):
    """A folder of E, G1 and G2, each copied from its source."""
    folder.mkdir()
    for letter, path in sources.items():
        shutil.copy(path, folder / f"checkpoint_{letter}{path.suffix}")
    return folder


def trained_files(folder) -> dict:
    return find_checkpoints(folder, ("E", "G1", "G2"))


def export(root, *words, save="saves"):
    target = root / f"export{len(words)}"
    main_export.main(["--pretrain_dir", str(root / save), "--cam_name", CAMERA, "--output_dir", str(target), *words])
    return target / CAMERA


def test_networks_of_two_trainings_do_not_make_a_generator_but_those_of_one_do_wherever_they_lie(root, tmp_path):
    words = ["--epochs", "2", "--ema", "0.9", "--keep_best", "--test_epoch", "1"]
    train(root, *words, "--steps", "1")
    train(root, *words)  # resumed
    train(root, *words, "--seed", "1", save="other")
    own = {"run": models(root), "ema": models(root) / "ema", "best": models(root) / "best", "exported": export(root)}
    own["safetensors"] = export(root, "--format", "safetensors")
    own["exported again"] = export(root, "--pretrain_dir", str(root / "export0"), "--half")
    other = trained_files(models(root, "other"))
    for name, folder in own.items():
        files = trained_files(folder)
        assert list(load_generators(folder)) == list(files)
        for letter in files:
            target = mixed(tmp_path / f"{name}_{letter}", files | {letter: other[letter]})
            with pytest.raises(ValueError, match=one_line(f"{target}: its checkpoints do not belong", f"_{letter}")):
                load_neca(target)
    # The raw weights of a network and the averaged ones of another are of one step, but of two generators.
    averaged = mixed(tmp_path / "averaged", trained_files(own["run"]) | {"E": trained_files(own["ema"])["E"]})
    with pytest.raises(ValueError, match="do not belong together"):
        load_neca(averaged)
    with pytest.raises(ValueError, match="do not belong together"):
        main_export.main(["--pretrain_dir", str(averaged), "--cam_name", CAMERA, "--output_dir", str(tmp_path / "x")])
    assert not (tmp_path / "x").exists()


def test_a_run_from_given_networks_makes_a_generator_of_its_own(root, tmp_path):
    train(root, "--epochs", "1")
    given = trained_files(models(root))
    names = [word for letter, path in given.items() for word in (f"--checkpoint_{letter}_name", str(path))]
    train(root, "--epochs", "2", "--use_pretrained", *names, save="second")
    second = trained_files(models(root, "second"))
    assert list(load_generators(models(root, "second"))) == ["E", "G1", "G2"]
    with pytest.raises(ValueError, match="do not belong together"):
        load_neca(mixed(tmp_path / "mixed", second | {"G1": given["G1"]}))


def test_a_test_measures_in_threads_while_the_networks_go_on(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    together = threading.Barrier(2)  # passed by two at once only

    def make(number: int, batch: dict) -> float:
        assert threading.current_thread() is threading.main_thread()
        return batch["value"]

    def measure(made: float) -> dict[str, float]:
        together.wait(timeout=5)
        return {"value": made, "unknown": math.inf if made == 1 else made}

    loader = [{"value": value} for value in (1.0, 2.0, 3.0, 6.0)]
    means, first = _mean_over_images(loader, make, measure, num_workers=2)

    assert means == {"value": 3.0, "unknown": 11 / 3}
    assert first == 1.0


def test_a_test_takes_no_time_for_metrics_that_it_does_not_show(monkeypatch):
    random = np.random.default_rng(0)
    clean, noisy, fake = random.integers(0, 256, (3, 128, 128, 3), np.uint8)
    compared = Comparison(Reference(clean, noisy), noise_of(fake, clean))
    expected = {name: METRICS[name].measure(compared) for name in TESTED}
    for unused in ("spectrum", "phase_profile"):
        monkeypatch.setattr(metrics, unused, None)

    row = _measure_image(JointImages("", {"clean": clean, "noisy": noisy}, {"fake": fake}))

    np.testing.assert_equal({name: row[name] for name in TESTED}, expected)
