"""The data path and the test as the published protocol does them, written plainly: the slow side of the comparisons."""

from pathlib import Path

import cv2
import numpy as np
import torch

Pair = tuple[Path, Path]  # clean, noisy
SIZE, STRIDE, THRESHOLD = 512, 384, 800


def crop_frames(pairs: list[Pair], target: Path) -> list[Pair]:
    """Cut whole frames into overlapping crops, one PNG each -> the pairs of crops."""
    crops = []
    for pair in pairs:
        sides = []
        for path, side in zip(pair, ("clean", "noisy")):
            folder = target / path.parent.name / side
            folder.mkdir(parents=True, exist_ok=True)
            image, names = cv2.imread(str(path), cv2.IMREAD_UNCHANGED), []
            for top, left in corners(*image.shape[:2]):
                names.append(folder / f"{path.stem}_{len(names) + 1:05d}.png")
                cv2.imwrite(str(names[-1]), np.ascontiguousarray(image[top : top + SIZE, left : left + SIZE]))
            sides.append(names)
        crops += zip(*sides)
    return crops


def corners(height: int, width: int) -> list[tuple[int, int]]:
    if height <= THRESHOLD or width <= THRESHOLD:
        raise ValueError(f"a frame of {height}x{width}, expected sides above {THRESHOLD}")
    rows, columns = ([*range(0, side - SIZE, STRIDE), side - SIZE] for side in (height, width))
    return [(top, left) for top in rows for left in columns]


def published_batch(pairs: list[Pair], random: np.random.Generator, batch: int, patch: int) -> torch.Tensor:
    """A batch as the published loop makes it, both images decoded for every patch: (2, N, 3, P, P)."""
    samples = []
    for index in random.integers(0, len(pairs), batch):
        clean, noisy = (cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in pairs[index])
        top, left = (random.integers(0, side - patch + 1) for side in clean.shape[:2])
        patches = (image[top : top + patch, left : left + patch].transpose(2, 0, 1) for image in (clean, noisy))
        samples.append([torch.from_numpy(np.ascontiguousarray(patch)) for patch in patches])
    return torch.stack([torch.stack(images) for images in zip(*samples)])


def published_test(pairs: list[Pair], fake_noise: np.ndarray) -> float:
    """The published figure of a test: the mean divergence of the fake noise's histogram from the real one's."""
    edges = np.array([-1000, *(0.2 / 64 * np.arange(65) - 0.1), 1000])
    divergences = []
    for pair in pairs:
        clean, noisy = (cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(np.float64) for path in pair)
        fake = np.clip(np.round(clean + fake_noise), 0, 255) - clean
        counts = [np.histogram(noise / 255, bins=edges)[0] / noise.size for noise in (noisy - clean, fake)]
        real, made = (shares[(counts[0] > 0) & (counts[1] > 0)] for shares in counts)
        divergences.append(float((real * np.log(real / made)).sum()))
    return float(np.mean(divergences))
