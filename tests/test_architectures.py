"""Denoisers of any architecture: what the table promises of each, and NAFNet against an implementation of others."""

import pytest
import torch
from torch import nn

from inference import TiledDenoiser, load_network
from models import LETTERS, NETWORK_CLASSES, Architecture, NAFNet, build_denoiser, build_networks, denoiser_checkpoint
from models.architectures import ARCHITECTURES, describe_denoiser
from models.blocks import INIT_TYPES, initialise
from models.networks import network_checkpoint
from tests.tiny import CONFIGS
from utils.checkpoints import load_checkpoint, save_checkpoint

SIZES = {
    "dncnn": {"nc": 4, "nb": 4},
    "nafnet": {"nc": 4, "enc_nb": [1, 2], "middle_nb": 1, "dec_nb": [2, 1]},
}


def random_denoiser(arch: str, **sizes) -> nn.Module:
    """A small network in eval mode in which every weight matters."""
    network = build_denoiser(arch, SIZES[arch] | sizes, "kaiming", 0)
    torch.manual_seed(1)
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.2)
    return network.eval()


def test_every_architecture_is_tested_here():
    assert SIZES.keys() == ARCHITECTURES.keys()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("arch", SIZES)
def test_a_file_gives_back_the_network(tmp_path, arch, channels, suffix):
    network = random_denoiser(arch, in_nc=channels, out_nc=channels)
    save_checkpoint(tmp_path / f"x{suffix}", denoiser_checkpoint(network, 7))
    loaded = load_network("G3", tmp_path / f"x{suffix}")
    image = torch.rand(1, channels, 13, 22)
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image))  # memory of a file may be laid out otherwise
    assert load_checkpoint(tmp_path / f"x{suffix}")["config"] == {"arch": arch} | loaded.config


@pytest.mark.parametrize("arch", SIZES)
def test_tiles_give_what_the_whole_image_does(arch):
    network = random_denoiser(arch).double()
    noisy = torch.rand(2, 3, 29, 42, dtype=torch.float64)
    with torch.no_grad():
        expected = network(noisy)
    for tile in (0, 8, 16):
        torch.testing.assert_close(
            TiledDenoiser(network, tile, dtype=torch.float64)(noisy), expected, rtol=1e-10, atol=1e-10
        )
    assert all(weights.requires_grad for weights in network.parameters()), "the network itself is left as it is"


@pytest.mark.parametrize("arch", SIZES)
def test_initial_weights_follow_from_the_seed_and_the_callers_numbers_go_on(arch):
    torch.manual_seed(0)
    states = [build_denoiser(arch, SIZES[arch], "kaiming", seed).state_dict() for seed in (3, 3, 4)]
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))
    weights = [next(tensor for tensor in state.values() if tensor.ndim == 4) for state in states]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("init_type", INIT_TYPES)
def test_initial_weights_of_the_papers_networks_are_those_of_ever(monkeypatch, init_type):
    """Seeds are 6 x seed + the letter's place, whatever architectures there are beside."""
    monkeypatch.setitem(ARCHITECTURES, "more", Architecture("More", nn.Identity, {}))
    networks = build_networks(CONFIGS, init_type, 5)
    for place, letter in enumerate(("E", "G1", "G2", "G3", "D1", "D2")):
        torch.manual_seed(6 * 5 + place)
        expected = initialise(NETWORK_CLASSES[letter](**CONFIGS[letter]), init_type).state_dict()
        assert all(torch.equal(expected[key], tensor) for key, tensor in networks[letter].state_dict().items())
    assert set(networks) == set(LETTERS)
    denoiser = build_denoiser("dncnn", CONFIGS["G3"], init_type, 5).state_dict()
    assert all(torch.equal(denoiser[key], tensor) for key, tensor in networks["G3"].state_dict().items())


@pytest.mark.parametrize("side", [(24, 31), (16, 16), (7, 9)])
def test_nafnet_is_the_function_that_others_make_of_its_weights(side):
    spandrel = pytest.importorskip("spandrel")
    network = random_denoiser("nafnet")
    theirs = spandrel.ModelLoader().load_from_state_dict(network.state_dict()).model
    image = torch.rand(2, 3, *side)
    with torch.no_grad():
        torch.testing.assert_close(network(image), theirs(image), rtol=1e-5, atol=1e-5)


def test_nafnet_begins_as_the_image_itself_with_its_last_layer_alone():
    network = build_denoiser("nafnet", SIZES["nafnet"], "own", 0)
    nn.init.zeros_(network.ending.weight)
    nn.init.zeros_(network.ending.bias)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(network(image), image)
    assert not any(block.beta.any() or block.gamma.any() for block in network.middle_blks)


@pytest.mark.parametrize(
    ("sizes", "message"), [({"enc_nb": [1], "dec_nb": [1, 1]}, "of 1 levels"), ({"middle_nb": 0}, "without blocks")]
)
def test_nafnets_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        NAFNet(**SIZES["nafnet"] | sizes)


def test_a_file_without_an_id_is_a_dncnn(tmp_path):
    save_checkpoint(tmp_path / "x.pth", network_checkpoint(random_denoiser("dncnn"), 1))
    assert describe_denoiser(load_network("G3", tmp_path / "x.pth")) == "DnCNN of 4 layers of 4 channels"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"arch": "wonder"}, "architecture 'wonder', expected one of dncnn, nafnet"),
        ({"arch": ["dncnn"]}, "does not build a denoiser"),
        ({"enc_nb": [10**9, 1]}, "weights for fewer"),
        ({"enc_nb": [1] * 40, "dec_nb": [1] * 40}, "does not build NAFNet"),
        ({"nc": 10**30}, "does not build NAFNet"),
        ({"arch": "dncnn"}, "does not build DnCNN"),
        ({"in_nc": 2, "out_nc": 2}, "expected one of"),
        ({"nc": 8}, "no checkpoint of NAFNet"),
    ],
)
def test_hostile_and_foreign_sizes_are_one_line(tmp_path, config, message):
    content = denoiser_checkpoint(random_denoiser("nafnet"), 1)
    save_checkpoint(tmp_path / "x.pth", content | {"config": content["config"] | config})
    with pytest.raises(ValueError, match=message) as error:
        load_network("G3", tmp_path / "x.pth")
    assert str(error.value).startswith(str(tmp_path / "x.pth")) and "\n" not in str(error.value)
