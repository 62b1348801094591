"""The denoiser's training command as users run it, on a tiny camera: what it writes, learns, resumes and refuses."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import main_eval
import main_export
import main_synthesize
import main_train_denoiser
from data.batches import BatchSampler, PatchDataset, to_device
from data.pairs import FileReader, find_pairs
from evaluation.denoisers import make_denoiser
from inference import TiledDenoiser
from inference.pretrained import begin_from, load_network
from models import (
    Architecture,
    DenoiserModel,
    DenoiserOptions,
    NAFNet,
    build_denoiser,
    build_networks,
    denoiser_checkpoint,
)
from models.architectures import ARCHITECTURES
from noise.fitting import Fit
from noise.gains import GainBank, bank_path, write_bank
from options.train_denoiser import network_config, train_denoiser_options, train_denoiser_parser
from synthesis import training_noise
from tests.conftest import read_csv
from tests.noisy_set import CAMERA, make_set, make_weights
from tests.refusal import refused
from tests.runs import assert_same, logged, newest_state
from utils import checkpoints
from utils.image import read_image, write_image

OTHER = "YY"  # a second camera
OPTIONS = """
    --name run --cam_name ZZ --patch_size 32 --batch_size 4 --num_workers 0 --log_step 1 --test_epoch 100
    --device cpu --epochs 3
"""
DNCNN = "--nc 4 --nb 3 --init_type kaiming"
MIX = ("--source", "real:2", "neca-w", "neca-s", "awgn", "heteroscedastic", "coloured", "--pretrain_dir")


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Eight training pairs and four test pairs, weights, and a fit that takes no seconds."""
    make_set(tmp_path)
    make_weights(tmp_path)
    mean, std = torch.zeros(3, 256), torch.full((3, 256), 9 / 255)
    kernel = torch.eye(3)[:, :, None, None] * torch.tensor([0.0, 0.8, 0.6])
    kernel = torch.nn.functional.pad(kernel, (0, 0, 1, 1))
    fit = Fit(9 / 255, mean, std, kernel, torch.eye(12)[:, :, None, None])
    monkeypatch.setattr(training_noise, "fit_noise", lambda pairs, *_: dict.fromkeys(pairs, fit))
    return tmp_path


def words(root: Path, *more: str, save: str = "saves") -> list[str]:
    folders = ["--train_img_dir", root / "data", "--data_prep_dir", root / "lists", "--dir_save", root / save / "d"]
    network = [] if "--arch" in more else DNCNN.split()
    return [str(word) for word in (*folders, *OPTIONS.split(), *network, *more)]


def train(root: Path, *more: str, save: str = "saves") -> None:
    main_train_denoiser.main(words(root, *more, save=save))


def refuse(root: Path, capsys, *more: str) -> str:
    """Run the command as from the shell -> its only line of error."""
    return refused(capsys, main_train_denoiser.main, words(root, *more))


def run_folder(root: Path, save: str = "saves", name: str = "run") -> Path:
    return root / save / "d" / name


def state(root: Path, save: str = "saves") -> dict:
    return newest_state(run_folder(root, save))


def rows(root: Path, kind: str, save: str = "saves") -> list[dict]:
    return logged(run_folder(root, save), kind)


def add_camera(root: Path) -> None:
    """Give the data set a second camera with the same images, less noise and weights of its own."""
    for folder in list((root / "data").iterdir()):
        copy = root / "data" / folder.name.replace(f"_{CAMERA}_", f"_{OTHER}_")
        shutil.copytree(folder, copy)
    for half in ("train", "test"):
        text = (root / "lists" / f"{CAMERA}_{half}.txt").read_text()
        (root / "lists" / f"{OTHER}_{half}.txt").write_text(text.replace(f"_{CAMERA}_", f"_{OTHER}_"))
    shutil.copytree(root / "pretrain" / CAMERA, root / "pretrain" / OTHER)


def test_run_writes_checkpoints_logs_options_and_a_panel(root):
    train(root, "--source", "real", "--test_epoch", "1", "--ema", "0.9", "--keep_checkpoints", "2")
    folder = run_folder(root)
    assert [row["step"] for row in rows(root, "train")] == [1, 2, 3, 4, 5, 6]  # 8 pairs in batches of 4, 3 epochs
    assert set(rows(root, "train")[0]) == {"kind", "step", "epoch", "rec"}
    assert [row["step"] for row in rows(root, "test")] == [2, 4, 6]
    assert set(rows(root, "test")[0]) == {"kind", "step", "epoch", "psnr", "ssim", "psnr_ema", "ssim_ema"}
    for place in ("models", "models/ema"):
        names = {path.name for path in (folder / place).glob("checkpoint*")}
        assert names == {f"checkpoint_G3_{epoch:08d}.pth" for epoch in (2, 3)}
    network = load_network("G3", folder / "models" / "checkpoint_G3_00000003.pth")
    assert network.config["nc"] == 4
    assert read_image(folder / "imgs" / "test_00000006.png").ndim == 3
    assert json.loads((folder / "options.json").read_text())["source"] == ["real"]


def test_tested_psnr_is_that_of_the_rounded_denoised_image(root):
    train(root, "--source", "real")
    network = load_network("G3", run_folder(root) / "models" / "checkpoint_G3_00000003.pth")
    values = []
    for scene in (root / "lists" / f"{CAMERA}_test.txt").read_text().split():
        for noisy in (root / "data" / scene / "noisy").iterdir():
            clean = read_image(root / "data" / scene / "clean" / noisy.name.replace("NOISY", "GT"))
            image = torch.from_numpy(read_image(noisy)).permute(2, 0, 1)[None] / 255
            with torch.no_grad():
                denoised = (network(image).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
            values.append(10 * np.log10(255**2 / np.mean((denoised - clean) ** 2)))
    assert rows(root, "test")[-1]["psnr"] == pytest.approx(np.mean(values), abs=1e-3)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_resumed_run_of_mixed_sources_is_bit_identical_to_an_uninterrupted_one(root, workers):
    mix = (*MIX, root / "pretrain", "--ema", "0.9")
    train(root, *mix, save="whole")
    for steps in ("1", "3", "6"):
        train(root, *mix, "--steps", steps, "--num_workers", workers)
    assert_same(state(root), state(root, "whole"))
    assert {row["step"]: row for row in rows(root, "train")} == {
        row["step"]: row for row in rows(root, "train", "whole")
    }


def test_real_source_equals_plain_training_on_the_pairs(root):
    train(root, "--source", "real", "--seed", "7")
    names = (root / "lists" / f"{CAMERA}_train.txt").read_text().split()
    images = find_pairs([root / "data" / name for name in names], 32)
    patches = PatchDataset(FileReader(images), 32, True, 7)
    network = build_networks({"G3": {"nc": 4, "nb": 3}}, "kaiming", 7)["G3"]
    model = DenoiserModel(network, DenoiserOptions())
    for step, key in enumerate(BatchSampler(len(images), 4, True, 7, 0, 6), start=1):
        model.train_batch(to_device(patches[key], "cpu", True), step, 1)
    assert_same(state(root)["model"], model.state_dict())


def test_source_of_a_vanishing_share_changes_nothing(root):
    train(root, "--source", "real:1", "awgn:1e-9", "--sigma", "99")
    train(root, "--source", "real", save="real")
    assert_same(state(root), state(root, "real"))


def test_loss_falls_and_real_test_images_get_cleaner(root):
    learning = ("--nc", "8", "--epochs", "40", "--lr", "0.01", "--lr_decay", "30", "--test_epoch", "4")
    train(root, "--source", "awgn", "--sigma", "8:16", *learning)
    losses = [row["rec"] for row in rows(root, "train")]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    psnr = [row["psnr"] for row in rows(root, "test")]
    assert psnr[-1] > psnr[0] + 3


def test_each_camera_has_its_own_images_and_generator(root, monkeypatch):
    add_camera(root)
    seen = []
    plain = main_train_denoiser.DenoiserModel.train_batch
    monkeypatch.setattr(
        main_train_denoiser.DenoiserModel,
        "train_batch",
        lambda self, batch, *when: seen.extend(batch["name"]) or plain(self, batch, *when),
    )
    train(root, "--cam_name", CAMERA, OTHER, "--source", "neca-w", "--pretrain_dir", root / "pretrain", "--epochs", "1")
    cameras = [Path(name).parent.parent.name.split("_")[2] for name in seen]
    assert sorted(cameras) == [OTHER] * 8 + [CAMERA] * 8  # one epoch: every pair once


def test_folder_of_synthetic_pairs_trains_alone_and_mixed(root):
    for number in range(2):
        image = np.random.default_rng(number).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        write_image(root / "photos" / f"{number}.png", image)
    made = root / "pairs"
    main_synthesize.main(
        [
            *("--input_dir", str(root / "photos"), "--output_dir", str(made), "--layout", "sidd", "--per_image", "2"),
            *("--cam_name", CAMERA, "--pretrain_dir", str(root / "pretrain"), "--gain", "0.05", "--device", "cpu"),
        ]
    )
    train(root, "--source", f"folder={made}", "--epochs", "2")
    assert rows(root, "train")[-1]["step"] == 2  # four pairs are an epoch
    train(root, "--source", f"folder={made}:0.5", "real:0.5", "--name", "mixed")
    assert json.loads((run_folder(root, name="mixed") / "options.json").read_text())["source"] == ["pairs", "real"]


def test_best_denoiser_is_that_of_the_test_with_the_highest_psnr(root):
    train(root, "--source", "real", "--keep_best", "--test_epoch", "1", "--ema", "0.5", "--epochs", "5", "--lr", "0.05")
    found = {(row["epoch"], name): row[name] for row in rows(root, "test") for name in ("psnr", "psnr_ema")}
    epoch, name = max(found, key=found.get)
    record = json.loads((run_folder(root) / "models" / "best" / "best.json").read_text())
    assert (record["epoch"], record["psnr"]) == (epoch, found[epoch, name])
    assert record["weights"] == ("averaged" if name == "psnr_ema" else "raw")
    place = run_folder(root) / "models" / ("ema" if name == "psnr_ema" else "")
    kept, numbered = (
        checkpoints.load_checkpoint(path)["model_state_dict"]
        for path in (
            run_folder(root) / "models" / "best" / "checkpoint_G3.pth",
            place / f"checkpoint_G3_{epoch:08d}.pth",
        )
    )
    assert_same(kept, numbered)


def test_not_train_tests_the_newest_checkpoint_again(root):
    train(root, "--source", "real")
    train(root, "--source", "real", "--not_train", "--test_images", "2", "--verbose")
    assert [row["step"] for row in rows(root, "test")] == [6, 6]


def test_not_train_without_a_run_is_refused(root, capsys):
    assert "train first" in refuse(root, capsys, "--source", "real", "--not_train")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("--source", "real", "awgn"), "--source"),
        (("--source", "real:3", "neca-w:1"), "--source"),
        (("--loss", "l1"), "--loss"),
        (("--lr_decay", "5"), "--lr_decay"),
        (("--nc", "6"), "--nc"),
    ],
)
def test_changed_option_is_refused_on_resume(root, capsys, change, named):
    begun = ("--source", "real", "neca-w", "--pretrain_dir", root / "pretrain")
    train(root, *begun, "--steps", "1")
    assert named in refuse(root, capsys, *begun, *change)


def test_changed_weights_of_a_generator_are_refused_on_resume_and_moved_ones_are_not(root, capsys):
    train(root, "--source", "neca-w", "--pretrain_dir", root / "pretrain", "--steps", "1")
    moved = root / "elsewhere"
    shutil.copytree(root / "pretrain", moved)
    train(root, "--source", "neca-w", "--pretrain_dir", moved, "--steps", "2")
    path = moved / CAMERA / "checkpoint_G2.pth"
    checkpoints.save_checkpoint(path, checkpoints.load_checkpoint(path) | {"epoch": 9})
    message = refuse(root, capsys, "--source", "neca-w", "--pretrain_dir", str(moved))
    assert "weights of the generators" in message
    assert "--pretrain_dir" in message


def test_changed_gain_bank_is_refused_on_resume(root, capsys):
    begun = ("--source", "neca-w", "--gain_from", "bank", "--pretrain_dir", str(root / "pretrain"))
    path = bank_path(root / "pretrain" / CAMERA)
    write_bank(path, GainBank(CAMERA, "", {800: [("a", 0.03)]}))
    train(root, *begun, "--steps", "1")
    write_bank(path, GainBank(CAMERA, "", {800: [("a", 0.04)]}))
    assert "gain banks" in refuse(root, capsys, *begun)


def test_changed_fit_is_refused_on_resume(root, capsys):
    train(root, "--source", "awgn", "--steps", "1")
    [path] = run_folder(root).glob("fitted_noise_*.pth")
    content = checkpoints.load_checkpoint(path)
    content["models"][CAMERA][800]["awgn"] = 0.1
    checkpoints.save_checkpoint(path, content)
    assert "fitted noise" in refuse(root, capsys, "--source", "awgn")


def test_noise_level_and_sigma_need_no_fit(root, monkeypatch):
    monkeypatch.setattr(training_noise, "fit_noise", None)
    given = ("--source", "neca-s", "awgn", "--noise_level", "10:20", "--sigma", "15")
    train(root, *given, "--pretrain_dir", root / "pretrain", "--steps", "1")
    assert not list(run_folder(root).glob("fitted_noise*"))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (("--source", "reel"), "reel"),
        (("--source", "real:0"), "real:0"),
        (("--source", "real:-1"), "above 0"),
        (("--source", "real:nan"), "above 0"),
        (("--source", "real:half"), "above 0"),
        (("--source", "real", "real:2"), "twice"),
        (("--source", "folder="), "path"),
        (("--source", "folder=/absent"), "/absent"),
        (("--source", "neca-w"), "checkpoint_E.pth"),
        (("--source", "real", "--sigma", "5"), "--sigma"),
        (("--source", "real", "--noise_level", "5"), "--noise_level"),
        (("--source", "real", "--gain_from", "bank"), "--gain_from"),
        (("--source", "neca-w", "--patch_size", "36"), "--patch_size"),
        (("--source", "real", "--patch_size", "128"), "--patch_size"),
        (("--source", "real", "--batch_size", "9"), "--batch_size"),
        (("--source", "real", "--cam_name", "GP"), "GP"),
        (("--source", "real", "--cam_name", "ZZ", "ZZ"), "twice"),
        (("--source", "real", "--name", "../up"), "--name"),
        (("--source", "real", "--beta1", "1"), "--beta1"),
        (("--source", "real", "--nb", "1"), "--nb"),
    ],
)
def test_what_cannot_be_is_one_line_and_trains_nothing(root, capsys, wrong, named):
    assert named in refuse(root, capsys, "--pretrain_dir", str(root / "absent"), *wrong)
    assert not list(root.glob("saves/**/*.pth"))


def test_missing_gain_bank_names_the_command_that_makes_it(root, capsys):
    pretrain = str(root / "pretrain")
    message = refuse(root, capsys, "--source", "neca-w", "--gain_from", "bank", "--pretrain_dir", pretrain)
    assert "main_export.py gains" in message
    assert str(root / "pretrain" / CAMERA) in message


def test_folder_without_pairs_is_named(root, capsys):
    empty = root / "pairs" / f"0001_001_{CAMERA}_00800_00100_5500_N"
    empty.mkdir(parents=True)
    message = refuse(root, capsys, "--source", f"folder={root / 'pairs'}")
    assert str(empty) in message
    assert "--source folder=" in message


def test_defaults_are_the_paper_s():
    args = train_denoiser_options(train_denoiser_parser(), [])
    assert (args.nc, args.nb, args.act_mode, args.lr, args.epochs, args.loss) == (64, 20, "BR", 1e-3, 300, "mse")
    assert (args.beta1, args.beta2) == (0.9, 0.999)
    assert args.name == "neca-w_G4+GP+IP+N6+S6"


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["real:0.5", "neca-w:0.5"], "real+neca-w_ZZ"),
        (["real:0.7", "neca-w:0.3"], "real0.7+neca-w0.3_ZZ"),
        (["folder=/some/where:2"], "where_ZZ"),
    ],
)
def test_name_of_a_run_says_its_sources_and_cameras(sources, name):
    arguments = ["--source", *sources, "--cam_name", "ZZ"]
    assert train_denoiser_options(train_denoiser_parser(), arguments).name == name


def test_refused_resume_leaves_the_fit_of_the_run_as_it_is(root, capsys):
    train(root, "--source", "awgn", "--steps", "1")
    before = {path: path.read_bytes() for path in run_folder(root).glob("fitted_noise*")}
    assert "fit_images" in refuse(root, capsys, "--source", "awgn", "--fit_images", "1")
    assert before
    assert {path: path.read_bytes() for path in before} == before


def test_other_images_of_the_same_names_in_another_folder_are_noticed_on_resume(root, capsys):
    for version, gain in (("one", 1), ("two", 0)):
        for path in (root / "data").rglob("*.png"):
            image = read_image(path)
            changed = image if path.parent.name == "clean" else image * gain
            write_image(root / version / "set" / path.relative_to(root / "data"), changed)
    train(root, "--source", f"folder={root / 'one' / 'set'}", "--epochs", "1")
    assert "training images" in refuse(root, capsys, "--source", f"folder={root / 'two' / 'set'}", "--epochs", "2")
    train(root, "--source", f"folder={root / 'one' / 'set'}", "--epochs", "2")


class Smoother(torch.nn.Module):
    """An architecture as CONTRIBUTING describes it: a convolution on every other pixel, added back."""

    margin = 4

    def __init__(self, in_nc: int = 3, out_nc: int = 3, kernel: int = 3):
        super().__init__()
        self.config = {"in_nc": in_nc, "out_nc": out_nc, "kernel": kernel}
        self.change = torch.nn.Conv2d(in_nc, out_nc, kernel, padding=kernel // 2)

    def forward(self, noisy):
        return noisy + self.change(noisy)


def test_an_architecture_that_is_added_to_the_table_is_trained_saved_loaded_and_judged(root, monkeypatch, capsys):
    row = Architecture("Smoother", Smoother, {"kernel": "side of the kernel"})
    monkeypatch.setitem(ARCHITECTURES, "smoother", row)
    begun = ("--source", "real", "--arch", "smoother", "--kernel", "5")
    train(root, *begun, "--steps", "4", save="parts")
    train(root, *begun, save="parts")
    train(root, *begun)
    assert_same(state(root, "parts"), state(root))
    assert "--kernel" in refuse(root, capsys, *begun[:-1], "7")
    assert "--arch" in refuse(root, capsys, "--source", "real", "--arch", "dncnn")
    network = load_network("G3", run_folder(root) / "models" / "checkpoint_G3_00000003.pth")
    assert type(network) is Smoother and network.config["kernel"] == 5
    noisy = torch.rand(1, 3, 24, 40)
    with torch.no_grad():
        torch.testing.assert_close(TiledDenoiser(network, tile=8)(noisy), network(noisy))
    psnr = psnr_of(root, f"smooth={run_folder(root)}")
    assert psnr["smooth"] != psnr["noisy"]
    assert "Smoother (kernel 5), epoch 3" in make_denoiser(str(run_folder(root)), torch.device("cpu")).identity
    export = ["denoiser", "--denoiser", str(run_folder(root)), "--output", str(root / "x.safetensors")]
    assert "architecture smoother, but other programs know" in refused(capsys, main_export.main, export)


def psnr_of(root: Path, denoiser: str) -> dict[str, float]:
    """Judge a denoiser on the data set's test images: the mean PSNR of each row of the table."""
    folders = ["--data_dir", root / "data", "--data_prep_dir", root / "lists", "--output_dir", root / "out"]
    main_eval.main(["denoise", *map(str, folders), "--cam_name", CAMERA, "--device", "cpu", "--denoisers", denoiser])
    found: dict[str, list[float]] = {}
    for row in read_csv(root / "out" / "results.csv"):
        found.setdefault(row["denoiser"], []).append(float(row["psnr"]))
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_a_nafnet_learns_is_judged_and_is_exported_for_other_programs(root):
    spandrel = pytest.importorskip("spandrel")
    network = ["--arch", "nafnet", "--nc", "8", "--enc_nb", "1", "--middle_nb", "1", "--dec_nb", "1"]
    train(root, "--source", "real", *network, "--epochs", "30", "--lr", "0.005", "--ema", "0.5")
    losses = [row["rec"] for row in rows(root, "train")]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])
    psnr = psnr_of(root, f"naf={run_folder(root)}")
    assert psnr["naf"] > psnr["noisy"] + 0.1
    main_export.main(["denoiser", "--denoiser", str(run_folder(root)), "--output", str(root / "naf.safetensors")])
    theirs = spandrel.ModelLoader().load_from_file(root / "naf.safetensors").eval()
    noisy = np.random.default_rng(0).random((20, 24, 3), dtype=np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(noisy).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    denoiser = make_denoiser(str(root / "naf.safetensors"), torch.device("cpu"), tile=8)
    assert denoiser.identity.startswith("NAFNet (nc 8, enc_nb 1, middle_nb 1, dec_nb 1), epoch 30")
    np.testing.assert_allclose(denoiser.denoise(noisy).clip(0, 1), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "wrong", "named"),
    [
        ("nafnet", ("--act_mode", "R"), "--act_mode: nafnet has none, expected --nc, --enc_nb"),
        ("dncnn", ("--middle_nb", "2"), "--middle_nb: dncnn has none"),
        ("nafnet", ("--enc_nb", "1"), "--arch nafnet: enc_nb of 1 levels and dec_nb of 4"),
        ("nafnet", ("--dec_nb", "0"), "--dec_nb"),
        ("nafnet", ("--nb", "1"), "--nb: nafnet has none"),
    ],
)
def test_sizes_of_another_architecture_are_refused(arch, wrong, named, capsys):
    with pytest.raises(SystemExit):
        train_denoiser_options(train_denoiser_parser(), ["--arch", arch, *wrong])
    message = capsys.readouterr().err
    assert named in message and message.count("\n") == 1


def test_sizes_without_an_option_are_the_architectures_own():
    args = train_denoiser_options(train_denoiser_parser(), ["--arch", "nafnet"])
    assert network_config(args) == NAFNet().config
    assert (args.init_type, args.nb, args.act_mode) == ("own", None, None)


def test_a_dncnn_of_this_command_begins_a_joint_training_and_a_nafnet_does_not(tmp_path):
    joint = {"G3": build_denoiser("dncnn", {"nc": 4, "nb": 3}, "kaiming", 1)}
    for arch, sizes in (("dncnn", {"nc": 4, "nb": 3}), ("nafnet", {"nc": 4})):
        save = denoiser_checkpoint(build_denoiser(arch, sizes, "own", 0), 5)
        checkpoints.save_checkpoint(tmp_path / f"{arch}.pth", save)
    assert begin_from(joint, {"G3": "dncnn.pth"}, [tmp_path], logging.getLogger("test")) == 5
    with pytest.raises(ValueError, match=r"nafnet.pth: was built with G3_arch nafnet, not dncnn"):
        begin_from(joint, {"G3": "nafnet.pth"}, [tmp_path], logging.getLogger("test"))
