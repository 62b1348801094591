"""Weights on their way from a training run to pretrain/."""

import pytest
import torch

import main_export
import main_train_jointly
from models.pretrained import load_generators
from tests.camera import CAMERA, command, make_camera


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
