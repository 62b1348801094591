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
from tests.conftest import ROOT
from tests.refusal import refused
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


def test_missing_folder(root, capsys):
    message = refuse(root, capsys, "--train_img_dir", str(root / "absent"))
    assert "absent" in message
    assert "--train_img_dir" in message


def test_empty_folder(root, capsys):
    (root / "empty").mkdir()
    assert "--train_img_dir" in refuse(root, capsys, "--train_img_dir", str(root / "empty"))


def test_unknown_camera_lists_those_that_are_there(root, capsys):
    message = refuse(root, capsys, "--cam_name", "IP")
    assert CAMERA in message
    assert "--cam_name" in message


def test_empty_list(root, capsys):
    (root / "lists" / "ZZ_train.txt").write_text("\n \n")
    message = refuse(root, capsys)
    assert "ZZ_train.txt" in message
    assert "empty" in message


def test_list_that_names_an_absent_scene(root, capsys):
    absent = f"0099_001_{CAMERA}_00800_00100_5500_N"
    with (root / "lists" / "ZZ_train.txt").open("a") as file:
        file.write(absent + "\n")
    message = refuse(root, capsys)
    assert absent in message
    assert "ZZ_train.txt" in message


def test_no_lists_name_the_option_that_writes_them(root, capsys):
    shutil.rmtree(root / "lists")
    message = refuse(root, capsys)
    assert "--generate_data_lists" in message


@pytest.mark.parametrize("side", ["clean", "noisy"])
def test_unpaired_file(root, capsys, side):
    other = one_file(root, "noisy" if side == "clean" else "clean")
    one_file(root, side).unlink()
    assert other.name in refuse(root, capsys)


def test_noisy_file_among_the_clean_ones_is_named(root, capsys):
    noisy = one_file(root, "noisy")
    shutil.copy(noisy, noisy.parent.parent / "clean")
    assert f"clean/{noisy.name}" in refuse(root, capsys)


def test_uncropped_scenes_name_the_cropper(root, capsys):
    scene = f"0001_001_{CAMERA}_00800_00100_5500_N"
    for folder in ("clean", "noisy"):
        shutil.rmtree(root / "crops" / scene / folder)
    write_image(root / "crops" / scene / "0001_GT_SRGB_010.PNG", np.zeros((48, 48, 3), np.uint8))
    assert "Crop_SIDD.py" in refuse(root, capsys)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_truncated_image_is_named(root, capsys, workers):
    path = one_file(root, "noisy")
    path.write_bytes(path.read_bytes()[:-200])
    assert path.name in refuse(root, capsys, "--num_workers", workers)
    assert nothing_trained(root)


def test_pair_of_unequal_sizes(root, capsys):
    path = one_file(root, "noisy")
    write_image(path, read_image(path)[:-1])
    message = refuse(root, capsys)
    assert path.name in message
    assert "47x48" in message


def test_transparent_image(root, capsys):
    path = one_file(root, "noisy")
    path.write_bytes(cv2.imencode(".png", np.zeros((48, 48, 4), np.uint8))[1].tobytes())
    assert "transparent" in refuse(root, capsys)


def test_patch_larger_than_an_image(root, capsys):
    message = refuse(root, capsys, "--patch_size", "64")
    assert "48x48" in message
    assert "--patch_size" in message
    assert not (root / "saves").exists()


@pytest.mark.parametrize("words", ["--patch_size 36", "--pd_stride 3", "--patch_size 16 --pd_stride 8"])
def test_sizes_that_do_not_divide(root, capsys, words):
    assert "--patch_size" in refuse(root, capsys, *words.split())
    assert not (root / "saves").exists()


def test_batch_larger_than_the_set(root, capsys):
    assert "--batch_size" in refuse(root, capsys, "--batch_size", "5")


def test_cuda_that_is_absent(root, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "CUDA" in refuse(root, capsys, "--device", "cuda")


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


def test_unwritable_run_folder(root, capsys):
    (root / "saves").write_text("a file where a folder should be")
    assert "--dir_save" in refuse(root, capsys)


def test_unwritable_list_folder(root, capsys):
    shutil.rmtree(root / "lists")
    (root / "lists").write_text("a file where a folder should be")
    assert "--data_prep_dir" in refuse(root, capsys, "--generate_data_lists")


def test_not_train_without_anything_to_test(root, capsys):
    assert "--not_train" in refuse(root, capsys, "--not_train")


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


class Payload:
    """What a hostile checkpoint would carry."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def foreign(path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, path)


def pickled(path: Path) -> None:
    torch.save({"epoch": 1, "model_state_dict": Payload(path.parent / "executed")}, path)


def truncated(path: Path) -> None:
    torch.save({"epoch": 1, "model_state_dict": {"a": torch.zeros(9999)}}, path)
    path.write_bytes(path.read_bytes()[:5000])


def wrong_sizes(path: Path) -> None:
    torch.save({"epoch": 1, "model_state_dict": {"model.0.0.weight": torch.zeros(3)}}, path)


@pytest.mark.parametrize("write", [foreign, pickled, truncated, wrong_sizes, lambda path: None])
def test_bad_checkpoint_is_named_and_runs_no_code(root, capsys, write):
    path = root / "bad.pth"
    write(path)
    message = refuse(root, capsys, "--use_pretrained", "--checkpoint_E_name", str(path))
    assert "bad.pth" in message
    assert not (root / "executed").exists()
    assert not (root / "saves").exists()


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


def test_use_pretrained_without_any_checkpoint(root, capsys):
    assert "--checkpoint_" in refuse(root, capsys, "--use_pretrained")


def test_full_disk_leaves_the_last_checkpoint_and_no_half_file(root):
    main_train_jointly.main(command(root, "--epochs", "2"))
    models = root / "saves" / CAMERA / "models"
    before = {path.name: path.read_bytes() for path in models.iterdir()}
    smallest = min(map(len, before.values()))
    words = [sys.executable, "main_train_jointly.py", *command(root, "--epochs", "4")]
    # A limit on the size of files stands for the full disk: writes fail as they do there, in every library.
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (smallest // 2, smallest // 2))  # noqa: E731
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in models.iterdir()} == before
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
