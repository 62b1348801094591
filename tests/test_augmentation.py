"""The augmentation: new noise at every call, ruled by PyTorch's seeds, in workers and out of them."""

import collections
import importlib.util
import pickle
import re
import sys

import numpy as np
import PIL.Image
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from inference import NoiseGenerator
from noise import AddCameraNoise
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


def test_noise_is_the_generators(generator, device):
    transform, images = AddCameraNoise(generator, gain=0.1, clip=False), GREY[None].repeat(3, 1, 1, 1)
    torch.manual_seed(0)
    noisy = transform.to(device)(images.to(device))
    torch.manual_seed(0)
    torch.rand(3)  # who gets noise
    torch.randint(1, (3,))  # which of one gain
    z = torch.randn(3, 3, 16, 16, device=device)
    expected = generator.to("cpu").synthesize(images, gain=0.1, z=z.cpu())
    assert torch.allclose(noisy.cpu(), expected, atol=1e-6 if device.type == "cpu" else 1e-5)


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


# Samples of other people's data sets


Pair = collections.namedtuple("Pair", "image label")
IMAGE = tv_tensors.Image(GREY)
MASK = tv_tensors.Mask(torch.ones(3, 16, 16, dtype=torch.uint8))
BOXES = tv_tensors.BoundingBoxes(torch.tensor([[1.0, 2, 5, 6]]), format="XYXY", canvas_size=(16, 16))
LABEL = torch.tensor(3)


@pytest.mark.parametrize(
    "sample, noisy",
    [
        ((GREY, 3), [0]),
        ((LABEL, GREY), [1]),
        ([GREY, GREY.clone()], [0]),  # as in torchvision: of plain tensors the first
        ({"boxes": BOXES, "mask": MASK, "image": GREY, "name": "a.png"}, [2]),
        ((IMAGE, {"boxes": BOXES, "masks": MASK, "labels": LABEL}), [0]),
        ({"image": IMAGE, "target": GREY}, [0]),  # plain beside a typed one: it stays
        ((IMAGE, tv_tensors.Image(GREY)), [0, 1]),
        (Pair(IMAGE, None), [0]),
        ({"views": [IMAGE, (IMAGE, np.zeros(3))]}, [0, 1]),
        ((tv_tensors.Video(GREY.repeat(2, 3, 1, 1, 1)), 1), [0]),
        ((GREY.repeat(4, 1, 1, 1), torch.arange(4)), [0]),  # a batch of a loader
    ],
)
@pytest.mark.parametrize("several", [False, True])
def test_images_of_a_sample_get_noise_and_the_rest_passes_as_it_is(generator, sample, noisy, several):
    transform = v2.Compose([AddCameraNoise(generator, noise_level=25)])
    arguments = tuple(sample) if several and type(sample) in (tuple, list) else (sample,)
    result = transform(*arguments)
    given, structure = torch.utils._pytree.tree_flatten(arguments if len(arguments) > 1 else sample)
    found, found_structure = torch.utils._pytree.tree_flatten(result)
    assert found_structure == structure
    for place, (before, after) in enumerate(zip(given, found)):
        if place in noisy:
            assert type(after) is type(before) and after.dtype == before.dtype and after.shape == before.shape
            assert (after - before).as_subclass(torch.Tensor).std() > 0.01
        else:
            assert after is before


def test_frames_of_a_video_share_their_strength(generator):
    video = tv_tensors.Video(torch.full((2, 4, 3, 48, 48), 0.5))
    for seed in range(8):
        torch.manual_seed(seed)
        noisy = AddCameraNoise(generator, noise_level=[1.0, 60.0])(video).as_subclass(torch.Tensor)
        std = noisy.std(dim=(2, 3, 4))
        assert (std.amax(1) < 2 * std.amin(1)).all()  # 60 times, of other strengths


def test_another_subclass_of_tensor_keeps_its_type_and_what_it_knows(generator):
    class Named(torch.Tensor):
        origin: str

    image = GREY.clone().as_subclass(Named)
    image.origin = "a.png"
    noisy = AddCameraNoise(generator, noise_level=25)(image)
    assert type(noisy) is Named and noisy.origin == "a.png"


@pytest.mark.parametrize("unfit", [PIL.Image.new("RGB", (16, 16)), (PIL.Image.new("L", (16, 16)), 3)])
def test_pil_images_are_refused_with_the_transform_that_makes_tensors(generator, unfit):
    with pytest.raises(ValueError, match=r"a PIL image, expected a tensor; put v2\.ToImage or v2\.PILToTensor before"):
        AddCameraNoise(generator, gain=0.1, p=0)(unfit)
    transform = v2.Compose([v2.ToImage(), AddCameraNoise(generator, gain=0.1, p=0)])
    assert isinstance(transform(PIL.Image.new("RGB", (16, 16))), tv_tensors.Image)


@pytest.mark.parametrize(
    "unfit", [(), ("a.png", 3), (MASK, LABEL), {"image": torch.zeros(1, 16, 16)}, GREY.int(), np.zeros((16, 16, 3))]
)
def test_samples_without_an_image_are_refused_in_one_line(generator, unfit):
    with pytest.raises(ValueError, match=r"expected a tensor \(3, H, W\) or \(N, 3, H, W\), uint8 or float") as error:
        AddCameraNoise(generator, gain=0.1, p=0)(unfit)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("beyond", [1e-6, 0.04, 0.45])
def test_floats_that_resizing_has_taken_beyond_are_clamped(generator, beyond):
    overshot = torch.stack([GREY - 0.5, GREY + 0.5])
    expected, found = (
        (torch.manual_seed(0), AddCameraNoise(generator, noise_level=25, clip=False)(image))[1]
        for image in (overshot, overshot + torch.tensor([-beyond, beyond]).reshape(2, 1, 1, 1))
    )
    assert torch.equal(found, expected)


def test_bicubic_resizing_takes_no_image_too_far(generator):
    line = torch.tensor([0.0, 1, 1, 0] * 8)
    worst = (line[:, None] == line).float().expand(3, -1, -1)  # edges in both directions
    resized = v2.Resize(118, v2.InterpolationMode.BICUBIC, antialias=False)(worst)
    assert resized.min() < -0.4 and resized.max() > 1.4
    noisy = v2.Compose([v2.Resize(118, v2.InterpolationMode.BICUBIC), AddCameraNoise(generator, gain=0.1)])(worst)
    assert noisy.min() >= 0 and noisy.max() <= 1
    AddCameraNoise(generator, gain=0.1)(resized)


@pytest.mark.parametrize("p", [0, 1])
@pytest.mark.parametrize(
    "unfit, message",
    [
        (255 * torch.rand(3, 16, 16), r"an image has values from .* expected floats in \[0, 1\]; scale it by v2"),
        (4 * GREY - 2.6 * torch.eye(16), r"an image has values from -0\.6 to 2, expected floats in \[0, 1\]"),
        (GREY / 0, "not finite"),
        (GREY * torch.nan, "not finite"),
    ],
)
def test_floats_of_other_ranges_are_refused_with_or_without_noise(generator, unfit, message, p):
    with pytest.raises(ValueError, match=f"AddCameraNoise: .*{message}"):
        AddCameraNoise(generator, gain=0.1, p=p)((unfit, 3))


KINDS = {
    "float16": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "float64": lambda x: x.double(),
    "uint8": lambda x: (255 * x).byte(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.mT.contiguous().mT,
    "expanded": lambda x: x[:1].expand(2, -1, -1, -1),
    "every other pixel": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "of the gradient": lambda x: x.clone().requires_grad_(),
    "computed": lambda x: x.clone().requires_grad_() * 1,
    "a parameter": lambda x: torch.nn.Parameter(x.clone()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_tensor_gets_the_same_noise(generator, kind):
    batch = GREY.repeat(2, 1, 1, 1)
    transform, given = AddCameraNoise(generator, noise_level=25), KINDS[kind](batch)
    torch.manual_seed(0)
    expected = transform(batch)
    torch.manual_seed(0)
    noisy = transform(given)
    assert noisy.dtype == given.dtype and type(noisy) is torch.Tensor and not noisy.requires_grad
    scale = 255 if kind == "uint8" else 1
    assert (noisy.double() / scale - expected.double()).abs().max() < 0.005  # bfloat16 has eight bits
    assert torch.equal(given, KINDS[kind](batch))


def test_torchvision_is_not_needed(generator, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"] + ["torchvision"]:
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    again = importlib.util.spec_from_file_location("again", ROOT / "noise/augmentation.py")
    module = importlib.util.module_from_spec(again)
    again.loader.exec_module(module)
    noisy, label = module.AddCameraNoise(generator, gain=0.1)((GREY, 3))
    assert label == 3 and not torch.equal(noisy, GREY)


SECTIONS = (ROOT / "doc/augmentation.md").read_text().split("\n## ")[1:]
EXAMPLES = {text.split("\n")[0]: re.search(r"```python\n(.*?)```", text, re.DOTALL) for text in SECTIONS}
EXAMPLES = {library: code[1] for library, code in EXAMPLES.items() if code}


GREY_IMAGES = {
    "torch.rand(": "0.5 * torch.ones(",
    "np.random.randint(0, 256, (200, 300, 3), np.uint8)": "np.full((200, 300, 3), 128, np.uint8)",
    "np.random.rand(96, 96, 3)": "np.full((96, 96, 3), 0.5)",
    "p=0.5": "p=1.0",
}


@pytest.mark.parametrize("library", EXAMPLES)
def test_example_of_the_documentation_adds_noise(library, monkeypatch):
    if library not in ("KAIR", "BasicSR"):  # whose hooks the examples fit need nothing of theirs
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
    assert 0.005 < float(noisy.std()) / full_scale < 0.15  # of an even image, at ISOs from 100 to 3200
    if library == "BasicSR":  # whose sinc filters leave [0, 1] by more than AddCameraNoise allows
        assert names["add_camera_noise"](4 * clean).max() <= 1
