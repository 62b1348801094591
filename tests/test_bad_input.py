"""What users get wrong: each ends in one clear line, a non-zero exit code, and nothing half-written."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import main_train_jointly
from tests.camera import CAMERA, command, make_camera
from tests.conftest import ROOT, contents
from tests.refusal import Payload, refused
from utils.command import run_command
from utils.image import read_image, write_image
from utils.runtime import choose_device


@pytest.fixture
def root(tmp_path) -> Path:
    make_camera(tmp_path)
    return tmp_path


def refuse(root: Path, capsys, *words: str) -> str:
    """Run the training command as from the shell -> its only line of error."""
    return refused(capsys, main_train_jointly.main, command(root, *words))


def one_file(root: Path, side: str) -> Path:
    """An image of a training scene."""
    return next((root / "crops" / f"0002_001_{CAMERA}_00800_00100_5500_N" / side).iterdir())


def nothing_trained(root: Path) -> bool:
    return not list(root.glob("saves/**/*.pth"))


def cut_a_row(path: Path) -> None:
    write_image(path, read_image(path)[:-1])


def make_transparent(path: Path) -> None:
    path.write_bytes(cv2.imencode(".png", np.zeros((48, 48, 4), np.uint8))[1].tobytes())


def uncrop(scene: Path) -> None:
    for folder in scene.iterdir():
        shutil.rmtree(folder)
    write_image(scene / "0001_GT_SRGB_010.PNG", np.zeros((48, 48, 3), np.uint8))


def put_file_for_folder(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("a file where a folder should be")


ABSENT = f"0099_001_{CAMERA}_00800_00100_5500_N"


@pytest.mark.parametrize(
    "spoil, words, named",
    [
        (lambda root: (root / "empty").mkdir(), "--train_img_dir {}/empty", "--train_img_dir"),
        (lambda root: (root / "lists/ZZ_train.txt").write_text("\n \n"), "", "ZZ_train.txt empty"),
        (lambda root: (root / "lists/ZZ_train.txt").write_text(ABSENT), "", f"ZZ_train.txt {ABSENT}"),
        (lambda root: shutil.rmtree(root / "lists"), "", "--generate_data_lists"),
        (lambda root: put_file_for_folder(root / "lists"), "--generate_data_lists", "--data_prep_dir"),
        (lambda root: one_file(root, "noisy").unlink(), "", "/clean/0002_GT_SRGB_010_00001.png"),
        (lambda root: one_file(root, "clean").unlink(), "", "/noisy/0002_NOISY_SRGB_010_00001.png"),
        (
            lambda root: shutil.copy(one_file(root, "noisy"), one_file(root, "clean").parent),
            "",
            "/clean/0002_NOISY_SRGB_010_00001.png",
        ),
        (lambda root: uncrop(one_file(root, "noisy").parent.parent), "", "Crop_SIDD.py"),
        (lambda root: cut_a_row(one_file(root, "noisy")), "", "/noisy/0002_NOISY_SRGB_010_00001.png 47x48"),
        (lambda root: make_transparent(one_file(root, "noisy")), "", "transparent"),
        (lambda root: put_file_for_folder(root / "saves"), "", "--dir_save"),
    ],
)
def test_bad_images_and_folders_end_in_one_line_that_names_them(root, capsys, spoil, words, named):
    spoil(root)
    message = refuse(root, capsys, *words.format(root).split())
    assert all(word in message for word in named.split())
    assert nothing_trained(root)


@pytest.mark.parametrize(
    "words, named",
    [
        ("--train_img_dir {}/absent", "absent --train_img_dir"),
        ("--cam_name IP", f"{CAMERA} --cam_name"),
        ("--patch_size 64", "48x48 --patch_size"),
        ("--patch_size 36", "--patch_size"),
        ("--pd_stride 3", "--patch_size"),
        ("--patch_size 16 --pd_stride 8", "--patch_size"),
        ("--batch_size 5", "--batch_size"),
        ("--device cuda", "CUDA"),
        ("--not_train", "--not_train"),
        ("--use_pretrained", "--checkpoint_"),
        ("--use_pretrained --checkpoint_E_name {}/absent.pth", "absent.pth"),
        ("--use_pretrained --checkpoint_E_name {}/pickled.pth", "pickled.pth"),
    ],
)
def test_bad_options_end_in_one_line_that_names_them_before_anything_is_made(root, capsys, monkeypatch, words, named):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    torch.save({"epoch": 1, "model_state_dict": Payload(root / "executed")}, root / "pickled.pth")
    message = refuse(root, capsys, *words.format(root, root).split())
    assert all(word in message for word in named.split())
    assert not (root / "saves").exists() and not (root / "executed").exists()


@pytest.mark.parametrize("workers", ["0", "1"])
def test_truncated_image_is_named(root, capsys, workers):
    path = one_file(root, "noisy")
    path.write_bytes(path.read_bytes()[:-200])
    assert path.name in refuse(root, capsys, "--num_workers", workers)
    assert nothing_trained(root)


@pytest.mark.parametrize("there", [False, True])
def test_apples_gpu_is_taken_where_it_is_and_asked_for(monkeypatch, there):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    assert choose_device("auto", [0]).type != "mps"
    if there:
        assert choose_device("mps", [0]) == torch.device("mps")
    else:
        with pytest.raises(ValueError, match=r"device mps: this machine .* has no MPS"):
            choose_device("mps", [0])


def test_gpu_that_is_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    current = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert choose_device("auto", [1]) == torch.device("cuda", 1)
    assert current == [1]
    with pytest.raises(ValueError, match=r"GPUs \[2\].*0 to 1"):
        choose_device("cuda", [2])


def test_folder_whose_name_is_no_text_is_trained_on_and_logged(root, capsys):
    place = root / os.fsdecode(b"\xff")
    place.mkdir()
    for name in ("crops", "lists"):
        (root / name).rename(place / name)
    scene = next((place / "crops").iterdir())
    (scene / "noisy" / os.fsdecode(b"\xfe.heic")).touch()
    main_train_jointly.main(command(place, "--epochs", "1"))
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    log = (place / "saves" / CAMERA / "logs" / "train.log").read_text(encoding="utf-8")
    assert "\\udcff/saves" in log
    assert ".heic is not read: \\udcfe.heic" in output.out
    words = command(place, "--epochs", "1", "--use_tb", save="others")
    assert "its name is not UTF-8, as TensorBoard's files need it" in refused(capsys, main_train_jointly.main, words)


def test_log_on_a_full_disk_stops_the_run_and_is_named(root, capsys):
    logs = root / "saves" / CAMERA / "logs"
    logs.mkdir(parents=True)
    (logs / "train.log").symlink_to("/dev/full")  # every write to it fails
    message = refuse(root, capsys, "--epochs", "2")
    assert "No space left" in message
    assert "train.log" in message
    assert nothing_trained(root)


def test_metrics_that_cannot_be_written_stop_the_run_and_are_named(root, capsys, monkeypatch):
    real_open = open

    def full(file, mode="r", **options):
        if Path(file).name == "metrics.jsonl" and "a" in mode:
            raise OSError(28, "No space left on device")
        return real_open(file, mode, **options)

    monkeypatch.setattr("builtins.open", full)
    message = refuse(root, capsys, "--epochs", "2")
    assert "No space left" in message
    assert "metrics.jsonl" in message


def test_truncated_test_image_costs_no_training(root, capsys):
    test_image = next((root / "crops").glob("0005_*/noisy/*.png"))
    content = bytearray(test_image.read_bytes())
    content[len(content) // 2] ^= 0xFF  # both ends are whole: found when it is read
    test_image.write_bytes(content)
    assert test_image.name in refuse(root, capsys, "--epochs", "2", "--no_cache")
    assert list(root.glob("saves/**/training_state_*.pth"))


def test_second_process_in_a_run_is_refused(root, capsys):
    main_train_jointly.main(command(root, "--epochs", "1"))
    holder = "import sys; from utils.files import lock_folder; lock = lock_folder(sys.argv[1]); print('held'); input()"
    words = [sys.executable, "-u", "-c", holder, str(root / "saves" / CAMERA)]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert "another process" in refuse(root, capsys, "--epochs", "2")
        other.communicate("\n")
    main_train_jointly.main(command(root, "--epochs", "2"))


@pytest.mark.parametrize(
    "spoil", [lambda path: path.unlink(), lambda path: path.write_text("{"), lambda path: path.write_text("[]")]
)
def test_resume_without_the_runs_options_is_refused(root, capsys, spoil):
    main_train_jointly.main(command(root, "--epochs", "1"))
    spoil(root / "saves" / CAMERA / "options.json")
    assert "options.json" in refuse(root, capsys, "--epochs", "2")


def test_pretrained_network_of_another_kind_names_the_option(root, capsys):
    main_train_jointly.main(command(root, "--epochs", "2", "--G2_final_act", "exp", save="first"))
    given = root / "first" / CAMERA / "models" / "checkpoint_G2_00000002.pth"
    assert "G2_final_act" in refuse(root, capsys, "--use_pretrained", "--checkpoint_G2_name", str(given))


def test_state_that_does_not_fit_is_named(root, capsys):
    main_train_jointly.main(command(root, "--epochs", "2"))
    state = next((root / "saves").glob("**/training_state_*.pth"))
    content = torch.load(state, weights_only=True)
    del content["model"]["optimizers"]["E"]
    torch.save(content, state)
    assert "does not fit" in refuse(root, capsys, "--epochs", "4")


def test_killed_loader_process_ends_in_one_line(root, capsys, monkeypatch):
    monkeypatch.setattr("data.batches.PatchDataset.__getitem__", lambda self, key: os.kill(os.getpid(), 9))
    assert "--num_workers" in refuse(root, capsys, "--num_workers", "1")


def test_full_disk_leaves_the_last_checkpoint_and_no_half_file(root):
    main_train_jointly.main(command(root, "--epochs", "2"))
    models = root / "saves" / CAMERA / "models"
    before = contents(models)
    smallest = min(map(len, before.values()))
    words = [sys.executable, "main_train_jointly.py", *command(root, "--epochs", "4")]
    # A limit on the size of files stands for the full disk: writes fail as they do there, in every library.
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (smallest // 2, smallest // 2))  # noqa: E731
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert contents(models) == before
    main_train_jointly.main(command(root, "--epochs", "4"))  # and the run goes on once there is room


def test_own_faults_keep_their_traceback(capsys):
    def broken():
        raise RuntimeError("ours")

    with pytest.raises(SystemExit) as stop:
        run_command(broken)
    assert stop.value.code == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_gpu_ends_in_one_line_that_says_what_to_change(capsys):
    def greedy():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 99 GiB.")

    with pytest.raises(SystemExit) as stop:
        run_command(greedy)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the GPU is out of memory") and "--batch_size" in error and error.count("\n") == 1
