"""The augmentation: new noise at every call, ruled by PyTorch's seeds, in workers and out of them."""

import pickle
import re

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from inference.generator import NoiseGenerator
from noise.augmentation import AddCameraNoise
from tests.conftest import ROOT
from tests.test_generator import save_generator
from tests.tiny import tiny_networks

GREY = torch.full((3, 16, 16), 0.5)


@pytest.fixture(scope="module")
def generator():
    return NoiseGenerator({letter: net.eval() for letter, net in tiny_networks(dtype=torch.float32).items()})


class Greys(Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.transform(GREY)


def load_all(transform, seed, workers=2):
    loader = DataLoader(
        Greys(transform), batch_size=2, num_workers=workers, generator=torch.Generator().manual_seed(seed)
    )
    return torch.cat(list(loader))


def test_samples_and_workers_draw_different_noise(generator):
    images = load_all(AddCameraNoise(generator, gain=(0.05, 0.2)), 0)
    for first in range(8):
        for second in range(first):
            assert not torch.allclose(images[first], images[second], atol=1e-3)


def test_noise_in_workers_follows_from_the_seed(generator):
    transform = AddCameraNoise(generator, gain=(0.05, 0.2))
    images = load_all(transform, 0)
    assert torch.equal(load_all(transform, 0), images)
    assert not torch.equal(load_all(transform, 1), images)


def test_every_call_gives_new_noise_and_the_same_seed_the_same(generator):
    transform = AddCameraNoise(generator, noise_level=[10, 25])
    torch.manual_seed(0)
    first, second = transform(GREY), transform(GREY)
    torch.manual_seed(0)
    assert torch.equal(transform(GREY), first)
    assert not torch.allclose(first, second, atol=1e-3)


def test_noise_is_the_generators(generator):
    transform = AddCameraNoise(generator, gain=0.1, clip=False)
    torch.manual_seed(0)
    noisy = transform(GREY[None].repeat(3, 1, 1, 1))
    torch.manual_seed(0)
    torch.rand(3)  # who gets noise
    torch.randint(1, (3,))  # which of one gain
    z = torch.randn(3, 3, 16, 16)
    assert torch.allclose(noisy, generator.synthesize(GREY[None].repeat(3, 1, 1, 1), gain=0.1, z=z), atol=1e-6)


@pytest.mark.parametrize("given,allowed", [((5.0, 40.0), None), ([5.0, 40.0], {5.0, 40.0}), (20, {20.0})])
def test_each_sample_draws_its_own_strength(generator, given, allowed, monkeypatch):
    seen = []
    synthesize = generator.synthesize

    def spy(clean, **options):
        seen.extend(options["noise_level"].tolist())
        return synthesize(clean, **options)

    monkeypatch.setattr(generator, "synthesize", spy, raising=False)
    torch.manual_seed(0)
    AddCameraNoise(generator, noise_level=given)(GREY[None].repeat(32, 1, 1, 1))
    assert len(seen) == 32
    assert set(seen) == allowed if allowed else len(set(seen)) == 32 and all(5 <= level <= 40 for level in seen)


def test_probability_leaves_the_other_samples_as_they_are(generator):
    batch = GREY[None].repeat(200, 1, 1, 1)
    torch.manual_seed(0)
    changed = (AddCameraNoise(generator, noise_level=25, p=0.3)(batch) != batch).flatten(1).any(dim=1)
    assert abs(changed.float().mean() - 0.3) < 4 * (0.3 * 0.7 / 200) ** 0.5
    assert torch.equal(AddCameraNoise(generator, noise_level=25, p=0)(batch), batch)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_type_and_shape_are_kept_and_the_input_unchanged(generator, kind):
    image = torch.zeros(3, 16, 24, dtype=kind)
    noisy = AddCameraNoise(generator, noise_level=50)(image)
    assert noisy.dtype == kind and noisy.shape == image.shape
    assert noisy.min() == 0 < noisy.max()  # clipped
    assert not image.any()


def test_no_graph_is_built_and_the_result_can_train(generator):
    noisy = AddCameraNoise(generator, gain=0.1)(GREY.clone().requires_grad_())
    assert not noisy.requires_grad
    layer = torch.nn.Conv2d(3, 1, 3)
    layer(noisy[None]).sum().backward()
    assert layer.weight.grad is not None


def test_it_composes_with_torchvision_and_survives_pickling(generator):
    transform = v2.Compose([AddCameraNoise(generator, gain=(0.01, 0.1), p=0.5), v2.RandomHorizontalFlip()])
    again = pickle.loads(pickle.dumps(transform))
    results = []
    for version in (transform, again):
        torch.manual_seed(0)
        results.append(version(GREY))
    assert torch.equal(*results)


def test_a_folder_stands_for_its_generator(tmp_path):
    save_generator(tmp_path)
    assert AddCameraNoise(tmp_path, gain=0.1)(GREY).shape == GREY.shape


@pytest.mark.parametrize(
    "options,message",
    [
        ({}, "exactly one of gain"),
        ({"gain": 0.1, "noise_level": 25}, "exactly one of gain"),
        ({"gain": 1.1}, r"gain 1\.1, expected numbers within \[0, 1\]"),
        ({"gain": []}, r"gain \[\], expected"),
        ({"gain": (0.2, 0.1)}, r"expected a pair \(low, high\)"),
        ({"noise_level": (1, 2, 3)}, r"expected a pair \(low, high\)"),
        ({"gain": 0.1, "p": 2}, "p 2, expected a probability"),
    ],
)
def test_unfit_option_is_refused(generator, options, message):
    with pytest.raises(ValueError, match=message):
        AddCameraNoise(generator, **options)


def test_unfit_image_is_refused(generator):
    for unfit in (torch.zeros(16, 16), "image.png"):
        with pytest.raises(ValueError, match=r"expected a tensor \(3, H, W\) or \(N, 3, H, W\)"):
            AddCameraNoise(generator, gain=0.1)(unfit)


EXAMPLES = dict(re.findall(r"## (\w+)\n\n```python\n(.*?)```", (ROOT / "doc/augmentation.md").read_text(), re.DOTALL))


GREY_IMAGES = {
    "torch.rand(": "0.5 * torch.ones(",
    "np.random.randint(0, 256, (200, 300, 3), np.uint8)": "np.full((200, 300, 3), 128, np.uint8)",
    "p=0.5": "p=1.0",
}


@pytest.mark.parametrize("library", EXAMPLES)
def test_example_of_the_documentation_adds_noise(library, monkeypatch):
    pytest.importorskip(library)
    monkeypatch.chdir(ROOT)
    names, code = {}, EXAMPLES[library]
    for given, grey in GREY_IMAGES.items():
        code = code.replace(given, grey)
    exec(code, names)
    noisy, clean = names["noisy"], names["clean"]
    assert type(noisy) is type(clean) and noisy.dtype == clean.dtype
    assert tuple(noisy.shape) in ((3, 96, 96), (4, 3, 96, 96), (96, 96, 3))
    full_scale = 255 if library == "albumentations" else 1
    assert 0.005 < float(noisy.std()) / full_scale < 0.15  # of an even image, at gains from 0.01 to 0.1
