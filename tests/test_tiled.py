"""Tiles are exact: against models.neca with the plain networks, for every size and tile; other variants run whole."""

import itertools
import json
import random
import subprocess
import sys
import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import inference.fast
import inference.tiled
from inference import NoiseGenerator, load_neca
from inference.fast import FastNCNet, on_cores, reach
from models import GENet, NCNet, NPNet, correlate, synthesize_s, synthesize_w
from models.network_ncnet import DOWN_MODES, FINAL_ACTIVATIONS, PADDING_MODES, UP_MODES
from tests.conftest import ROOT
from tests.tiny import tiny_networks

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
PUBLISHED = ("strideconv", "upsampling", "zeros")
VARIANTS = [modes for modes in itertools.product(DOWN_MODES, UP_MODES, PADDING_MODES) if modes != PUBLISHED]
VARIANTS = VARIANTS[::5] + [PUBLISHED]  # modes are independent: each stands in some
EVAL_MODES = ("R", "L", "BR", "BL")


def random_networks(seed: int, act_mode: str = "R", nb: int = 4, **g2) -> dict[str, torch.nn.Module]:
    """Networks a few channels wide, float64, with every weight and statistic random."""
    networks = {
        "E": GENet(nc=4, nb=nb, act_mode=act_mode),
        "G1": NPNet(nc=5),
        "G2": NCNet(nc=3, act_mode=act_mode, **g2),
    }
    generator = torch.Generator().manual_seed(seed)
    for network in networks.values():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                scale = tensor[0].numel() ** -0.5 if tensor.ndim == 4 else 0.3
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
                if name.endswith("running_var"):
                    tensor.copy_(tensor.abs() + 0.5)
        network.to(torch.float64).eval()
    return networks


def random_image(rng: random.Random, batch: int = 1, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """A clean image of some size, and white noise."""
    generator = torch.Generator().manual_seed(rng.getrandbits(40))
    size = (batch, 3, rng.randint(8, 76), rng.randint(8, 76))
    return (draw(size, generator=generator, dtype=dtype) for draw in (torch.rand, torch.randn))


@pytest.mark.parametrize("number", range(16))
def test_tiled_synthesis_equals_the_plain_networks(number, monkeypatch):
    rng = random.Random(number)
    monkeypatch.setattr(inference.fast, "BAND_BYTES", rng.choice((500, 5000, 1 << 24)))
    monkeypatch.setattr(inference.tiled, "GENET_SIDE", rng.choice((8, 32, 256)))
    monkeypatch.setattr(inference.tiled, "STRIP", rng.choice(((3, 25), (16, 512), (7, 90))))
    monkeypatch.setattr(inference.tiled, "KEPT_BYTES", rng.choice((0, 1 << 29)))
    final = rng.choice(list(FINAL_ACTIVATIONS))
    networks = random_networks(number, EVAL_MODES[number % 4], rng.randint(2, 5), final_act=final)
    assert_synthesis_equals_the_plain_networks(networks, rng, (0, rng.choice((8, 16, 24, 40))))


@pytest.mark.parametrize("down, up, padding", VARIANTS)
def test_other_ncnets_equal_the_plain_networks_whatever_the_tile(down, up, padding):
    rng = random.Random(f"{down} {up} {padding}")
    networks = random_networks(1, downsample_mode=down, upsample_mode=up, padding_mode=padding)
    assert_synthesis_equals_the_plain_networks(networks, rng, (16,))


def assert_synthesis_equals_the_plain_networks(networks, rng, tiles):
    dtype = rng.choice((torch.float32, torch.float64))
    clean, z = random_image(rng, rng.randint(1, 3))
    with torch.no_grad():
        gain = networks["E"](clean)
        expected = synthesize_w(networks["G1"], networks["G2"], clean, gain, z)
    for tile in tiles:
        model = NoiseGenerator(networks, tile=tile, dtype=dtype)
        for got, want in zip(model.synthesize(clean, gain_of=clean, z=z, maps=True), expected):
            assert (got - want).abs().max() <= TOLERANCE[dtype] * max(1, want.abs().max())


@pytest.mark.parametrize("act_mode", EVAL_MODES)
def test_tiled_gain_equals_the_plain_network(act_mode, monkeypatch):
    rng = random.Random(act_mode)
    networks = random_networks(5, act_mode)
    clean, _ = random_image(rng, batch=2)
    expected = networks["E"](clean).flatten().tolist()
    for side in (8, 24, 1024):
        monkeypatch.setattr(inference.tiled, "GENET_SIDE", side)
        assert NoiseGenerator(networks, dtype=torch.float64).estimate_gain(clean) == pytest.approx(expected, abs=1e-10)


def test_tiled_neca_s_equals_the_plain_network():
    networks = random_networks(1)
    clean, z = random_image(random.Random(1))
    expected = synthesize_s(networks["G2"], clean, 25, z)
    model = NoiseGenerator({"G2": networks["G2"]}, tile=16, dtype=torch.float64)
    for got, want in zip(model.synthesize(clean, noise_level=25, z=z, maps=True), expected):
        assert (got - want).abs().max() < 1e-10


@pytest.mark.parametrize("shape", [(8, 8), (9, 15), (8, 70)])
def test_smallest_images_equal_the_plain_networks(shape):
    networks = random_networks(2)
    clean = torch.rand(1, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = synthesize_w(networks["G1"], networks["G2"], clean, clean.new_full((1, 1, 1, 1), 0.1), clean - 0.5).fake
    got = NoiseGenerator(networks, tile=8, dtype=torch.float64).synthesize(clean, gain=0.1, z=clean - 0.5)
    assert (got - expected).abs().max() < 1e-10


@pytest.mark.parametrize("act_mode", ["IR", "IL"])
def test_instance_normalisation_sees_the_whole_image_whatever_the_tile(act_mode):
    networks = random_networks(3, act_mode)
    assert_synthesis_equals_the_plain_networks(networks, random.Random(4), (0, 8))


def test_receptive_field_of_ncnet_is_what_its_gradient_reaches():
    network = NCNet(nc=2, final_act="linear").double().eval()
    for weights in network.parameters():  # positive: nothing cancels, and no ReLU closes
        torch.nn.init.uniform_(weights, 0.1, 1)
    noise = torch.rand(1, 3, 128, 128, dtype=torch.float64).requires_grad_()
    network(noise)[:, :, 64:72, 64:72].sum().backward()
    reached = noise.grad.abs().amax(dim=(0, 1, 3)).nonzero()
    farthest = max(64 - reached.min().item(), reached.max().item() - 71)
    assert FastNCNet.MARGIN - 8 < farthest <= FastNCNet.MARGIN


def test_receptive_field_of_genet_grows_with_its_layers():
    assert [reach(GENet(nc=2, nb=nb).model) for nb in (2, 3, 5)] == [3, 4, 6]  # a 7x7, then 3x3 convolutions


def border_correlations(noise: torch.Tensor, tile: int) -> tuple[float, float]:
    """Correlation of horizontal neighbours that a tile's border parts, and of the others: (3, H, W) ->."""
    left, right = noise[..., :-1], noise[..., 1:]
    at_border = torch.arange(1, noise.shape[-1]) % tile == 0
    return tuple(
        torch.corrcoef(torch.stack([left[..., some].flatten(), right[..., some].flatten()]))[0, 1].item()
        for some in (at_border, ~at_border)
    )


def has_seams(noise: torch.Tensor, tile: int) -> bool:
    at_border, inside = border_correlations(noise, tile)
    pairs = noise.numel() / tile
    return abs(at_border - inside) > 5 / pairs**0.5  # five standard errors of a correlation


def test_noise_has_no_seams_where_naive_tiles_have():
    tile, size = 16, 256
    model = load_neca(ROOT / "pretrain", "DC", tile=tile)
    grey = torch.full((3, size, size), 0.5)
    noise = model.synthesize(grey, noise_level=25, seed=3) - grey
    assert not has_seams(noise, tile)

    ncnet = inference.load_generators(ROOT / "pretrain" / "DC", ("G2",))["G2"]
    white = 25 / 255 * inference.white_noise(3, "", size, size)
    naive = torch.empty_like(white)
    with torch.no_grad():
        for top, left in itertools.product(range(0, size, tile), repeat=2):
            window = (..., slice(top, top + tile), slice(left, left + tile))
            naive[window] = correlate(ncnet, white[window][None])[0]
    assert has_seams(naive, tile)


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_two_threads_give_the_bytes_of_one(two_threads, monkeypatch):
    monkeypatch.setattr(inference.fast, "BAND_BYTES", 2000)
    monkeypatch.setattr(inference.tiled, "GENET_SIDE", 16)
    clean, z = random_image(random.Random(3), dtype=torch.float32)
    model = NoiseGenerator(random_networks(3), tile=24)
    noisy = model.synthesize(clean, gain_of=clean, z=z)
    torch.set_num_threads(1)
    assert torch.equal(model.synthesize(clean, gain_of=clean, z=z), noisy)


def test_threads_keep_the_order_and_the_number_of_pytorchs_threads(two_threads):
    cpu = torch.device("cpu")
    numbers = on_cores(lambda item: (time.sleep(0.01 * (item % 3)), item, torch.get_num_threads())[1:], range(9), cpu)
    assert list(numbers) == [(item, 1) for item in range(9)]
    assert torch.get_num_threads() == 2


def test_error_in_a_thread_reaches_the_caller(two_threads):
    with pytest.raises(ZeroDivisionError):
        list(on_cores(lambda item: 1 // item, range(3), torch.device("cpu")))


MEMORY = """
import json, resource, torch
import inference.tiled
from inference import NoiseGenerator
from models import build_networks
torch.set_num_threads(1)
inference.tiled.KEPT_BYTES = 0
networks = build_networks({"E": {"nc": 16}, "G1": {"nc": 16}, "G2": {"nc": 16}}, "kaiming", 0)
model = NoiseGenerator({letter: network.eval() for letter, network in networks.items()}, tile=128)
peaks = []
for side in (256, 1280):
    clean = torch.zeros(3, side, side, dtype=torch.uint8)
    model.synthesize(clean, gain_of=clean)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
print(json.dumps(peaks))
"""


def test_memory_grows_by_the_image_buffers_only():
    output = subprocess.run([sys.executable, "-c", MEMORY], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    small, large = json.loads(output)
    buffers = 1280**2 * 3 * (1 + 1 + 4)  # clean and fake in 8 bit, the white noise in float32
    features = 1280**2 * 16 * 4  # a single map of the finest features
    assert large - small < buffers + features / 4


class Float64Watch(TorchDispatchMode):
    """Fail where an operation on the stand-in of Apple's GPU gives float64, as that does."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                assert tensor.dtype != torch.float64, operation
        return result


def test_nothing_on_apples_gpu_is_float64(monkeypatch):
    """Tensors without data take its part: this machine has none."""
    monkeypatch.setattr(inference.tiled, "widest_float", lambda device: {"meta": torch.float32}[device.type])
    networks = {letter: network.eval() for letter, network in tiny_networks(dtype=torch.float32).items()}
    generator = NoiseGenerator(networks, tile=16).to("meta")
    image, gain = torch.empty(1, 3, 40, 32, device="meta"), torch.empty(1, 1, 1, 1, device="meta")
    with Float64Watch():
        inference.tiled.estimate_gain(generator.genet, image, 16, generator.to_network)
        list(inference.tiled.noise_levels(generator.npnet, image, gain, generator.to_network))
        list(inference.tiled.correlated_tiles(generator.ncnet, image, 16, generator.to_network))
