"""The quick test as users run it: what it writes and prints, what it refuses, and the checks it makes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import main_test
from evaluation.quick_test import best_shift, draw_panel, noise_statistics
from inference import white_noise
from models import network_checkpoint
from tests.conftest import ROOT
from tests.noisy_set import camera_networks, make_weights, scene, with_noise
from tests.refusal import refused
from tests.tiny import tiny_networks
from utils.checkpoints import save_checkpoint
from utils.image import read_image, write_image
from utils.panels import magnified_noise, panel

NETWORKS = camera_networks()


@pytest.fixture
def root(tmp_path) -> Path:
    """Weights of camera ZZ, and one pair of an odd size."""
    make_weights(tmp_path)
    add_pair(tmp_path)
    return tmp_path


def add_pair(root: Path, name: str = "", height: int = 61, width: int = 75) -> None:
    clean = scene(height, width)
    write_image(root / "imgs" / f"{name}clean.png", clean)
    write_image(root / "imgs" / f"{name}noisy.png", with_noise(clean))


def arguments(root: Path, *more: str, save: str = "saves") -> list[str]:
    folders = {"--pretrain_dir": root / "pretrain", "--dir_test_img": root / "imgs", "--dir_test_save": root / save}
    words = [str(word) for option in folders.items() for word in option]
    return [*words, "--cam_name", "ZZ", "--device", "cpu", *more]


def run(root: Path, *more: str, save: str = "saves") -> dict[str, bytes]:
    """Run the command -> the files it wrote."""
    main_test.main(arguments(root, *more, save=save))
    return {path.name: path.read_bytes() for path in (root / save).iterdir()}


def refuse(root: Path, capsys, *more: str) -> str:
    """Run the command as from the shell -> its only line of error; it has written nothing."""
    message = refused(capsys, main_test.main, arguments(root, *more))
    assert not list(root.glob("saves/*"))
    return message


def to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]


def rounded(image: torch.Tensor) -> np.ndarray:
    """round(255 clip(x)), as a file: (1, 3, H, W) -> (H, W, 3)."""
    return np.floor(image[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255 + 0.5).astype(np.uint8)


# --- what it writes ---


def test_image_that_belongs_to_no_pair_is_left_out_and_named(root, capsys):
    made = run(root)
    write(root / "imgs" / "photo.png")
    (root / "imgs" / "a_noisy.HEIC").touch()
    assert run(root) == made
    told = capsys.readouterr().out
    assert "photo.png is not used" in told
    assert f"note: {root / 'imgs'}: .heic is not read: a_noisy.HEIC; convert to PNG to use" in told


@torch.inference_mode()
def test_neca_w_writes_the_noise_of_the_papers_equations(root):
    clean, noisy = (to_tensor(scene(64, 80)), to_tensor(with_noise(scene(64, 80))))
    add_pair(root, height=64, width=80)
    files = run(root, "--seed", "3")
    assert set(files) == {"fake_noisy.png", "sdnc_noise.png", "sdnu_noise.png", "panel.png"}
    sdnu = NETWORKS["G1"](clean, NETWORKS["E"](noisy)) * white_noise(3, "", 64, 80)[None]
    sdnc = NETWORKS["G2"](sdnu) + sdnu
    assert sdnu.std() > 5 / 255
    for name, expected in {"fake_noisy": clean + sdnc, "sdnc_noise": sdnc + 0.5, "sdnu_noise": sdnu + 0.5}.items():
        difference = read_image(root / "saves" / f"{name}.png").astype(int) - rounded(expected)
        assert np.abs(difference).max() <= 1  # a last bit of float32 may turn a rounding over
        assert np.count_nonzero(difference) < difference.size / 1000


@pytest.mark.parametrize("gain", [-0.3, 0.0, 1.5])
@torch.inference_mode()
def test_gain_that_is_none_is_computed_with_all_the_same_and_warned_about(root, capsys, gain):
    genet = camera_networks()["E"]
    genet.linear[0][0].weight.zero_()
    genet.linear[0][0].bias.fill_(gain)
    save_checkpoint(root / "pretrain" / "ZZ" / "checkpoint_E.pth", network_checkpoint(genet, 1))
    add_pair(root, height=64, width=80)
    run(root)
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert str(root / "imgs" / "noisy.png") in warnings[0] and "--gain" in warnings[0]
    sdnu = NETWORKS["G1"](to_tensor(scene(64, 80)), torch.full((1, 1, 1, 1), gain)) * white_noise(0, "", 64, 80)[None]
    difference = read_image(root / "saves" / "sdnu_noise.png").astype(int) - rounded(sdnu + 0.5)
    assert np.abs(difference).max() <= 1


@torch.inference_mode()
def test_neca_s_writes_noise_of_the_level_asked_for_without_a_noisy_image(root):
    add_pair(root, height=64, width=80)
    (root / "imgs" / "noisy.png").unlink()
    for letter in ("E", "G1"):  # it needs no gain and no noise level
        (root / "pretrain" / "ZZ" / f"checkpoint_{letter}.pth").unlink()
    files = run(root, "--NeCA_type", "S", "--noise_level", "40")
    assert set(files) == {"fake_noisy.png", "sinc_noise.png", "panel.png"}
    white = 40 / 255 * white_noise(0, "", 64, 80)[None]
    expected = rounded(to_tensor(scene(64, 80)) + NETWORKS["G2"](white) + white)
    assert np.abs(read_image(root / "saves" / "fake_noisy.png").astype(int) - expected).max() <= 1


def test_published_command_works_as_written_on_the_shipped_image(root, monkeypatch):
    shutil.copytree(ROOT / "test" / "imgs", root / "test" / "imgs")
    (root / "pretrain" / "ZZ").rename(root / "pretrain" / "IP")
    monkeypatch.chdir(root)
    main_test.main(["--cam_name", "IP", "--NeCA_type", "S"])
    written = {path.name for path in (root / "test" / "saves").iterdir()}
    assert written == {"fake_noisy.png", "sinc_noise.png", "panel.png"}


@pytest.mark.parametrize("size", [(61, 75), (8, 8), (9, 40), (64, 8), (15, 15)])
@pytest.mark.parametrize("neca_type", "WS")
def test_images_of_any_size_keep_it(root, size, neca_type):
    add_pair(root, height=size[0], width=size[1])
    run(root, "--NeCA_type", neca_type)
    for path in (root / "saves").glob("*nois*.png"):
        assert read_image(path).shape == (*size, 3), path.name


def test_chosen_gain_takes_the_place_of_the_noisy_image(root):
    with torch.inference_mode():
        gain = NETWORKS["E"](to_tensor(read_image(root / "imgs" / "noisy.png"))).item()
    estimated = run(root)
    (root / "imgs" / "noisy.png").unlink()
    (root / "pretrain" / "ZZ" / "checkpoint_E.pth").unlink()
    chosen = run(root, "--gain", repr(gain), save="chosen")
    assert chosen["fake_noisy.png"] == estimated["fake_noisy.png"]
    assert run(root, "--gain", "0.2", save="other")["fake_noisy.png"] != estimated["fake_noisy.png"]


def test_same_seed_gives_the_same_bytes_and_another_one_other_noise(root):
    first = run(root, "--seed", "5")
    assert run(root, "--seed", "5", save="again") == first
    assert run(root, "--seed", "6", save="other")["fake_noisy.png"] != first["fake_noisy.png"]


def test_every_pair_gets_its_own_files_and_its_own_noise(root):
    alone = run(root)
    for name in ("a_", "b_c_"):
        add_pair(root, name)
    files = run(root, save="more")
    kinds = ("fake_noisy", "sdnc_noise", "sdnu_noise", "panel")
    assert set(files) == {f"{name}{kind}.png" for name in ("", "a_", "b_c_") for kind in kinds}
    assert len({files[f"{name}sdnu_noise.png"] for name in ("", "a_", "b_c_")}) == 3
    assert files["fake_noisy.png"] == alone["fake_noisy.png"]  # whatever else is in the folder


# --- what it prints ---


def test_gain_and_statistics_of_both_noises_are_printed(root, capsys):
    run(root)
    out = capsys.readouterr().out
    clean, noisy, fake = (
        read_image(path).astype(float)
        for path in (root / "imgs" / "clean.png", root / "imgs" / "noisy.png", root / "saves" / "fake_noisy.png")
    )
    with torch.inference_mode():
        gain = NETWORKS["E"](to_tensor(noisy.astype(np.uint8))).item()
    assert f"gain {gain:.4f}" in out
    for kind, image in (("real", noisy), ("fake", fake)):
        noise = image - clean
        line = re.search(rf"{kind} noise: std (\S+), lag-1 (\S+) h (\S+) v", out)
        assert float(line[1]) == pytest.approx(noise.std(), abs=0.006)
        for group, pair in ((2, (noise[:, 1:], noise[:, :-1])), (3, (noise[1:], noise[:-1]))):
            channels = [np.corrcoef(pair[0][..., c].ravel(), pair[1][..., c].ravel())[0, 1] for c in range(3)]
            assert float(line[group]) == pytest.approx(np.mean(channels), abs=0.01)
    assert str(root / "saves" / "panel.png") in out


def test_lag_1_of_noise_averaged_over_two_neighbours_is_one_half():
    white = np.random.default_rng(0).normal(0, 10, (300, 301, 3))
    statistics = noise_statistics((white[:, 1:] + white[:, :-1]) / 2)
    assert statistics.std == pytest.approx(10 / 2**0.5, rel=0.01)
    assert statistics.lag1_h == pytest.approx(0.5, abs=0.01)
    assert statistics.lag1_v == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    "words, option",
    [("--NeCA_type W --noise_level 40", "--noise_level 40"), ("--NeCA_type S --gain 0.1", "--gain 0.1")],
)
def test_option_without_effect_says_so_in_one_line(root, capsys, words, option):
    run(root, *words.split())
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    assert len(lines) == 1
    assert f"{option} has no effect" in lines[0]


# --- misaligned pairs ---


@pytest.mark.parametrize("dy, dx", [(1, 0), (-1, 0), (0, 1), (0, -1), (1, -1)])
def test_pair_that_is_off_by_a_pixel_is_noticed_where_noise_hides_it(dy, dx):
    clean = scene(122, 122) // 6 + 80  # faint squares
    noisy = with_noise(clean, std=30)
    shift = best_shift(noisy[1 + dy : 121 + dy, 1 + dx : 121 + dx], clean[1:121, 1:121])
    assert shift.is_clear
    assert (shift.dy, shift.dx) == (dy, dx)
    assert shift.improvement < 0.03


def test_pair_that_is_off_by_half_a_pixel_is_left_alone():
    clean = scene(122, 120)
    halfway = (clean[:-1].astype(float) + clean[1:]) / 2
    shifts = [best_shift(with_noise(halfway, 10, seed), clean[:-1]) for seed in range(10)]
    assert any(shift.dy == 1 for shift in shifts)  # by chance it fits a little better
    assert not any(shift.is_clear for shift in shifts)


@pytest.mark.parametrize("std", [0, 3, 30, 80])
@pytest.mark.parametrize("content", ["squares", "ramp", "flat"])
def test_aligned_pair_is_never_called_misaligned(content, std):
    ramp = np.broadcast_to(np.arange(120)[:, None, None] + 60, (120, 120, 3)).astype(np.uint8)
    clean = {"squares": scene(120, 120), "ramp": ramp, "flat": np.full_like(ramp, 120)}[content]
    for seed in range(10):
        darker = with_noise(clean, std, seed) - np.uint8(2)  # real noise is not zero-mean
        assert not best_shift(darker, clean).is_clear


def test_misaligned_pair_is_warned_about_with_its_shift(root, capsys):
    clean = scene(121, 120)
    write_image(root / "imgs" / "clean.png", clean[:-1])
    write_image(root / "imgs" / "noisy.png", with_noise(clean)[1:])
    run(root)
    assert re.search(
        r"warning: .*noisy\.png looks misaligned, moved by \+1 rows and \+0 columns", capsys.readouterr().out
    )
    write_image(root / "imgs" / "noisy.png", with_noise(clean)[:-1])
    run(root)
    assert "looks misaligned" not in capsys.readouterr().out


def test_shipped_pair_is_aligned():
    assert not best_shift(*(read_image(ROOT / "test" / "imgs" / f"{side}.png") for side in ("noisy", "clean"))).is_clear


# --- pictures ---


def test_panel_shows_every_tile_below_its_label_and_pads_smaller_ones_with_white():
    red, blue = (np.full((size, size, 3), colour, np.uint8) for size, colour in ((40, (255, 0, 0)), (20, (0, 0, 255))))
    picture = panel([[("first", red), ("second", blue)], [("third, two\nlines", blue)]])
    for colour, tiles in (((255, 0, 0), [40]), ((0, 0, 255), [20, 20])):
        assert (picture == colour).all(axis=2).sum() == sum(side**2 for side in tiles)
    label = picture[: np.nonzero((picture == (255, 0, 0)).all(axis=2))[0].min()]
    assert label.min() < 100  # dark ink
    others = (picture != (255, 0, 0)).any(axis=2) & (picture != (0, 0, 255)).any(axis=2)
    assert (picture[others] == 255).mean() > 0.8


def test_magnified_noise_lies_around_mid_grey_and_is_clipped():
    noise = np.array([0, 1, -2, 100, -100], np.int16)[None, :, None].repeat(3, axis=2)
    assert magnified_noise(noise, 4)[0, :, 0].tolist() == [128, 132, 120, 255, 0]


@pytest.mark.parametrize("size", [(20, 30), (700, 90)])
def test_panel_fits_small_and_large_images(size):
    clean = scene(*size)
    picture = draw_panel(clean, with_noise(clean), with_noise(clean, seed=2), np.zeros((*size, 3)), "title")
    assert 512 <= picture.shape[0] <= 1200
    assert 100 <= picture.shape[1] <= 1700


# --- what it refuses ---


def write(path: Path, height: int = 61, width: int = 75) -> None:
    write_image(path, scene(height, width))


@pytest.mark.parametrize(
    "spoil, parts",
    [
        (lambda imgs: shutil.rmtree(imgs), ["imgs: no such folder", "--dir_test_img"]),
        (lambda imgs: [path.unlink() for path in imgs.iterdir()], ["imgs: no images", "--dir_test_img"]),
        (lambda imgs: (imgs / "noisy.png").unlink(), ["clean.png", "noisy.png", "--gain"]),
        (lambda imgs: write(imgs / "x_clean.png"), ["x_clean.png", "x_noisy.png", "--gain"]),
        (lambda imgs: write(imgs / "x_noisy.png"), ["x_noisy.png", "x_clean.png"]),
        (lambda imgs: write(imgs / "noisy.png", 61, 74), ["noisy.png: 61x74", "61x75"]),
        (lambda imgs: (imgs / "noisy.png").write_bytes(b"no image"), ["noisy.png: not a readable image"]),
        (lambda imgs: [write(imgs / f"{side}.png", 7, 75) for side in ("clean", "noisy")], ["7x75", "at least 8x8"]),
        (lambda imgs: shutil.rmtree(imgs.parent / "pretrain" / "ZZ"), ["camera ZZ has no weights", "--pretrain_dir"]),
        (lambda imgs: (imgs.parent / "pretrain/ZZ/checkpoint_E.pth").write_bytes(b""), ["checkpoint_E.pth: damaged"]),
        (
            lambda imgs: (imgs.parent / "pretrain/ZZ/checkpoint_E.pth").write_bytes(b"<html>"),
            ["checkpoint_E.pth: a web page, perhaps of a failed download"],
        ),
        (lambda imgs: (imgs.parent / "saves").write_text("a file"), ["saves: cannot be written", "--dir_test_save"]),
    ],
)
def test_bad_input_ends_in_one_line_that_names_it(root, capsys, spoil, parts):
    spoil(root / "imgs")
    message = refuse(root, capsys)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "words", ["--NeCA_type X", "--gain 12", "--gain -1", "--noise_level nan", "--seed -1", "--noise 3", "--device tpu"]
)
def test_wrong_option_ends_in_one_line_that_names_it(root, capsys, words):
    assert words.split()[0] in refuse(root, capsys, *words.split())


def test_results_do_not_go_among_the_images(root, capsys):
    assert "--dir_test_img" in refuse(root, capsys, "--dir_test_save", str(root / "imgs"))


def test_noise_that_is_not_finite_is_not_written(root, capsys):
    network = tiny_networks(dtype=torch.float32)["G2"]
    network.decoder_head[0].bias.data.fill_(1e3)
    content = network_checkpoint(network, 1)
    content["config"] = network.config | {"final_act": "exp"}  # e^1000 is infinite
    save_checkpoint(root / "pretrain" / "ZZ" / "checkpoint_G2.pth", content)
    assert "not finite" in refuse(root, capsys)


def test_full_disk_leaves_no_half_file(root, capsys, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("utils.files.os.fsync", full)
    assert "No space left on device" in refuse(root, capsys)


def test_command_exits_cleanly_as_a_process(root):
    words = [sys.executable, "main_test.py", *arguments(root)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fake noise: std" in done.stdout
