"""The library: load_neca and NoiseGenerator.synthesize, what they accept and what they answer."""

import copy
import hashlib
import pickle
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import inference
from inference import MissingWeightsError, NoiseGenerator, TiledDenoiser, load_neca, load_network, white_noise
from inference.image_batch import NOISE_BLOCK
from models import network_checkpoint, synthesize_s, synthesize_w
from models.blocks import exact_convolutions
from noise.gaussian import Coloured
from noise.interface import Images
from tests.conftest import ROOT
from tests.tiny import tiny_networks
from utils.checkpoints import save_checkpoint
from utils.image import to_uint8

SIZE = (50, 70)


@pytest.fixture(scope="module")
def networks():
    return {letter: network.eval() for letter, network in tiny_networks(dtype=torch.float32).items()}


@pytest.fixture(scope="module")
def model(networks):
    return NoiseGenerator(networks, tile=32)


@pytest.fixture(scope="module")
def clean():
    return torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def clean_uint8():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def save_generator(folder, letters=("E", "G1", "G2")):
    networks = tiny_networks(dtype=torch.float32)
    for letter in letters:
        save_checkpoint(folder / f"checkpoint_{letter}.pth", network_checkpoint(networks[letter], 1))


# White noise


@pytest.mark.parametrize("height, width", [(10, 10), (128, 129), (200, 60), (300, 200)])
def test_larger_image_begins_with_the_same_white_noise(height, width):
    larger = white_noise(1, "a", 300, 270)
    assert torch.equal(white_noise(1, "a", height, width), larger[:, :height, :width])


def test_white_noise_is_standard_normal_and_its_blocks_differ():
    noise = white_noise(1, "", 4 * NOISE_BLOCK, 4 * NOISE_BLOCK)
    count = noise.numel()
    assert abs(noise.mean()) < 5 / count**0.5
    assert abs(noise.var() - 1) < 5 * (2 / count) ** 0.5
    blocks = (
        noise.unfold(1, NOISE_BLOCK, NOISE_BLOCK)
        .unfold(2, NOISE_BLOCK, NOISE_BLOCK)
        .permute(1, 2, 0, 3, 4)
        .reshape(16, -1)
    )
    correlations = torch.corrcoef(blocks) - torch.eye(16)
    assert correlations.abs().max() < 6 / blocks.shape[1] ** 0.5


# What determines the noise


@pytest.mark.parametrize("tile", [8, 24, 64, 0])
def test_same_seed_gives_the_same_bytes_whatever_the_tile(model, networks, clean_uint8, tile):
    expected = model.synthesize(clean_uint8, gain=0.1, seed=7, key="a")
    assert np.array_equal(NoiseGenerator(networks, tile=tile).synthesize(clean_uint8, 0.1, seed=7, key="a"), expected)


@pytest.mark.parametrize("other", [{"seed": 2}, {"key": "other"}, {"seed": 1, "key": "1"}])
def test_another_seed_or_key_gives_other_noise(model, clean, other):
    noise = [model.synthesize(clean, noise_level=25, **{"seed": 1, **draw}) - clean for draw in ({}, other)]
    correlation = torch.corrcoef(torch.stack([part.flatten() for part in noise]))[0, 1]
    assert abs(correlation) < 0.2  # 0 of independent noise, 1 of the same; neighbours are correlated


def test_batch_begins_as_its_first_image_alone_and_goes_on_with_other_noise(model, clean):
    batch = model.synthesize(torch.stack([clean, clean]), gain=0.1, seed=3, key="a")
    assert torch.allclose(batch[0], model.synthesize(clean, gain=0.1, seed=3, key="a"), atol=1e-6)
    assert not torch.allclose(batch[0], batch[1], atol=1e-3)


def test_synthesis_leaves_pytorchs_random_numbers_and_the_image_alone(model, clean):
    before, image = torch.get_rng_state(), clean.clone()
    model.synthesize(clean, gain=0.1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(clean, image)


# Kinds of images


def test_array_of_uint8_is_clipped_and_rounded(model, clean_uint8):
    floats = torch.from_numpy(clean_uint8).permute(2, 0, 1) / 255
    expected = to_uint8(model.synthesize(floats, noise_level=60, seed=1).permute(1, 2, 0).numpy())
    noisy = model.synthesize(clean_uint8, noise_level=60, seed=1)
    assert noisy.dtype == np.uint8 and noisy.shape == clean_uint8.shape
    assert np.array_equal(noisy, expected)


def test_tensor_of_uint8_gives_the_bytes_of_the_array(model, clean_uint8):
    noisy = model.synthesize(torch.from_numpy(clean_uint8).permute(2, 0, 1), gain=0.1)
    assert noisy.dtype == torch.uint8
    assert np.array_equal(noisy.permute(1, 2, 0), model.synthesize(clean_uint8, gain=0.1))


def test_floats_are_clipped_only_on_demand(model, clean):
    noisy = model.synthesize(clean, noise_level=100)
    assert noisy.min() < 0 and noisy.max() > 1
    assert torch.equal(model.synthesize(clean, noise_level=100, clip=True), noisy.clamp(0, 1))


def test_bytes_of_floats_and_floats_of_bytes_can_be_asked_for(model, clean, clean_uint8):
    assert model.synthesize(clean, gain=0.1, as_uint8=True).dtype == torch.uint8
    assert model.synthesize(clean_uint8, gain=0.1, as_uint8=False).dtype == np.float32


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_float_types_are_kept(model, clean, kind):
    noisy = model.synthesize(clean.to(kind), gain=0.1)
    assert noisy.dtype == kind
    assert torch.allclose(noisy.float(), model.synthesize(clean.to(kind).float(), gain=0.1), atol=0.01)


def test_read_only_and_mirrored_arrays_are_accepted(model, clean_uint8):
    image = clean_uint8.copy()
    image.flags.writeable = False
    assert np.array_equal(model.synthesize(image, 0.1), model.synthesize(clean_uint8, 0.1))
    mirrored = clean_uint8[:, ::-1]
    assert np.array_equal(model.synthesize(mirrored, 0.1), model.synthesize(mirrored.copy(), 0.1))


def test_maps_are_the_synthesis_of_the_plain_networks(model, networks, clean):
    z = white_noise(5, "a", *SIZE)
    with torch.no_grad():
        expected = synthesize_w(networks["G1"], networks["G2"], clean[None], torch.full((1, 1, 1, 1), 0.1), z[None])
    got = model.synthesize(clean, gain=0.1, seed=5, key="a", maps=True)
    for name in expected._fields:
        assert torch.allclose(getattr(got, name), getattr(expected, name)[0], atol=1e-5), name


def test_answer_can_train_a_network(model, clean):
    layer = torch.nn.Conv2d(3, 1, 3)
    layer(model.synthesize(clean.requires_grad_(), gain=0.1)[None]).sum().backward()
    assert layer.weight.grad.abs().sum() > 0 and clean.grad is None
    clean.requires_grad_(False)


# Strength


@pytest.mark.parametrize("gains, keys", [((0.1, 0.1), "ab"), ((0.02, 0.2), "aa")])
def test_each_image_of_a_batch_may_have_its_own_gain_and_key(model, clean, gains, keys):
    batch = model.synthesize(torch.stack([clean, clean]), gain=list(gains), key=list(keys))
    for image, gain, key in zip(batch, gains, keys):
        assert torch.allclose(image, model.synthesize(clean, gain=gain, key=key), atol=1e-6)


def test_gain_of_a_noisy_image_is_genets(model, networks, clean):
    noisy = torch.stack([clean, clean.flip(1)])
    with torch.no_grad():
        gains = networks["E"](noisy).flatten().tolist()
    assert model.estimate_gain(noisy) == pytest.approx(gains, abs=1e-6)
    assert model.estimate_gain(noisy[1]) == pytest.approx(gains[1], abs=1e-6)
    assert gains[0] != pytest.approx(gains[1], abs=1e-6)
    z = white_noise(0, "", *SIZE)[None]
    with torch.no_grad():
        expected = synthesize_w(networks["G1"], networks["G2"], clean[None], torch.full((1, 1, 1, 1), gains[1]), z)
    assert torch.allclose(model.synthesize(clean, gain_of=noisy[1]), expected.fake[0], atol=1e-5)


def test_noise_level_means_neca_s(model, networks, clean):
    z = white_noise(0, "", *SIZE)[None]
    with torch.no_grad():
        expected = synthesize_s(networks["G2"], clean[None], 15, z).fake[0]
    assert torch.allclose(model.synthesize(clean, noise_level=15), expected, atol=1e-5)


# Half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_within_a_grey_level_and_a_half(dtype, clean_uint8):
    reference, half = (load_neca(ROOT / "pretrain/DC", dtype=kind) for kind in (torch.float32, dtype))
    expected, got = (model.synthesize(clean_uint8, gain=0.1, as_uint8=False) for model in (reference, half))
    assert 0 < np.abs(got - expected).max() < 1.5 / 255


def test_memory_format_changes_nothing(networks, model, clean):
    other = NoiseGenerator(networks, tile=32, channels_last=False).synthesize(clean, gain=0.1)
    assert torch.allclose(other, model.synthesize(clean, gain=0.1), atol=1e-6)


# Loading


def test_loading_changes_no_network_and_pickling_no_noise(networks, model, clean):
    weights = copy.deepcopy(networks["G2"].state_dict())
    again = pickle.loads(pickle.dumps(NoiseGenerator(networks, tile=32)))
    assert all(torch.equal(weights[name], tensor) for name, tensor in networks["G2"].state_dict().items())
    assert torch.equal(again.synthesize(clean, gain=0.1), model.synthesize(clean, gain=0.1))


def test_a_folder_with_ncnet_alone_gives_neca_s(tmp_path, clean):
    save_generator(tmp_path, ["G2"])
    model = load_neca(tmp_path)
    assert model.synthesize(clean, noise_level=25).shape == clean.shape
    with pytest.raises(ValueError, match=r"no NPNet \(G1\).*expected checkpoint_G1\.pth"):
        model.synthesize(clean, gain=0.1)
    with pytest.raises(ValueError, match=r"no GENet \(E\)"):
        model.estimate_gain(clean)


def test_a_camera_is_found_in_a_folder_of_cameras(tmp_path, clean):
    (tmp_path / "GP" / "models").mkdir(parents=True)
    save_generator(tmp_path / "GP" / "models")
    expected = load_neca(tmp_path / "GP" / "models").synthesize(clean, gain=0.1)
    assert torch.equal(load_neca(tmp_path, camera="GP").synthesize(clean, gain=0.1), expected)


def test_a_loaded_generator_knows_its_files_and_their_hash(tmp_path):
    save_generator(tmp_path / "GP")
    model = load_neca(tmp_path, "GP", networks=("G1", "G2"))
    assert model.folder == tmp_path / "GP" and model.genet is None
    assert model.files == {letter: tmp_path / "GP" / f"checkpoint_{letter}.pth" for letter in ("G1", "G2")}
    together = b"".join(model.files[letter].read_bytes() for letter in ("G1", "G2"))
    assert model.weights_hash == hashlib.sha256(together).hexdigest()


def test_networks_that_are_needed_and_absent_are_refused(tmp_path):
    save_generator(tmp_path / "GP", ["G2"])
    with pytest.raises(MissingWeightsError, match=r"checkpoint_E\.pth, checkpoint_G2\.pth"):
        load_neca(tmp_path, "GP", networks=("E", "G2"))


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: has no checkpoints of G2"):
        load_neca(tmp_path)
    with pytest.raises(ValueError, match="camera XY has no weights"):
        load_neca(tmp_path, camera="XY")


# Errors


def image(**change):
    return torch.full((3, 16, 16), 0.5, **change)


@pytest.mark.parametrize(
    "clean,message",
    [
        (np.zeros((16, 16), np.uint8), r"shape \(16, 16\), expected \(H, W, 3\)"),
        (np.zeros((3, 16, 16), np.uint8), r"expected \(H, W, 3\)"),
        (np.zeros((16, 16, 3), np.uint16), "uint16, expected uint8 or float"),
        (np.zeros((16, 16, 3), np.int64), "int64, expected uint8 or float"),
        (np.zeros((16, 16, 3), object), "object, expected uint8 or float"),
        ([[1, 2]], "is a list, expected"),
        ("image.png", "is a str, expected"),
        (torch.zeros(16, 16, 3), r"expected \(3, H, W\) or \(N, 3, H, W\)"),
        (torch.zeros(0, 3, 16, 16), r"shape \(0, 3, 16, 16\), expected"),
        (torch.zeros(3, 7, 16), "at least 8 pixels"),
        (torch.zeros(3, 16, 16, dtype=torch.bool), "bool, expected uint8 or float"),
        (image() * 300, r"values from 150 to 150, expected floats in \[0, 1\]"),
        (image() - 0.6, r"values from -0\.1"),
        (image() * float("nan"), "not finite"),
        (image() * float("inf"), "not finite"),
    ],
)
def test_unfit_image_is_refused(model, clean, message):
    with pytest.raises(ValueError, match=message):
        model.synthesize(clean, gain=0.1)


@pytest.mark.parametrize(
    "options,message",
    [
        ({}, "exactly one of gain, gain_of"),
        ({"gain": 0.1, "noise_level": 25}, "exactly one of gain, gain_of"),
        ({"gain": 1.5}, r"gain 1\.5, expected within \[0, 1\]"),
        ({"gain": -0.1}, r"gain -0\.1, expected within"),
        ({"gain": float("nan")}, "gain nan, expected within"),
        ({"gain": "high"}, "gain 'high', expected a number"),
        ({"gain": [0.1, 0.2]}, "gain: 2 numbers for 1 images"),
        ({"noise_level": 300}, r"noise_level 300, expected within \[0, 255\]"),
        ({"gain_of": torch.full((3, 16, 16), 77.0)}, r"noisy has values from 77 to 77, expected floats in \[-1, 2\]"),
        ({"gain_of": torch.zeros(2, 3, 16, 16)}, "gain_of: 2 images for 1 clean ones"),
        ({"gain": 0.1, "seed": 1.5}, r"seed 1\.5, expected an integer"),
        ({"gain": 0.1, "key": ["a", "b"]}, r"key: \['a', 'b'\] for 1 images"),
        ({"gain": 0.1, "z": torch.zeros(3, 8, 8)}, r"z has the shape \(3, 8, 8\)"),
        ({"gain": 0.1, "z": "noise"}, "z is a str, expected floats"),
        ({"gain": 0.1, "z": torch.zeros(3, 16, 16, dtype=torch.complex64)}, r"z .* expected floats"),
        ({"gain": 0.1, "key": None}, "key: .* expected one text"),
        ({"gain": 0.1, "maps": True, "as_uint8": True}, "maps are floats"),
    ],
)
def test_unfit_option_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.synthesize(image(), **options)


@pytest.mark.parametrize("tile", [-8, 1.5, True, None])
def test_unfit_tile_is_refused(networks, tile):
    with pytest.raises(ValueError, match="expected a number of pixels, or 0"):
        NoiseGenerator(networks, tile=tile)


def test_networks_that_give_no_numbers_are_refused(networks):
    broken = copy.deepcopy(networks["G2"])
    torch.nn.init.constant_(broken.decoder_head[0].bias, float("nan"))
    with pytest.raises(ValueError, match="noise that is not finite"):
        NoiseGenerator({"G2": broken}).synthesize(image(), noise_level=25)


def test_generator_that_is_cast_computes_in_that_type():
    model = NoiseGenerator(tiny_networks(dtype=torch.float32))
    clean = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    single = model.synthesize(clean, gain=0.05)
    assert (model.double().dtype, model.npnet.first.weight.dtype) == (torch.float64, torch.float64)
    assert torch.allclose(model.synthesize(clean, gain=0.05), single, atol=1e-6)
    assert (model.bfloat16().dtype, model.npnet.first.weight.dtype) == (torch.bfloat16, torch.float32)
    assert torch.allclose(model.synthesize(clean, gain=0.05), single, atol=0.02)


# In a program that has settings of its own


def new_switches():
    """Those of torch.backends that PyTorch 2.9 has brought, by name; none before."""
    backends = torch.backends
    if not hasattr(backends, "fp32_precision"):
        return {}
    return {"all": backends, "cuda": backends.cuda.matmul, "cudnn": backends.cudnn, "conv": backends.cudnn.conv} | {
        "onednn": backends.mkldnn.conv
    }


def state_of_backends() -> list:
    values = [switch.fp32_precision for switch in new_switches().values()]
    cudnn = torch.backends.cudnn
    products = torch.backends.cuda.matmul
    for old in (lambda: cudnn.allow_tf32, lambda: products.allow_tf32, torch.get_float32_matmul_precision):
        try:
            values.append(old())
        except RuntimeError:  # what PyTorch raises of both its sets of names
            values.append("mixed")
    return [*values, cudnn.enabled, cudnn.benchmark, cudnn.deterministic]


@pytest.fixture
def backends(monkeypatch):
    """Restore the switches."""
    before = {name: switch.fp32_precision for name, switch in new_switches().items()}
    yield torch.backends
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for name, value in before.items():
        new_switches()[name].fp32_precision = value


def tf32(*names):
    for name in names:
        new_switches()[name].fp32_precision = "tf32"


SETTINGS = {
    "all backends": lambda: tf32("all"),
    "one convolution": lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
    "matrix products": lambda: tf32("cuda"),
    "cuDNN": lambda: tf32("cudnn"),
    "oneDNN": lambda: setattr(torch.backends.mkldnn.conv, "fp32_precision", "bf16"),
    "old name": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "old and new names": lambda: (setattr(torch.backends.cudnn, "allow_tf32", False), tf32("conv")),
    "old words": lambda: torch.set_float32_matmul_precision("medium"),
}


def all_results(model, networks, clean) -> list:
    denoiser = TiledDenoiser(networks["G3"], tile=32).to(model.device)
    noise = Coloured(*(torch.ones(*shape, device="cpu") for shape in ((3, 256), (3, 256), (3, 3, 3, 3))))
    height, width = (length + noise.margin for length in SIZE)
    white = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0), device="cpu")
    return [
        model.synthesize(clean, gain=0.1, seed=1),
        model.synthesize(clean, gain_of=clean.clamp(0.2, 0.8), seed=1),
        torch.from_numpy(model.synthesize(clean.cpu().permute(1, 2, 0).contiguous().numpy(), noise_level=25)),
        torch.tensor(model.estimate_gain(clean), dtype=torch.float64, device="cpu"),
        denoiser(clean[None]),
        noise.noise(Images(clean[None]), white.to(clean.device)),
    ]


@pytest.mark.parametrize("setting", SETTINGS)
def test_switches_of_either_kind_change_nothing_and_stay_as_they_are(model, networks, clean, backends, setting):
    if not new_switches() and setting not in ("old name", "old words"):
        pytest.skip("a switch of PyTorch 2.9")
    expected = all_results(model, networks, clean)
    SETTINGS[setting]()
    before = state_of_backends()
    assert all(map(torch.equal, all_results(model, networks, clean), expected))
    assert state_of_backends() == before


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_autocast_of_the_caller_changes_nothing(model, networks, clean, kind):
    expected = all_results(model, networks, clean)
    with torch.autocast("cpu", kind):
        assert all(map(torch.equal, all_results(model, networks, clean), expected))
        assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == kind
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.beside_cpu
def test_a_device_gives_the_cpus_results(model, networks, clean, device):
    expected, moved = all_results(model, networks, clean), copy.deepcopy(model).to(device)
    for image in (clean, clean.to(device)):
        for found, there in zip(all_results(moved, networks, image), expected, strict=True):
            torch.testing.assert_close(found.cpu(), there, rtol=1e-4, atol=1e-5)
    assert moved.synthesize(clean.to(device), gain=0.1).device.type == device.type


def test_default_device_of_the_caller_changes_nothing(model, networks, clean):
    expected = all_results(model, networks, clean)
    with torch.device("meta"):
        assert all(map(torch.equal, all_results(model, networks, clean), expected))


def test_weights_are_float32_whatever_the_default_type_is(tmp_path):
    save_generator(tmp_path)
    expected = load_network("G2", tmp_path / "checkpoint_G2.pth").state_dict()
    torch.set_default_dtype(torch.float16)
    try:
        found = load_network("G2", tmp_path / "checkpoint_G2.pth").state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(found[key], weight) for key, weight in expected.items())


def test_threads_give_the_bytes_of_one_and_nobody_sees_another_switch(model, clean, backends):
    expected = [model.synthesize(clean, gain=0.1, seed=seed) for seed in range(6)]
    before, seen, done = state_of_backends(), [], threading.Event()

    def look():
        while not done.is_set():
            seen.append(state_of_backends())

    with ThreadPoolExecutor(7) as pool:
        looking = pool.submit(look)
        results = list(pool.map(lambda seed: model.synthesize(clean, gain=0.1, seed=seed), range(6)))
        done.set()
        looking.result()
    assert all(map(torch.equal, results, expected))
    assert seen and all(state == before for state in seen)
    assert state_of_backends() == before


def test_formats_of_matrix_units_are_off_until_the_last_thread_has_ended(backends):
    if not new_switches():
        pytest.skip("switches of PyTorch 2.9")
    switch, cpu = backends.mkldnn.conv, torch.device("cpu")
    backends.fp32_precision = "bf16"
    first, last = exact_convolutions(cpu), exact_convolutions(cpu)
    for enter_or_leave, expected in (
        (first.__enter__, "ieee"),
        (last.__enter__, "ieee"),
        (lambda: first.__exit__(None, None, None), "ieee"),
        (lambda: last.__exit__(None, None, None), "bf16"),
    ):
        enter_or_leave()
        assert switch.fp32_precision == expected
    backends.fp32_precision = "none"  # which the switch has inherited from, and does again
    assert switch.fp32_precision == "none"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_exact_convolutions_are_convolutions_with_their_own_switches(dimensions, transposed, monkeypatch):
    given, real = [], torch._convolution
    monkeypatch.setattr(torch, "_convolution", lambda *args: (given.append(args[9:]), real(*args))[1])
    kind = getattr(torch.nn, f"Conv{'Transpose' * transposed}{dimensions}d")
    options = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2} | ({"output_padding": 1} if transposed else {})
    images = torch.rand(2, 4, *[9] * dimensions)
    for layer in (kind(4, 6, 3, **options), kind(4, 6, 3, bias=False)):
        expected = layer(images)
        assert not given
        with exact_convolutions():
            assert torch.equal(layer(images), expected)
        # benchmark, deterministic, cuDNN, TF32
        assert given.pop() == (False, True, True, False)


# Beside another project's packages


@pytest.mark.parametrize("theirs", ["models/__init__.py", "models.py", "utils/__init__.py", "utils.py"])
def test_packages_of_another_project_that_hide_ours_are_named_with_the_way_round(tmp_path, theirs):
    path = tmp_path / theirs
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; {{}}from inference import load_neca"
    for before in ("", f"import {path.parent.name if path.stem == '__init__' else path.stem}; "):
        words = [sys.executable, "-S", "-c", code.format(before)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        line = done.stderr.splitlines()[-1]
        assert line.startswith(
            f"ImportError: {path} hides the package {theirs.split('/')[0].removesuffix('.py')} of {ROOT}"
        )
        assert "main_synthesize.py" in line and "sys.path" in line


def test_other_packages_of_another_project_do_no_harm(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    inference.require_own("models", "utils")
    monkeypatch.setitem(sys.modules, "utils", types.ModuleType("utils"))  # made in a notebook: of no file
    with pytest.raises(ImportError, match="another place hides the package utils"):
        inference.require_own("models", "utils")
