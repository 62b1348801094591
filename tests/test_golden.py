"""Every vector of a folder recorded from the published implementation. `pytest tests/test_golden.py --golden DIR`."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics import kld, noise_of, psnr
from models import (
    CRITICS,
    LETTERS,
    Discriminator,
    DnCNN,
    GENet,
    JointModel,
    JointOptions,
    NCNet,
    NPNet,
    StepRandomness,
    synthesize_w,
)
from models.losses import global_noise_level, local_noise_level, pixel_shuffle_down
from tests.conftest import SHARED
from tests.golden import FIGURES, RTOL, assert_close, compute_figures, fill, fingerprint, image

EXACT = {"dtype": torch.float64, "device": "cpu"}


def pytest_generate_tests(metafunc):
    if "path" not in metafunc.fixturenames:
        return
    folder = metafunc.config.getoption("--golden")
    files = sorted(Path(folder or SHARED / "golden").glob("**/*.npz"))
    if not files and folder:
        raise pytest.UsageError(f"--golden {folder}: no .npz files there")
    reason = "no golden vectors: ../shared/golden is absent and --golden was not given"
    absent = [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")]
    metafunc.parametrize("path", [pytest.param(path, id=path.stem) for path in files] or absent)


@pytest.mark.no_stand_in
def test_golden_vectors_are_reproduced(path, device):
    """In float64 on the CPU, and in float32 on the device, by the same code, within 1e-4 of the largest value.

    Each training step in float32 begins from the state that float64 has reached.
    """
    vectors = dict(np.load(path))
    exact, rounded = compute(path, vectors, device)
    for name, value in exact.items():
        # PyTorch 2.6 sums in another order, and Adam's first steps show it where a gradient is nearly nothing.
        is_older = name.startswith("after.") and not hasattr(torch.backends, "fp32_precision")
        assert_close(value, vectors[name], name, RTOL, 1e-7 * np.abs(vectors[name]).max() if is_older else 0.0)
    assert set(rounded) == {name for name in exact if not name.startswith("after.")}
    for name, value in rounded.items():
        assert_close(value, vectors[name], name, 1e-4, 1e-4 * np.abs(vectors[name]).max())


def compute(path, vectors, device):
    """Compute all that a file has values of, in float64 and in float32 -> {name: value} twice."""
    kind = path.stem.split("_")[0] if path.stem.startswith("train_") else path.stem
    check = next((check for prefix, check in CHECKS.items() if kind.startswith(prefix)), None)
    assert check is not None, f"{path.name}: no check for this kind of vector"
    places = EXACT, {"dtype": torch.float32, "device": device}
    with torch.set_grad_enabled(kind == "train"):
        if kind == "train":
            computed = check(vectors, path.stem, *places)
        else:
            computed = [check(vectors, path.stem, place) for place in places]
    inputs = {"clean", "noisy", "fake", "z", "pd", "eps1", "eps2", "input"}
    assert set(computed[0]) == set(vectors) - inputs, "every expected value is compared, and no other"
    return [
        {name: value.cpu() if isinstance(value, torch.Tensor) else value for name, value in values.items()}
        for values in computed
    ]


def test_figures_that_the_tests_carry_are_reproduced():
    """One sample of networks.npz, metrics.npz and statistics.npz, so that a clone without ../shared is checked too."""
    figures = dict(np.load(FIGURES))
    images = {name: figures[name] for name in ("clean", "noisy", "fake")}
    actual = compute_figures(figures, build_filled(), torch.float64, "cpu")
    assert set(actual) | {"kld", "psnr", "z", *images} == set(figures)
    for name, value in (actual | check_pair_metrics(images)).items():
        assert_close(value, figures[name], name)


def check_pair_metrics(images):
    clean, noisy, fake = (np.moveaxis(images[name][0], 0, 2) for name in ("clean", "noisy", "fake"))
    return {"kld": kld(noise_of(noisy, clean), noise_of(fake, clean)), "psnr": psnr(noisy, clean)}


def build_filled(**place):
    sizes = {"D1": Discriminator(96, 5), "D2": Discriminator(32, 3)}
    networks = {"E": GENet(), "G1": NPNet(), "G2": NCNet(), "G3": DnCNN()} | sizes
    return {letter: fill(networks[letter], **place) for letter in LETTERS}


def check_networks(vectors, stem, place):
    networks = build_filled(**place)
    clean, noisy = (image(vectors[name], **place) for name in ("clean", "noisy"))
    z = torch.as_tensor(vectors["z"]).to(**place)
    gain = networks["E"](noisy)
    synthesis = synthesize_w(networks["G1"], networks["G2"], clean, gain, z)
    noise = noisy - clean
    actual = {
        "gain": gain,
        "noise_level": synthesis.noise_level,
        "sdnu": synthesis.sdnu,
        "sdnc": synthesis.sdnc,
        "d1": networks["D1"](noise),
        "d2": networks["D2"](noise[:, :, 0:96:3, 1::3]),
        "denoised": networks["G3"](noisy),
    }
    return actual


def check_ncnet_variants(vectors, stem, place):
    modes = [key.split(".") for key in vectors if key != "input"]
    noise = torch.as_tensor(vectors["input"]).to(**place)
    actual = {}
    for down, up, final in modes:
        network = fill(NCNet(downsample_mode=down, upsample_mode=up, final_act=final), **place)
        actual[f"{down}.{up}.{final}"] = network(noise)
    return actual


def check_ncnet_padding(vectors, stem, place):
    noise = torch.as_tensor(vectors["input"]).to(**place)
    actual = {}
    for name in set(vectors) - {"input"}:
        down, up, padding = name.split(".")
        network = NCNet(nc=8, downsample_mode=down, upsample_mode=up, padding_mode=padding)
        actual[name] = fill(network, **place)(noise)
    return actual


def check_genet_acts(vectors, stem, place):
    noisy = image(vectors["noisy"], **place)
    modes = [name.partition(".")[2] for name in vectors if name != "noisy"]
    return {f"gain.{mode}": fill(GENet(nc=8, nb=4, act_mode=mode), **place)(noisy) for mode in modes}


def check_one_channel(vectors, stem, place):
    sizes = {"in_nc": 1, "out_nc": 1, "nc": 8}
    genet, npnet, ncnet, dncnn = (fill(network(**sizes), **place) for network in (GENet, NPNet, NCNet, DnCNN))
    clean, noisy = (image(vectors[name], **place) for name in ("clean", "noisy"))
    gain = genet(noisy)
    made = synthesize_w(npnet, ncnet, clean, gain, torch.as_tensor(vectors["z"]).to(**place))
    maps = {name: getattr(made, name) for name in ("noise_level", "sdnu", "sdnc")}
    return {"gain": gain, "denoised": dncnn(noisy)} | maps


def check_statistics(vectors, stem, place):
    noise = image(vectors["noisy"], **place) - image(vectors["clean"], **place)
    actual = {"global_noise_level": global_noise_level(noise), "local_noise_level": local_noise_level(noise)}
    for key in vectors:
        if key.startswith("pd_"):
            actual[key] = pixel_shuffle_down(noise, 3, (int(key[3]), int(key[4])))
    return actual


def check_metrics(vectors, stem, place):
    actual = {}
    for i, images in enumerate(zip(vectors["clean"], vectors["noisy"], vectors["fake"])):
        clean, noisy, fake = (np.moveaxis(array, 0, 2) for array in images)
        actual[f"kld_{i}"] = kld(noise_of(noisy, clean), noise_of(fake, clean))
        actual[f"psnr_{i}"] = psnr(noisy, clean)
    return actual


def check_train(vectors, stem, exact, rounded):
    """Return losses and weights in float64, and losses in float32.

    Weights in float32 are left out: Adam's first steps have the learning rate's length whatever the gradient's, and
    where that is nothing but rounding, so is the step's sign.
    """
    words = stem.split("_")[1:]
    options = JointOptions(
        gan_mode=words[0], joint_start_epoch=1 if "joint" in words else 2, separate_train="separate" in words
    )
    models = [JointModel(build_filled(**place), options, device=place["device"]) for place in (exact, rounded)]
    losses = {}, {}
    for k in range(len(vectors["z"])):
        models[1].load_state_dict(copy.deepcopy(models[0].state_dict()))
        for place, model, found in zip((exact, rounded), models, losses):
            mixing = {letter: torch.as_tensor(vectors[f"eps{letter[1]}"][k]).to(**place) for letter in CRITICS}
            drawn = StepRandomness(torch.as_tensor(vectors["z"][k]).to(**place), tuple(vectors["pd"][k]), mixing)
            clean, noisy = (image(vectors[name][k], **place) for name in ("clean", "noisy"))
            values = model.training_step(clean, noisy, drawn, step=k + 1, epoch=1)
            found.update({f"loss.{name}.{k + 1}": value for name, value in values.items()})
    weights = {letter: network.state_dict() for letter, network in models[0].networks.items()}
    after = {}
    for name in vectors:
        if name.startswith("after."):
            _, letter, key = name.split(".", 2)
            after[name] = fingerprint(weights[letter][key])
    return losses[0] | after, losses[1]


CHECKS = {
    "networks": check_networks,
    "ncnet_variants": check_ncnet_variants,
    "ncnet_padding": check_ncnet_padding,
    "genet_acts": check_genet_acts,
    "one_channel": check_one_channel,
    "statistics": check_statistics,
    "metrics": check_metrics,
    "train": check_train,
}
