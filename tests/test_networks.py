"""The six networks: their published form, and the variants that options can build."""

import csv
from pathlib import Path

import pytest
import torch

from models import (
    ACT_MODES,
    INIT_TYPES,
    LETTERS,
    Discriminator,
    DnCNN,
    GENet,
    NCNet,
    NPNet,
    build_networks,
    correlate,
    initialise,
    synthesize_s,
    synthesize_w,
)
from models.network_ncnet import DOWN_MODES, FINAL_ACTIVATIONS, PADDING_MODES, UP_MODES
from options.train_jointly import network_configs, train_jointly_parser

# Parameters at the paper's sizes, as counted in the published implementation.
PARAMETERS = {"E": 263_425, "G1": 42_435, "G2": 7_790_723, "D1": 14_145_801, "D2": 2_165_001, "G3": 670_531}


def default_networks(*words: str) -> dict:
    return build_networks(network_configs(train_jointly_parser().parse_args(words)), "normal", seed=0)


def test_default_networks_have_the_published_keys_shapes_and_parameter_counts():
    networks = default_networks()
    for letter in LETTERS:
        with (Path(__file__).parent / "state_dict" / f"{letter}.csv").open() as file:
            published = {row["key"]: row["shape"] for row in csv.DictReader(file)}
        state = networks[letter].state_dict()
        assert {key: "x".join(map(str, value.shape)) or "scalar" for key, value in state.items()} == published
        assert sum(weights.numel() for weights in networks[letter].parameters()) == PARAMETERS[letter]


def test_config_rebuilds_each_network():
    for network in default_networks("--E_nb", "3", "--G2_nc", "8", "--D1_nc", "4").values():
        twin = type(network)(**network.config)
        assert {k: v.shape for k, v in twin.state_dict().items()} == {
            k: v.shape for k, v in network.state_dict().items()
        }


@pytest.mark.parametrize("down", DOWN_MODES)
@pytest.mark.parametrize("up", UP_MODES)
def test_ncnet_keeps_the_size_in_all_modes(down, up):
    for padding in PADDING_MODES:
        network = NCNet(nc=2, downsample_mode=down, upsample_mode=up, padding_mode=padding)
        assert network(torch.zeros(1, 3, 16, 24)).shape == (1, 3, 16, 24)


def test_ncnet_final_activations_are_what_their_names_say():
    noise = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = NCNet(nc=2).state_dict()
    outputs = {}
    for name in FINAL_ACTIVATIONS:
        network = NCNet(nc=2, final_act=name)
        network.load_state_dict(weights)
        outputs[name] = network(noise)
    linear = outputs["linear"]
    torch.testing.assert_close(outputs["Tanh"], linear.tanh())
    torch.testing.assert_close(outputs["Sigmoid"], linear.sigmoid())
    torch.testing.assert_close(outputs["exp"], linear.exp())


def test_ncnet_refuses_sizes_that_are_no_multiples_of_8():
    with pytest.raises(ValueError, match="multiples of 8"):
        NCNet(nc=2)(torch.zeros(1, 3, 20, 24))


@pytest.mark.parametrize("act_mode", ACT_MODES)
def test_act_modes_build_in_every_network(act_mode):
    image = torch.rand(2, 3, 32, 32)
    networks = [cls(nc=4, act_mode=act_mode) for cls in (GENet, NCNet, DnCNN)]
    networks.append(Discriminator(32, 3, nc=4, act_mode=act_mode))
    for network in networks:
        assert torch.isfinite(network(image)).all()


@pytest.mark.parametrize("patch_size, stride", [(96, 3), (32, 2), (64, 2), (64, 4), (128, 2), (192, 6), (40, 5)])
def test_critics_take_every_patch_size_they_can_be_built_for(patch_size, stride):
    words = f"--patch_size {patch_size} --pd_stride {stride} --D1_nc 2 --D2_nc 2 --G2_nc 2".split()
    networks = default_networks(*words)
    assert networks["D1"](torch.zeros(2, 3, patch_size, patch_size)).shape == (2, 1)
    assert networks["D2"](torch.zeros(2, 3, patch_size // stride, patch_size // stride)).shape == (2, 1)


@pytest.mark.parametrize("patch_size, stride", [(24, 3), (32, 8)])
def test_patches_too_small_for_the_critics_are_refused(patch_size, stride):
    with pytest.raises(ValueError, match=r"halves its input \d times cannot take \d+ pixels, expected at least"):
        default_networks("--patch_size", str(patch_size), "--pd_stride", str(stride))


@pytest.mark.parametrize("width", [16, 64, 128])
def test_critic_widths_stop_doubling_at_512(width):
    widths = [block[0].out_channels for block in Discriminator(96, 5, nc=width).features]
    assert max(widths) == min(16 * width, 512)


@pytest.mark.parametrize("init_type", INIT_TYPES)
def test_initial_weights_have_the_named_spread_and_no_bias(init_type):
    layer = torch.nn.Conv2d(32, 64, 3)
    torch.manual_seed(0)
    initialise(torch.nn.Sequential(layer), init_type)
    fan_in, fan_out = 32 * 9, 64 * 9
    # Orthogonal rows of length 0.02: 64 rows of 288 entries.
    spread = {
        "normal": 0.02,
        "xavier": 0.02 * (2 / (fan_in + fan_out)) ** 0.5,
        "kaiming": (2 / fan_in) ** 0.5,
        "orthogonal": 0.02 / fan_in**0.5,
    }
    assert layer.weight.std().item() == pytest.approx(spread[init_type], rel=0.03)
    assert not layer.bias.any()


def test_instance_norm_begins_at_1_and_batch_norm_near_it():
    norms = torch.nn.InstanceNorm2d(500, affine=True), torch.nn.BatchNorm2d(500)
    torch.manual_seed(0)
    initialise(torch.nn.Sequential(*norms))
    assert (norms[0].weight == 1).all()
    assert norms[1].weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not any(norm.bias.any() for norm in norms)


def test_weights_of_a_network_depend_on_the_seed_and_not_on_the_others():
    configs = network_configs(train_jointly_parser().parse_args(["--G2_nc", "2", "--D1_nc", "2", "--D2_nc", "2"]))
    alone = build_networks({"G2": configs["G2"]}, "normal", 3)["G2"].state_dict()
    together = build_networks(configs, "normal", 3)["G2"].state_dict()
    other = build_networks(configs, "normal", 4)["G2"].state_dict()
    assert torch.equal(alone["encoders.0.0.weight"], together["encoders.0.0.weight"])
    assert not torch.equal(alone["encoders.0.0.weight"], other["encoders.0.0.weight"])


def test_odd_sizes_are_padded_by_reflection_and_cut_back():
    network = NCNet(nc=2)
    noise = torch.randn(1, 3, 13, 18, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([*range(13), 11, 10, 9])  # reflected without repeating the edge
    columns = torch.tensor([*range(18), 16, 15, 14, 13, 12, 11])
    padded = noise[:, :, rows][:, :, :, columns]
    torch.testing.assert_close(correlate(network, noise), network(padded)[:, :, :13, :18] + noise)


def test_image_too_small_to_pad_is_refused():
    with pytest.raises(ValueError, match="too small"):
        correlate(NCNet(nc=2), torch.zeros(1, 3, 4, 40))


def test_synthesis_follows_the_papers_equations():
    npnet, ncnet = NPNet(nc=4), NCNet(nc=2)
    clean, z = torch.rand(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    gain = torch.tensor([0.1, 0.2]).reshape(2, 1, 1, 1)
    made = synthesize_w(npnet, ncnet, clean, gain, z)
    v = npnet(clean, gain) * z
    torch.testing.assert_close(made.fake, clean + ncnet(v) + v)
    sinc = synthesize_s(ncnet, clean, 25, z)
    torch.testing.assert_close(sinc.fake - clean, ncnet(z * 25 / 255) + z * 25 / 255)
