"""Grey-scale noise models, published: `--img_channels 1` and one channel for every network."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import main_eval
import main_export
import main_synthesize
import main_test
import main_train_denoiser
import main_train_jointly
import metrics
from data.cache import open_pairs
from data.pairs import FileReader, find_pairs
from inference import load_neca, load_network, white_noise
from models import NETWORK_CLASSES
from tests.camera import CAMERA, command, make_camera
from tests.conftest import read_csv
from tests.refusal import refused
from tests.runs import assert_same
from tests.test_train_command import rows, weights
from utils.checkpoints import load_checkpoint, numbered_files, save_checkpoint
from utils.image import read_image, write_image

CHANNELS = [
    f"--{name}_nc" for name in ("E_in", "G1_in", "G1_out", "G2_in", "G2_out", "G3_in", "G3_out", "D1_in", "D2_in")
]
GREY = ["--img_channels", "1", *(word for name in CHANNELS for word in (name, "1"))]


def train(root: Path, *more: str, save: str = "saves") -> None:
    main_train_jointly.main(command(root, *GREY, *more, save=save))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A camera with grey files, and a finished run on it."""
    root = tmp_path_factory.mktemp("grey")
    make_camera(root, channels=1)
    train(root, "--epochs", "4", "--test_epoch", "4")
    return root


def images(root: Path) -> tuple[Path, Path]:
    """Return a clean and a noisy test crop."""
    scene = root / "crops" / (root / "lists" / f"{CAMERA}_test.txt").read_text().strip()
    return tuple(next((scene / side).iterdir()) for side in ("clean", "noisy"))


def to_tensor(path: Path) -> torch.Tensor:
    """Read a grey file without our own code: -> (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(np.asarray(Image.open(path).convert("L"), np.float32))[None, None] / 255


# --- training ---


def test_run_has_networks_of_one_channel_and_tests_them_by_all_metrics_but_xcorr(root):
    for letter in ("E", "G1", "G2", "G3", "D1", "D2"):
        path = root / "saves" / CAMERA / "models" / f"checkpoint_{letter}_00000004.pth"
        kernels = [tensor for tensor in load_checkpoint(path)["model_state_dict"].values() if tensor.ndim == 4]
        assert kernels[0].shape[1] == 1
    tested = {"psnr", "kld", "kld_exact", "acf", "std", "lag1", "score"}  # the image is too small for nlf
    assert set(rows(root, "test")[-1]) == {"kind", "step", "epoch"} | tested
    assert read_image(root / "saves" / CAMERA / "imgs" / "test_00000008.png").shape[0] > 2 * 48  # the panel


def test_grey_run_resumes_bit_by_bit(root):
    train(root, "--epochs", "4", "--steps", "3", save="resumed")
    train(root, "--epochs", "4", save="resumed")
    assert_same(weights(root), weights(root, "resumed"))


@pytest.mark.parametrize("option", CHANNELS)
def test_channels_that_are_not_the_images_are_named(root, capsys, option):
    message = refused(capsys, main_train_jointly.main, command(root, *GREY, option, "3", save="refused"))
    assert f"{option} 3" in message and "--img_channels" in message


# --- data ---


def test_colour_files_are_read_as_luma_where_one_channel_is_asked_for(tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    write_image(tmp_path / "colour.png", colours)
    luma = colours @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    grey = read_image(tmp_path / "colour.png", channels=1)
    assert grey.shape == (40, 30, 1)
    assert np.abs(grey[:, :, 0] - luma).max() < 0.51


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_images_of_8_and_16_bit_are_written_and_read_as_they_are(tmp_path, suffix):
    for kind in (np.uint8, np.uint16):
        image = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (9, 8, 1)).astype(kind)
        write_image(tmp_path / f"x{suffix}", image)
        expected = image if kind == np.uint8 else np.round(image / 257).astype(np.uint8)
        assert np.array_equal(read_image(tmp_path / f"x{suffix}", channels=1), expected)
        assert np.asarray(Image.open(tmp_path / f"x{suffix}")).ndim == 2


def test_grey_cache_holds_what_the_files_hold_beside_that_of_the_colours(tmp_path):
    folders = sorted(make_camera(tmp_path).iterdir())  # colour files
    for channels in (3, 1, 3):
        pairs = find_pairs(folders, channels=channels)
        cached, files = open_pairs(pairs, tmp_path / "cache", 0, logging.getLogger()), FileReader(pairs)
        for number in range(len(pairs)):
            for one, other in zip(cached.pair(number), files.pair(number)):
                assert one.shape[2] == channels
                assert np.array_equal(one, other)
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 2 * len(folders)


# --- metrics ---


def test_correlation_of_channels_is_unknown_for_one_and_the_score_is_the_mean_of_the_others():
    real, fake = np.random.default_rng(0).integers(-20, 21, (2, 32, 32, 1))
    assert math.isnan(metrics.xcorr_distance(*map(metrics.channel_correlation, (real, fake))))
    score = metrics.structure_score({"kld_exact": 0.07, "acf": 0.24, "xcorr": math.nan, "nlf": 0.9})
    assert score == pytest.approx((1 + 2 + 3) / 3)


# --- synthesis ---


@torch.inference_mode()
def test_quick_test_writes_grey_noise_of_the_papers_equations(root, tmp_path):
    for path, name in zip(images(root), ("clean", "noisy")):
        write_image(tmp_path / "imgs" / f"{name}.png", read_image(path, channels=1))
    words = ["--cam_name", CAMERA, "--pretrain_dir", str(root / "saves"), "--device", "cpu", "--seed", "3"]
    main_test.main([*words, "--dir_test_img", str(tmp_path / "imgs"), "--dir_test_save", str(tmp_path / "saves")])
    models = root / "saves" / CAMERA / "models"
    networks = {x: load_network(x, models / f"checkpoint_{x}_00000004.pth") for x in ("E", "G1", "G2")}
    clean, noisy = map(to_tensor, images(root))
    sdnu = networks["G1"](clean, networks["E"](noisy)) * white_noise(3, "", 48, 48, 1)[None]
    for name, expected in {"sdnu_noise": sdnu + 0.5, "sdnc_noise": networks["G2"](sdnu) + sdnu + 0.5}.items():
        written = Image.open(tmp_path / "saves" / f"{name}.png")
        assert written.mode == "L"
        assert np.abs(np.asarray(written, float) - 255 * expected[0, 0].clamp(0, 1).numpy()).max() < 0.51
    assert Image.open(tmp_path / "saves" / "fake_noisy.png").mode == "L"


def test_own_images_become_grey_noisy_ones_and_colour_ones_are_remarked_on(root, tmp_path, capsys):
    write_image(tmp_path / "in" / "grey.png", read_image(images(root)[0], channels=1))
    write_image(tmp_path / "in" / "colour.png", np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    words = ["--input_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--gain", "0.05"]
    main_synthesize.main([*words, "--cam_name", CAMERA, "--pretrain_dir", str(root / "saves"), "--device", "cpu"])
    assert {path.name: Image.open(path).mode for path in (tmp_path / "out").glob("*.png")} == {
        "grey.png": "L",
        "colour.png": "L",
    }
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert len(notes) == 1 and "colours turned grey" in notes[0] and "colour.png" in notes[0]


def test_grey_generator_refuses_colour_arrays_and_says_what_it_takes(root):
    generator = load_neca(root / "saves", CAMERA)
    with pytest.raises(ValueError, match=r"clean has the shape \(16, 16, 3\), expected \(H, W, 1\)"):
        generator.synthesize(np.zeros((16, 16, 3), np.uint8), noise_level=5)
    assert generator.synthesize(np.zeros((16, 16, 1), np.uint8), noise_level=5).shape == (16, 16, 1)


def test_networks_for_grey_and_for_colour_images_do_not_belong_together(root, tmp_path):
    grey = root / "saves" / CAMERA / "models"
    for letter in ("E", "G1"):
        save_checkpoint(
            tmp_path / f"checkpoint_{letter}.pth", load_checkpoint(grey / f"checkpoint_{letter}_00000004.pth")
        )
    colour = load_checkpoint(Path("pretrain/DC/checkpoint_G2.safetensors"))
    save_checkpoint(tmp_path / "checkpoint_G2.pth", colour | {"step": 8})
    with pytest.raises(ValueError, match=r"do not belong together.*E for images of 1, G1 for images of 1, G2 for .* 3"):
        load_neca(tmp_path)


@pytest.mark.parametrize("letter", ["E", "G1", "G2", "G3"])
def test_published_file_for_grey_images_which_has_no_config_loads(tmp_path, letter):
    network = NETWORK_CLASSES[letter](in_nc=1, out_nc=1).eval()
    save_checkpoint(tmp_path / "x.pth", {"epoch": 1, "model_state_dict": network.state_dict()})
    loaded = load_network(letter, tmp_path / "x.pth")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())


# --- judging and export ---


def evaluate(root: Path, *words: str) -> list[dict]:
    folders = ["--data_dir", root / "crops", "--data_prep_dir", root / "lists", "--output_dir", root / "out" / words[0]]
    main_eval.main([*words, *map(str, folders), "--cam_name", CAMERA, "--device", "cpu", "--img_channels", "1"])
    return read_csv(root / "out" / words[0] / "results.csv")


def test_noise_models_are_judged_without_xcorr(root):
    models = ["NeCA-W", "coloured", "AWGN-image"]
    found = evaluate(root, "noise", "--pretrain_dir", str(root / "saves"), "--models", *models)
    assert [row["model"] for row in found] == models
    for row in found:
        unknown = {name for name, value in row.items() if value == "nan"}
        assert unknown - {"nlf"} == {"xcorr"}  # the image is too small for nlf
    assert "not defined for images of one channel" in (root / "out" / "noise" / "report.md").read_text()
    white = next(row for row in found if row["model"] == "AWGN-image")
    assert float(white["std"]) == pytest.approx(1, abs=0.05)


def test_denoisers_are_judged_on_grey_images(root):
    found = evaluate(root, "denoise", "--denoisers", "noisy", "nlm", f"G3={root / 'saves' / CAMERA}")
    psnr = {row["denoiser"]: float(row["psnr"]) for row in found}
    clean, noisy = (255 * to_tensor(path).double() for path in images(root))
    assert psnr["noisy"] == pytest.approx(10 * math.log10(255**2 / (noisy - clean).square().mean()), abs=1e-6)
    assert psnr["nlm"] > psnr["noisy"]
    assert set(psnr) == {"noisy", "nlm", "G3"}


@pytest.mark.parametrize("words", ["noise --models NeCA-S --pretrain_dir {saves}", "denoise --denoisers {saves}/ZZ"])
def test_colour_images_for_a_grey_network_are_refused_with_the_option(root, capsys, words):
    folders = [
        "--data_dir",
        str(root / "crops"),
        "--data_prep_dir",
        str(root / "lists"),
        "--output_dir",
        str(root / "no"),
    ]
    message = refused(
        capsys,
        main_eval.main,
        [*words.format(saves=root / "saves").split(), *folders, "--cam_name", CAMERA, "--device", "cpu"],
    )
    assert "1 channels, expected 3" in message and "--img_channels" in message


def test_denoiser_learns_from_noise_of_a_grey_generator(root):
    words = ["--train_img_dir", root / "crops", "--data_prep_dir", root / "lists", "--dir_save", root / "denoising"]
    words += ["--pretrain_dir", root / "saves", "--cam_name", CAMERA, "--name", "grey", "--img_channels", 1]
    words += ["--source", "neca-w:1", "--source", "coloured:1", "--patch_size", 32, "--batch_size", 4, "--steps", 2]
    main_train_denoiser.main([*map(str, words), "--nb", "3", "--nc", "4", "--num_workers", "0", "--device", "cpu"])
    path = numbered_files(root / "denoising" / "grey" / "models", "checkpoint_G3_")[-1]
    assert load_network("G3", path).config["in_nc"] == 1


def test_gains_are_measured_on_grey_images_and_drawn(root):
    words = ["gains", "--cam_name", CAMERA, "--pretrain_dir", root / "saves", "--data_dir", root / "crops"]
    words += ["--data_prep_dir", root / "lists", "--output", root / "bank.json", "--device", "cpu"]
    main_export.main(list(map(str, words)))
    assert (root / "bank.json").exists()
