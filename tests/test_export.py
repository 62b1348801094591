"""Weights on their way from a training run to pretrain/."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch

import main_export
import main_train_jointly
from evaluation.denoisers import make_denoiser
from inference import load_generators, load_neca
from models import DnCNN, network_checkpoint
from noise import load_noise
from tests.camera import CAMERA, command, make_camera
from tests.conftest import ROOT
from tests.refusal import refused
from utils.checkpoints import load_checkpoint, save_checkpoint


@pytest.mark.parametrize("half", [False, True])
def test_exported_weights_are_the_runs_newest_rounded_only_with_half(tmp_path, half):
    make_camera(tmp_path)
    main_train_jointly.main(command(tmp_path, "--epochs", "2", "--test_epoch", "1"))
    words = [
        "--pretrain_dir",
        str(tmp_path / "saves"),
        "--output_dir",
        str(tmp_path / "pretrain"),
        "--cam_name",
        CAMERA,
    ]
    main_export.main(words + (["--half"] if half else []))
    exported = load_generators(tmp_path / "pretrain" / CAMERA)
    trained = load_generators(tmp_path / "saves" / CAMERA / "models")
    for letter, network in trained.items():
        for key, tensor in network.state_dict().items():
            expected = tensor.half().float() if half else tensor
            assert torch.equal(exported[letter].state_dict()[key], expected)
            assert exported[letter].state_dict()[key].dtype == torch.float32


def test_export_without_a_run_names_the_option(tmp_path):
    with pytest.raises(ValueError, match="--pretrain_dir"):
        main_export.main(["--pretrain_dir", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def export_demo_camera(folder, *more):
    main_export.main(["--pretrain_dir", str(ROOT / "pretrain"), "--cam_name", "DC", "--output_dir", str(folder), *more])


def test_safetensors_make_the_same_noise_as_the_files_that_they_came_from(tmp_path):
    export_demo_camera(tmp_path, "--format", "safetensors")
    assert {path.suffix for path in (tmp_path / "DC").iterdir()} == {".safetensors", ".json"}
    clean = np.random.default_rng(0).random((24, 32, 3), dtype=np.float32)
    noisy = [load_neca(folder).synthesize(clean, gain=0.05) for folder in (ROOT / "pretrain/DC", tmp_path / "DC")]
    np.testing.assert_array_equal(*noisy)


@pytest.mark.parametrize("form", ["pth", "safetensors"])
def test_files_can_be_read_by_all_whom_the_system_lets_read_new_files(tmp_path, form):
    export_demo_camera(tmp_path, "--format", form)
    (tmp_path / "new").touch()
    expected = (tmp_path / "new").stat().st_mode
    assert {path.stat().st_mode for path in (tmp_path / "DC").iterdir()} == {expected}


def test_a_safetensors_file_is_what_the_format_says(tmp_path):
    """Eight bytes of length, that much JSON, then the numbers: huggingface/safetensors, its README's section Format."""
    export_demo_camera(tmp_path, "--format", "safetensors")
    content = (tmp_path / "DC" / "checkpoint_E.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    for name, tensor in load_generators(ROOT / "pretrain/DC")["E"].state_dict().items():
        begin, end = (8 + length + offset for offset in header[name]["data_offsets"])
        numbers = np.frombuffer(content[begin:end], {"F32": "<f4"}[header[name]["dtype"]])
        np.testing.assert_array_equal(numbers.reshape(header[name]["shape"]), tensor.numpy())


def test_two_formats_side_by_side_are_refused(tmp_path, capsys):
    export_demo_camera(tmp_path)
    words = ["--pretrain_dir", str(ROOT / "pretrain"), "--output_dir", str(tmp_path), "--format", "safetensors"]
    words += ["--cam_name", "DC"]
    assert "checkpoint_E.pth: there already, in another format" in refused(capsys, main_export.main, words)


def test_a_safetensors_file_may_lie_where_no_text_is_the_name(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff") / "a.safetensors"
    save_checkpoint(path, {"model_state_dict": {"weight": torch.arange(3.0)}, "epoch": 2})
    read = load_checkpoint(path)
    assert read["epoch"] == 2
    assert torch.equal(read["model_state_dict"]["weight"], torch.arange(3.0))


def test_a_damaged_safetensors_file_is_one_clear_line(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"0" * 100)
    with pytest.raises(ValueError, match=r"x.safetensors: damaged or no safetensors file"):
        load_checkpoint(path)


def save_dncnn(path, **sizes):
    torch.manual_seed(0)
    network = DnCNN(**{"nc": 4, "nb": 8, "act_mode": "BR"} | sizes).eval()
    save_checkpoint(path, network_checkpoint(network, 7))
    return network


def export_denoiser(tmp_path, **sizes):
    network = save_dncnn(tmp_path / "checkpoint_G3_00000007.pth", **sizes)
    output = tmp_path / "mine.safetensors"
    words = ["denoiser", "--denoiser", str(tmp_path), "--output", str(output)]
    return network, output, words


@pytest.mark.parametrize("act_mode", ["R", "BR"])
def test_spandrel_loads_an_exported_denoiser(tmp_path, act_mode):
    spandrel = pytest.importorskip("spandrel")
    network, output, words = export_denoiser(tmp_path, act_mode=act_mode)
    main_export.main(words)
    theirs = spandrel.ModelLoader().load_from_file(output).eval()
    noisy = torch.rand(1, 3, 20, 24)
    with torch.no_grad():
        torch.testing.assert_close(theirs(noisy), network(noisy).clamp(0, 1))


def test_an_exported_denoiser_is_one_of_ours_still(tmp_path):
    network, output, words = export_denoiser(tmp_path)
    main_export.main(words)
    noisy = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
    denoiser = make_denoiser(str(output), torch.device("cpu"))
    assert denoiser.name == "mine"
    with torch.no_grad():
        expected = network(torch.from_numpy(noisy).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(denoiser.denoise(noisy), expected, atol=1e-6)


@pytest.mark.parametrize(
    "sizes, message", [({"act_mode": "BL"}, "layers BL"), ({"act_mode": "R", "nb": 7}, "7 layers")]
)
def test_a_denoiser_that_other_programs_would_get_wrong_is_not_exported(tmp_path, capsys, sizes, message):
    _, output, words = export_denoiser(tmp_path, **sizes)
    assert message in refused(capsys, main_export.main, words)
    assert not output.exists()


@pytest.mark.filterwarnings("ignore:DC. ISO 5000 is extrapolated")
@pytest.mark.parametrize("model", ["pipeline", "neca-w"])
def test_a_program_makes_our_noise_without_our_code(tmp_path, model):
    """Of any number of images of any size that it takes, in a process that cannot import the project."""
    main_export.main(["program", "--cam_name", "DC", "--model", model, "--output", str(tmp_path / "dc.pt2")])
    rng, channels = torch.Generator().manual_seed(0), 1 if model == "pipeline" else 3
    given, expected = [], []
    for count, height, width in ((1, 72, 40), (3, 16, 24)):
        clean = torch.rand(count, 3, height, width, generator=rng)
        white = torch.randn(count, channels, height, width, generator=rng)
        strength = torch.tensor([150.0, 800, 5000][:count]) if model == "pipeline" else torch.full((count,), 0.05)
        given.append((clean, white, strength))
        if model == "pipeline":
            fit = load_noise(ROOT / "pretrain" / "DC").pipeline
            numbers = torch.stack([fit.numbers(int(iso)) for iso in strength])
            expected.append(fit.synthesize(clean, numbers, white, balances=fit.balance().expand(count, 2)))
        else:
            expected.append(load_neca(ROOT / "pretrain" / "DC").synthesize(clean, gain=0.05, z=white, clip=True))
    torch.save(given, tmp_path / "given.pt")
    code = "import torch; run = torch.export.load('dc.pt2').module(); given = torch.load('given.pt'); "
    code += "torch.save([run(*one) for one in given], 'made.pt')"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, check=True)
    for made, wanted in zip(torch.load(tmp_path / "made.pt"), expected):
        assert (made - wanted).abs().max() < 1e-5


def test_a_program_of_a_copula_or_of_no_fit_is_refused_in_one_line(tmp_path, capsys):
    words = ["program", "--cam_name", "ZZ", "--pretrain_dir", str(tmp_path), "--output", str(tmp_path / "zz.pt2")]
    assert "has no fit of a pipeline (noise.json or noise.safetensors)" in refused(capsys, main_export.main, words)
    assert "expected a name that ends in .pt2" in refused(capsys, main_export.main, [*words[:-1], "zz.onnx"])
    assert not list(tmp_path.iterdir())
