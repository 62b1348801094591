"""Denoisers: tiles without seams, the self-ensemble, checkpoints, classic methods."""

import argparse
import hashlib
import random
import shutil
import sys
import time
import types
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import cv2
import numpy as np
import pytest
import torch

import evaluation.denoisers
from evaluation.denoisers import estimate_noise_level, make_denoiser
from inference import TiledDenoiser, load_network
from models import DnCNN, network_checkpoint
from models.network_dncnn import dncnn_config
from tests.tiny import tiny_networks
from utils.checkpoints import save_checkpoint

CPU = torch.device("cpu")
NOISY = np.random.default_rng(0).random((24, 31, 3), dtype=np.float32)


def random_dncnn(seed: int, nb: int, act_mode: str = "BR", dtype: torch.dtype = torch.float64) -> DnCNN:
    """A DnCNN in eval mode whose BatchNorm, if any, has seen data."""
    torch.manual_seed(seed)
    network = DnCNN(nc=5, nb=nb, act_mode=act_mode).to(dtype)
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.normal_()
            layer.bias.data.normal_()
    return network.eval()


def save(path, network, **more):
    save_checkpoint(path, network_checkpoint(network, 7) | more)
    return path


@pytest.mark.parametrize("seed", range(8))
def test_tiles_give_what_the_whole_image_does_up_to_its_borders(seed):
    chance = random.Random(seed)
    network = random_dncnn(seed, nb=chance.randint(2, 6), act_mode=chance.choice(["R", "BR", "BL"]))
    noisy = torch.rand(chance.randint(1, 2), 3, chance.randint(9, 60), chance.randint(9, 60), dtype=torch.float64)
    with torch.no_grad():
        expected = network(noisy)
    for tile in (0, 8, 16):
        assert (TiledDenoiser(network, tile, dtype=torch.float64)(noisy) - expected).abs().max() < 1e-12


def test_receptive_field_is_what_the_gradient_reaches():
    network = random_dncnn(0, nb=4, act_mode="R")
    for weights in network.parameters():  # positive: nothing cancels, and no ReLU closes
        torch.nn.init.uniform_(weights, 0.1, 1)
    noisy = torch.rand(1, 3, 31, 31, dtype=torch.float64).requires_grad_()
    network(noisy)[:, :, 15, 15].sum().backward()
    reached = noisy.grad.abs().amax(dim=(0, 1, 3)).nonzero()
    assert TiledDenoiser(network).margin == 15 - reached.min().item() == 4


def test_self_ensemble_is_the_mean_over_the_symmetries_of_the_square():
    network = random_dncnn(1, nb=3)
    noisy = torch.rand(1, 3, 14, 19, dtype=torch.float64)

    def plain(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(image.copy())[None])[0].numpy()

    image, outputs = noisy[0].numpy(), []
    for transposed in (False, True):
        for rows in (1, -1):
            for columns in (1, -1):
                view = image.transpose(0, 2, 1) if transposed else image
                output = plain(view[:, ::rows, ::columns])[:, ::rows, ::columns]
                outputs.append(output.transpose(0, 2, 1) if transposed else output)
    got = TiledDenoiser(network, tile=8, self_ensemble=True, dtype=torch.float64)(noisy)[0].numpy()
    np.testing.assert_allclose(got, np.mean(outputs, axis=0), rtol=0, atol=1e-12)
    assert np.abs(got - outputs[0]).max() > 1e-3


def test_instance_normalisation_sees_the_whole_image_whatever_the_tile():
    network = random_dncnn(0, nb=3, act_mode="IR")
    noisy = torch.rand(1, 3, 20, 20, dtype=torch.float64)
    with torch.no_grad():
        expected = network(noisy)
    for tile in (0, 8):
        assert (TiledDenoiser(network, tile, dtype=torch.float64)(noisy) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("act_mode", ["R", "BR", "IR"])
def test_sizes_are_told_by_the_weights_of_a_file_without_config(tmp_path, act_mode):
    network = random_dncnn(0, nb=4, act_mode=act_mode, dtype=torch.float32)
    path = tmp_path / "published.pth"
    save_checkpoint(path, {"epoch": 1, "model_state_dict": network.state_dict()})
    found = load_network("G3", path)
    assert found.config == network.config
    image = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(found(image), network(image))


def test_weights_without_a_convolution_leave_the_papers_sizes():
    assert dncnn_config({"step": 3}) == {}


def test_network_denoises_arrays_without_clipping(tmp_path):
    network = random_dncnn(0, nb=3, dtype=torch.float32)
    denoiser = make_denoiser(f"mine={save(tmp_path / 'a.pth', network)}", CPU, tile=8)
    with torch.no_grad():
        expected = network(torch.from_numpy(NOISY.transpose(2, 0, 1)[None].copy()))[0].numpy().transpose(1, 2, 0)
    output = denoiser.denoise(NOISY)
    assert denoiser.name == "mine" and output.dtype == np.float32
    np.testing.assert_allclose(output, expected, atol=1e-6)
    assert output.max() > 1 or output.min() < 0


@pytest.mark.parametrize(
    "given, name",
    [
        ("real_0", "real_0"),
        ("real_0/models", "real_0"),
        ("real_0/models/checkpoint_G3_00000010.pth", "real_0"),
        ("real_0/models/ema", "real_0"),
        ("nice=real_0", "nice"),
    ],
)
def test_folder_of_a_run_gives_its_newest_checkpoint(tmp_path, given, name):
    for epoch, seed in ((9, 1), (10, 2), (2, 3)):
        network = random_dncnn(seed, nb=2, dtype=torch.float32)
        for folder in ("models", "models/ema"):
            save(tmp_path / "real_0" / folder / f"checkpoint_G3_{epoch:08d}.pth", network)
    own, _, path = given.rpartition("=")
    denoiser = make_denoiser(f"{own}={tmp_path / path}" if own else str(tmp_path / path), CPU)
    newest = tmp_path / "real_0" / "models" / "checkpoint_G3_00000010.pth"
    assert list(denoiser.weights.values()) == [hashlib.sha256(newest.read_bytes()).hexdigest()]
    assert denoiser.name == name


def test_identity_tells_weights_and_ensemble_but_not_the_place(tmp_path):
    one, other = (random_dncnn(seed, nb=2, dtype=torch.float32) for seed in (0, 1))
    paths = [save(tmp_path / "a.pth", one), tmp_path / "b.pth", save(tmp_path / "c.pth", other)]
    shutil.copy(paths[0], paths[1])
    same, moved, different = (make_denoiser(str(path), CPU).identity for path in paths)
    assert same == moved != different
    assert make_denoiser(str(paths[0]), CPU, self_ensemble=True).identity != same
    assert make_denoiser("nlm", CPU, sigma=5).identity != make_denoiser("nlm", CPU, sigma=6).identity


@pytest.mark.parametrize(
    "spec, message",
    [
        ("{root}/nothing.pth", "nothing.pth: no such checkpoint"),
        ("real={root}/nothing", "nothing: no such checkpoint"),
        ("{root}/empty", "empty: has no checkpoint_G3_"),
        ("blur", "blur: no denoiser, expected noisy, nlm, bm3d"),
        ("nlm={root}/a.pth", "'nlm' is the name of a method"),
        ("={root}/a.pth", "NAME="),
        ("name=", "NAME="),
        ("{root}/genet.pth", r"genet.pth: no checkpoint of DnCNN, denoiser \(G3\)"),
        ("{root}/cut.pth", "cut.pth: damaged"),
        ("{root}/nan.pth", "nan.pth: .* not finite"),
    ],
)
def test_what_is_no_denoiser_is_named_in_one_line(tmp_path, spec, message):
    (tmp_path / "empty").mkdir()
    network = random_dncnn(0, nb=2, dtype=torch.float32)
    path = save(tmp_path / "a.pth", network)
    (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:-200])
    genet = tiny_networks(dtype=torch.float32)["E"]
    save_checkpoint(tmp_path / "genet.pth", {"epoch": 1, "model_state_dict": genet.state_dict()})
    network.model[0].weight.data[0, 0, 0, 0] = float("nan")
    save(tmp_path / "nan.pth", network)
    with pytest.raises(ValueError, match=message) as error:
        make_denoiser(spec.format(root=tmp_path), CPU)
    assert "\n" not in str(error.value)


def flat_image(std: float, blur: float = 0) -> np.ndarray:
    """A ramp with Gaussian noise, correlated with `blur`: -> (192, 192, 3) float32."""
    noise = np.random.default_rng(0).normal(0, 1, (192, 192, 3))
    if blur:
        noise = cv2.GaussianBlur(noise, (0, 0), blur)
    ramp = np.linspace(0.3, 0.7, 192)[:, None, None]
    return (ramp + std * noise / noise.std()).astype(np.float32)


@pytest.mark.parametrize("blur", [0, 0.55])  # 0.55: a correlation of neighbours of .43, as of SIDD's cameras
def test_noise_level_is_estimated_though_neighbours_correlate(blur):
    pytest.importorskip("pywt")
    assert estimate_noise_level(flat_image(0.05, blur)) == pytest.approx(0.05, rel=0.05)


def test_image_without_noise_has_level_zero_and_stays():
    pytest.importorskip("pywt")
    flat = np.full((32, 32, 3), 0.5, np.float32)
    assert estimate_noise_level(flat) == 0
    assert np.array_equal(make_denoiser("nlm", CPU).denoise(flat), flat)


def test_non_local_means_is_opencvs_with_the_noise_level_as_strength():
    image = np.random.default_rng(1).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    expected = cv2.cvtColor(cv2.fastNlMeansDenoisingColored(bgr, None, 30, 30, 7, 21), cv2.COLOR_BGR2RGB)
    output = make_denoiser("nlm", CPU, sigma=30).denoise(image.astype(np.float32) / 255)
    assert np.array_equal(np.rint(output * 255), expected)


def rms(image: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image - flat_image(0)[: len(image), : image.shape[1]]) ** 2)))


def test_bm3d_removes_white_noise_in_a_process_of_its_own():
    pytest.importorskip("bm3d")
    noisy = flat_image(0.05)[:32, :32]
    output = make_denoiser("bm3d", CPU, sigma=0.05 * 255, num_workers=1).denoise(noisy)
    assert output.dtype == np.float32 and rms(output) < rms(noisy) / 3


@pytest.fixture
def counting_bm3d(monkeypatch) -> list[int]:
    """In place of the package: how many calls are at work when one begins."""
    at_work, counts = [], []

    def bm3d_rgb(noisy, level):
        at_work.append(1)
        counts.append(len(at_work))
        time.sleep(0.02)
        at_work.pop()
        return noisy.astype(np.float64)

    monkeypatch.setitem(sys.modules, "bm3d", types.SimpleNamespace(bm3d_rgb=bm3d_rgb, __spec__=object()))
    return counts


def test_bm3d_is_called_by_one_thread_at_a_time(counting_bm3d):
    """The package ends the whole process when two call it."""
    denoiser = make_denoiser("bm3d", CPU, sigma=5)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(denoiser.denoise, [NOISY] * 4))
    assert counting_bm3d == [1] * 4


def test_image_too_small_for_bm3d_is_refused(counting_bm3d):
    with pytest.raises(ValueError, match="sides from 16"):
        make_denoiser("bm3d", CPU, sigma=5).denoise(NOISY[:8])
    assert not counting_bm3d


def test_process_that_is_killed_is_told(counting_bm3d, monkeypatch):
    broken = Future()
    broken.set_exception(BrokenProcessPool())
    pool = types.SimpleNamespace(submit=lambda *call: broken)
    monkeypatch.setattr(evaluation.denoisers, "ProcessPoolExecutor", lambda *args: pool)
    with pytest.raises(ValueError, match="bm3d: its process was killed"):
        make_denoiser("bm3d", CPU, sigma=5, num_workers=1).denoise(NOISY)


def test_package_that_is_absent_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(evaluation.denoisers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"not for commercial use.*pip install bm3d"):
        make_denoiser("bm3d", CPU, sigma=5)
    with pytest.raises(ValueError, match="pip install PyWavelets"):
        make_denoiser("nlm", CPU)
    assert make_denoiser("nlm", CPU, sigma=5)


def test_package_that_cannot_be_loaded_is_told_before_the_work_begins(tmp_path, monkeypatch):
    """It was found, and failed at the first image, with the results of all other denoisers lost."""
    (tmp_path / "bm3d.py").write_text("raise OSError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "bm3d", raising=False)
    with pytest.raises(ValueError, match=r"bm3d .*cannot be loaded \(libgomp.so.1: cannot open.*reinstall bm3d"):
        make_denoiser("bm3d", CPU, sigma=5)


def save_nafnet(path, **more):
    """A small NAFNet, as its authors save it, and the network itself."""
    nafnet = pytest.importorskip("spandrel.architectures.NAFNet").NAFNet
    torch.manual_seed(0)
    network = nafnet(width=4, middle_blk_num=1, enc_blk_nums=[1], dec_blk_nums=[1])
    for weights in network.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    torch.save({"params": network.state_dict()} | more, path)
    return network.eval()


@pytest.mark.parametrize("self_ensemble", [False, True])
def test_a_network_of_spandrel_denoises_as_it_does_alone(tmp_path, self_ensemble):
    network = save_nafnet(tmp_path / "nafnet.pth")
    denoiser = make_denoiser(f"NAFNet={tmp_path / 'nafnet.pth'}", CPU, tile=0, self_ensemble=self_ensemble)
    assert denoiser.identity.startswith("NAFNet 4w (spandrel")
    with torch.no_grad():
        image = torch.from_numpy(NOISY).permute(2, 0, 1)[None]
        turns = [(image, lambda x: x)]
        if self_ensemble:
            turns = [
                (torch.rot90(view, quarter, (2, 3)), lambda x, q=quarter, f=flip: torch.rot90(x, -q, (2, 3)).flip(f))
                for quarter in range(4)
                for flip, view in (((), image), ((3,), image.flip(3)))
            ]
        expected = torch.stack([back(network(view).clamp(0, 1)) for view, back in turns]).mean(0)
    np.testing.assert_allclose(denoiser.denoise(NOISY), expected[0].permute(1, 2, 0), atol=1e-5)


def test_a_network_of_spandrel_is_said_to_depend_on_its_tiles(tmp_path):
    save_nafnet(tmp_path / "nafnet.pth")
    denoiser = make_denoiser(str(tmp_path / "nafnet.pth"), CPU, tile=16)
    assert "tiles of 16 pixels, on which its result may depend" in denoiser.identity
    assert denoiser.denoise(NOISY).shape == NOISY.shape


def test_a_foreign_checkpoint_that_holds_code_is_refused(tmp_path):
    save_nafnet(tmp_path / "nafnet.pth", note=NotData())
    with pytest.raises(ValueError, match=r"nafnet.pth: refused"):
        make_denoiser(str(tmp_path / "nafnet.pth"), CPU)


class NotData:
    """What a checkpoint must not hold."""


def test_weights_of_no_known_network_are_named(tmp_path):
    pytest.importorskip("spandrel")
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=r"x.pth: no denoiser of ours, nor a network that spandrel knows"):
        make_denoiser(str(tmp_path / "x.pth"), CPU)


def test_other_networks_without_spandrel_name_the_package(tmp_path, monkeypatch):
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "x.pth")
    monkeypatch.setattr(evaluation.denoisers, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install spandrel"):
        make_denoiser(str(tmp_path / "x.pth"), CPU)


# What other people's programs save


def in_module(weights: dict, prefix: str) -> dict:
    return {f"{prefix}{key}": value for key, value in weights.items()}


def averaged(network: DnCNN) -> dict:
    average = torch.optim.swa_utils.AveragedModel(network)
    average.update_parameters(network)
    return average.state_dict()


def compiled_inside(network: DnCNN) -> dict:
    return {key.replace("model.", "model._orig_mod."): value for key, value in network.state_dict().items()}


OTHERS = {
    "plain": lambda net: net.state_dict(),
    "DataParallel": lambda net: {"model_state_dict": torch.nn.DataParallel(net).state_dict()},
    "compiled": lambda net: {"model_state_dict": in_module(net.state_dict(), "_orig_mod.")},
    "compiled and parallel": lambda net: in_module(net.state_dict(), "module._orig_mod."),
    "compiled inside": compiled_inside,
    "averaged": averaged,
    "averaged, wrapped": lambda net: {"epoch": 3, "model_state_dict": averaged(net)},
    "average of a parallel one": lambda net: averaged(torch.nn.DataParallel(net)),
    "BasicSR": lambda net: {"params": random_dncnn(9, 4).state_dict(), "params_ema": net.state_dict()},
    "Lightning": lambda net: {
        "epoch": 3,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": in_module(net.state_dict(), "denoiser.") | {"vgg.weight": torch.zeros(3)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}],
        "hyper_parameters": {"lr": 1e-3},
        "loops": {},
    },
    "Lightning, model": lambda net: {"state_dict": in_module(net.state_dict(), "model.")},
    "timm": lambda net: {"model": net.state_dict(), "optimizer": {"state": {}, "param_groups": []}, "epoch": 3},
    "net_g": lambda net: {"net_g": net.state_dict(), "net_d": {"0.weight": torch.zeros(3)}},
    "nested": lambda net: {"model": {"state_dict": net.state_dict()}, "step": 7},
    "another name": lambda net: {"my_denoiser": net.state_dict(), "loss": 0.1},
    "NumPy's scalars": lambda net: {
        "model_state_dict": net.state_dict(),
        "epoch": np.int64(3),
        "psnr": [np.float64(30), np.float32(2)],
        "best": {"is": np.bool_(True), "name": np.str_("a"), "half": np.float16(1)},
    },
}


@pytest.mark.parametrize("act_mode", ["R", "BR", "IR"])
@pytest.mark.parametrize("saved", OTHERS)
def test_our_dncnn_is_found_in_what_other_programs_save(tmp_path, saved, act_mode):
    network = random_dncnn(0, nb=4, act_mode=act_mode, dtype=torch.float32)
    torch.save(OTHERS[saved](network), tmp_path / "x.pth")
    denoiser = make_denoiser(str(tmp_path / "x.pth"), CPU)
    with torch.no_grad():
        expected = network(torch.from_numpy(NOISY.transpose(2, 0, 1)[None].copy()))[0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(denoiser.denoise(NOISY), expected, atol=1e-6)
    assert "DnCNN of 4 layers" in denoiser.identity
    if saved in ("Lightning", "timm", "NumPy's scalars", "averaged, wrapped"):
        assert "epoch 3" in denoiser.identity


def test_grey_dncnn_of_kair_is_a_plain_dict_of_seventeen_layers(tmp_path):
    """KAIR's dncnn_25.pth, whose BatchNorm is merged: model.0, model.2, ..., model.32, 64 channels."""
    torch.manual_seed(0)
    sizes = [(64, 1), *[(64, 64)] * 15, (1, 64)]
    weights = {}
    for number, (out, into) in enumerate(sizes):
        weights[f"model.{2 * number}.weight"] = 0.03 * torch.randn(out, into, 3, 3)
        weights[f"model.{2 * number}.bias"] = 0.1 * torch.randn(out)
    torch.save(weights, tmp_path / "dncnn_25.pth")
    grey = NOISY[..., :1]
    noise = torch.from_numpy(grey.transpose(2, 0, 1)[None].copy())
    for number in range(17):
        layer = weights[f"model.{2 * number}.weight"], weights[f"model.{2 * number}.bias"]
        noise = torch.nn.functional.conv2d(noise.relu() if number else noise, *layer, padding=1)
    denoised = make_denoiser(str(tmp_path / "dncnn_25.pth"), CPU, channels=1).denoise(grey)
    np.testing.assert_allclose(denoised, grey - noise[0].permute(1, 2, 0).numpy(), atol=1e-4)


def ircnn() -> dict:
    return DnCNN(nc=64, nb=7, act_mode="R").state_dict()


@pytest.mark.parametrize(
    "content, message",
    [
        (
            lambda net: {"state_dict": in_module(net.state_dict(), "a.") | in_module(net.state_dict(), "b.")},
            "2 networks",
        ),
        (lambda net: net, r"pickled Python objects \(models\.network_dncnn\.DnCNN, .*\).*save its weights alone"),
        (lambda net: {"model_state_dict": net.state_dict(), "args": argparse.Namespace()}, r"\(argparse\.Namespace\)"),
        (lambda net: {"model_state_dict": net.state_dict(), "losses": np.zeros(3)}, r"\(numpy\..*_reconstruct.*\)"),
        (lambda net: ircnn(), "may be a DnCNN or an IRCNN.*model_state_dict.*config"),
        (lambda net: in_module(net.state_dict(), "model.") | net.state_dict(), "save its weights alone|pip install"),
    ],
)
def test_what_is_in_the_way_of_a_denoiser_is_named_in_one_line(tmp_path, content, message):
    torch.save(content(random_dncnn(0, nb=4, dtype=torch.float32)), tmp_path / "x.pth")
    with pytest.raises(ValueError, match=rf"x\.pth: .*{message}") as error:
        make_denoiser(str(tmp_path / "x.pth"), CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_network_of_spandrel_is_found_behind_the_names_of_wrappers(tmp_path, wrap):
    network = save_nafnet(tmp_path / "nafnet.pth")
    torch.save({"state_dict": wrap(network).state_dict()}, tmp_path / "wrapped.pth")
    one, other = (make_denoiser(str(tmp_path / f"{name}.pth"), CPU) for name in ("nafnet", "wrapped"))
    np.testing.assert_array_equal(other.denoise(NOISY), one.denoise(NOISY))
