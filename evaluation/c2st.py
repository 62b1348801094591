"""Classifier two-sample tests: can a small network tell real from fake noise, given the clean image?

Lopez-Paz and Oquab, "Revisiting classifier two-sample tests" (ICLR 2017). The figure is the area under the ROC curve
(AUC) on scenes that the network has not seen: .5 if it cannot tell at all, 1 if it always can. It sees whatever is
regular within a patch, and so finds what no metric was written for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor, nn
from tqdm import tqdm

from data.boxes import Box
from data.pairs import ImagePair, Sample, by_file, read_samples
from evaluation.noise_metrics import Comparison, Reference
from evaluation.noise_models import fake_noise
from noise.interface import NoiseModel
from utils.randomness import evenly_spaced, seed_from
from utils.workers import in_threads

MIRRORED = "real, mirrored"  # the floor where no scene has a second frame
MOST_IMAGES = 30
SEEDS = 3
BATCH = {8: 192, 32: 24}  # places of a step by patch side, each once with real and once with fake noise
WIDTH = 24  # channels of the network
STEPS, CHECK, PATIENCE = 240, 20, 4  # at most; steps between validations; validations without a better one
RATE = 3e-3
MOST_TESTED = 1024  # patches of each kind, in validation too
SURE = 0.999  # an AUC on validation beyond which nothing is left to learn
STEADY = 0.05  # range of a steady test's AUC over the seeds
OF_ONE_MODEL = (ValueError, MemoryError, torch.OutOfMemoryError)  # failures that spare the other models' tests
EXAMPLES = 3  # surest patches shown of each kind


class TwoImages(NamedTuple):
    """An image with real noise and one with fake noise, of one scene."""

    clean: tuple[np.ndarray, np.ndarray]  # (H, W, 3) uint8; both the same, unless the fake one is mirrored
    noise: tuple[np.ndarray, np.ndarray]  # (H, W, 3) in whole grey levels
    origin: tuple[int, int]  # in the 2x2 mosaic
    scale: float  # std of the real noise, in grey levels


class Part(NamedTuple):
    """A part of an image to take patches from."""

    images: TwoImages
    box: Box

    def patches(self, corners: np.ndarray, side: int) -> np.ndarray:
        """Cut patches of both kinds: (N, 2) -> (2, N, 6, side, side) float32: noise by its std, and clean, about 0."""
        found = np.empty((2, len(corners), 6, side, side), np.float32)
        for kind, (clean, noise) in enumerate(zip(self.images.clean, self.images.noise)):
            for row, (y, x) in enumerate(corners):
                here = slice(y, y + side), slice(x, x + side)
                found[kind, row, :3] = noise[here].transpose(2, 0, 1) / self.images.scale
                found[kind, row, 3:] = clean[here].transpose(2, 0, 1) / 127.5 - 1
        return found

    def corners(self, side: int, step: int) -> np.ndarray:
        """List the corners of patches, all at the first position of the mosaic, `step` pixels (even) apart: (N, 2)."""
        first = [low + (low + place) % 2 for low, place in zip(self.box[:2], self.images.origin)]
        ends = self.box.top + self.box.height, self.box.left + self.box.width
        ranges = (np.arange(low, end - side + 1, step) for low, end in zip(first, ends))
        return np.stack(np.meshgrid(*ranges, indexing="ij"), -1).reshape(-1, 2)


class Test(NamedTuple):
    """Findings of one trained classifier."""

    model: str
    patch: int  # side in pixels
    seed: int
    auc: float
    steps: int
    tested: int  # patches of each kind
    real: np.ndarray  # (H, W, 3) noise of the patches that it was surest of, side by side, by the std of the real noise
    fake: np.ndarray


@dataclass(frozen=True)
class TwoSampleTests:
    """Tests of all models, the unit that images were split by, and the name of the floor among the models.

    failures: a line for each model whose tests have failed.
    """

    tests: list[Test]
    split_by: str
    floor: str
    failures: list[str] = field(default_factory=list)


def large_enough(pairs: Sequence[ImagePair]) -> list[ImagePair]:
    """Choose the images that are large enough for all patches: `two_sample_tests` leaves out the others.

    Raise ValueError if there is none, or only one, of which a half is too small.
    """
    rows, columns = _needed(max(BATCH))
    chosen = [pair for pair in pairs if pair.box.height >= rows and pair.box.width >= columns]
    rows *= 2 if len(chosen) == 1 else 1
    if not chosen or chosen[0].box.height < rows:
        largest = max(pairs, key=lambda pair: min(pair.box.height / rows, pair.box.width / columns))
        size = f"{largest.box.height}x{largest.box.width} pixels"
        raise ValueError(f"{largest.label}: {size}, two-sample tests need {rows} by {columns} of some image")
    return chosen


def _needed(side: int) -> tuple[int, int]:
    """Return the rows and columns to train on patches of a side, and to choose the best step on others below."""
    return 2 * side + 2, side + 1


def two_sample_tests(
    pairs: Sequence[ImagePair], models: Sequence[NoiseModel], seed: int, num_workers: int, device: torch.device
) -> TwoSampleTests:
    """Test all models, and real noise against real noise, with patches of all sides of `BATCH` and several seeds.

    Takes at most `MOST_IMAGES` of the pairs that are `large_enough`, evenly spaced. Half of the scenes train, the
    others test; of one scene alone it is half of the images, of one image its halves. Takes a minute or two a model on
    two cores. A model whose tests fail is named in the result, and the others are tested.
    """
    pairs, parts_of = evenly_spaced(large_enough(pairs), MOST_IMAGES), {}
    samples = [
        one for batch in in_threads(lambda of: read_samples(of, True), by_file(pairs), num_workers) for one in batch
    ]
    failures: dict[str, str] = {}
    for model in [*models, *([] if any(model.name == "real" for model in models) else [None])]:
        name = model.name if model else MIRRORED
        try:
            both = [(one.pair.folder.name, _with_fake(one, model, seed)) for one in samples]
        except OF_ONE_MODEL as error:
            failures[name] = str(error)
            continue
        parts_of[name] = [(scene, images) for scene, images in both if images is not None]
    jobs = [(name, side, number) for name in parts_of for side in BATCH for number in range(SEEDS)]
    tests, split_by = [], ""
    for name, side, number in tqdm(jobs, desc="two-sample tests", unit="test", disable=None):
        if name in failures:
            continue
        try:
            training, testing, split_by = split(parts_of[name])
            tests.append(classify(name, training, testing, side, seed + number, device))
        except OF_ONE_MODEL as error:
            failures[name] = str(error)
    tests = [test for test in tests if test.model not in failures]
    lines = [f"two-sample tests of {name}: {reason.strip()}" for name, reason in failures.items()]
    return TwoSampleTests(tests, split_by, "real" if "real" in parts_of else MIRRORED, lines)


def _with_fake(sample: Sample, model: NoiseModel | None, seed: int) -> TwoImages | None:
    reference = Reference(sample.clean, sample.noisy)
    scale = max(float(reference.noise.std()), 0.5)
    if model is None:  # an odd width, so that the mirrored image begins at the same position of the mosaic
        width = sample.clean.shape[1] - 1 + sample.clean.shape[1] % 2
        clean, noise = sample.clean[:, :width], reference.noise[:, :width]
        return TwoImages((clean, clean[:, ::-1]), (noise, noise[:, ::-1]), sample.pair.origin, scale)
    fake = fake_noise(model, sample, seed, 0)
    if fake is None:
        return None
    return TwoImages(
        (sample.clean,) * 2, (reference.noise, Comparison(reference, fake).rounded), sample.pair.origin, scale
    )


def split(images: Sequence[tuple[str, TwoImages]]) -> tuple[list[Part], list[Part], str]:
    """Split images, each with its scene's name, into parts that train and parts that test, and say by what."""
    whole = [Part(one, Box(0, 0, *one.noise[0].shape[:2])) for _, one in images]
    scenes = [scene for scene, _ in images]
    names = sorted(set(scenes))
    if not images:
        raise ValueError("it has noise for none of the images")
    if len(names) > 1:
        tests = set(names[1::2])
        training, testing = (
            [part for part, scene in zip(whole, scenes) if (scene in tests) == half] for half in (False, True)
        )
        return training, testing, "scene"
    if len(whole) > 1:
        return whole[::2], whole[1::2], "image"
    one, box = whole[0]
    half = box.height // 2  # the upper one trains; mirroring leaves it where it is
    upper, lower = box._replace(height=half), box._replace(top=half, height=box.height - half)
    return [Part(one, upper)], [Part(one, lower)], "half of the image"


def classify(name: str, training: list[Part], testing: list[Part], side: int, seed: int, device: torch.device) -> Test:
    """Train a classifier on patches and test it on others: its best step by a quarter of the training parts."""
    random = np.random.default_rng((seed, side))
    upper, lower = [], []
    for part in training:
        top, left, height, width = part.box
        cut = min(height * 3 // 4, height - side - 1)
        if cut <= side or width <= side:
            rows, columns = _needed(side)
            raise ValueError(f"{name}: {height}x{width} pixels to learn from, expected {rows} by {columns}")
        upper.append(part._replace(box=Box(top, left, cut, width)))
        lower.append(part._replace(box=Box(top + cut, left, height - cut, width)))
    places = [part.corners(side, 2) for part in upper]
    weights = np.array([len(of) for of in places]) / sum(map(len, places))
    validation, test = (torch.from_numpy(_grid(parts, side)).to(device) for parts in (lower, testing))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(seed, side))
        network = Classifier().to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS, pct_start=0.1)
    best, found, since, step = np.inf, network.state_dict(), 0, 0
    for step in range(1, STEPS + 1):
        chosen = random.choice(len(upper), BATCH[side], p=weights)
        patches = [upper[i].patches(places[i][random.integers(len(places[i]), size=1)], side) for i in chosen]
        batch = torch.from_numpy(np.concatenate(patches, 1)).to(device)
        loss = _loss(network(batch.flatten(0, 1)).view(2, -1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % CHECK == 0:
            scores = _scores(network, validation)
            value = _loss(scores).item()
            if value < best:
                best, since, found = value, 0, {key: tensor.clone() for key, tensor in network.state_dict().items()}
            since += 1
            if since > PATIENCE or auc(*scores.numpy()) > SURE:
                break
    network.load_state_dict(found)
    scores = _scores(network, test)
    surest = scores[0].argsort(descending=True)[:EXAMPLES], scores[1].argsort()[:EXAMPLES]
    shown = [
        torch.cat(list(test[kind, rows, :3]), -1).permute(1, 2, 0).cpu().numpy() for kind, rows in enumerate(surest)
    ]
    return Test(name, side, seed, auc(*scores.numpy()), step, test.shape[1], *shown)


def _grid(parts: list[Part], side: int) -> np.ndarray:
    """Cut patches that do not overlap, at most `MOST_TESTED`, evenly spaced: -> (2, N, 6, side, side)."""
    corners = [(part, corner) for part in parts for corner in part.corners(side, side)]
    cut = [part.patches(corner[None], side) for part, corner in evenly_spaced(corners, MOST_TESTED)]
    return np.concatenate(cut, 1)


def _scores(network: nn.Module, patches: Tensor) -> Tensor:
    """Score patches, higher for those taken as real: (2, N, ...) -> (2, N) on the CPU."""
    network.eval()
    with torch.no_grad():
        scores = torch.cat([network(part) for part in patches.flatten(0, 1).split(512)]).view(2, -1).cpu()
    network.train()
    return scores


def _loss(scores: Tensor) -> Tensor:
    """Compute the cross entropy of scores of real and of fake patches, (2, N)."""
    return F.softplus(-scores[0]).mean() + F.softplus(scores[1]).mean()


def auc(real: np.ndarray, fake: np.ndarray) -> float:
    """Return the area under the ROC curve: the share of pairs in which the real one scores higher, ties half."""
    ranks = rankdata(np.concatenate([real, fake]))[: len(real)]
    return float((ranks.sum() - len(real) * (len(real) + 1) / 2) / (len(real) * len(fake)))


class Classifier(nn.Module):
    """Four convolutions on cells of the mosaic, averaged over the patch: (N, 6, P, P) -> (N,) scores."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.PixelUnshuffle(2)]
        for channels in (24, WIDTH, WIDTH):
            layers += [nn.Conv2d(channels, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(WIDTH, 2 * WIDTH, 1), nn.ReLU())
        self.last = nn.Linear(2 * WIDTH, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """Score patches of any size, higher for real noise."""
        return self.last(self.layers(patches).mean((2, 3)))[:, 0]
