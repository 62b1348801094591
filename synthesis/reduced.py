"""Frames that were reduced to a small size: give their noise back the strength and the correlation of native pixels."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from data.mosaic import Origins, find_origins, with_origins
from data.pairs import find_pairs, read_pair
from data.sidd import parse_scene
from metrics import noise_of
from models.neca import filter_noise
from noise.fitting import Fit, fit_noise
from utils.image import write_image
from utils.randomness import seed_from

# Height and width of SIDD's frames, by camera.
FRAMES = {"S6": (3000, 5328), "G4": (2988, 5312), "N6": (3120, 4208), "GP": (3044, 4048), "IP": (3024, 4032)}
ENLARGED = 2  # times a side: reduced content is sharper than native one
GROUPS = 64  # of clean levels, with about as many pixels each
FRAME_NUMBER = 256  # in the names of restored frames


def attenuation(size: tuple[int, int], frame: tuple[int, int], kernel: np.ndarray) -> np.ndarray:
    """Compute what bilinear reduction leaves of the noise's variance: -> (C, h, w), at most 1.

    Without antialiasing (`cv2.resize`) each pixel is the weighted mean of the 2x2 native ones about
    ((i + .5) H / h - .5, (j + .5) W / w - .5), so only their correlations count. size: (h, w); frame: (H, W); kernel:
    (C, C, K, K), the filter that gives white noise the native correlations.
    """
    energy = (kernel**2).sum((1, 2, 3))
    lagged = {
        (y, x): (kernel[..., y:, : kernel.shape[3] - x] * kernel[..., : kernel.shape[2] - y, x:]).sum((1, 2, 3))
        / energy
        for y, x in np.ndindex(2, 2)
    }
    other = (kernel[..., 1:, 1:] * kernel[..., :-1, :-1]).sum((1, 2, 3)) / energy
    vertical, horizontal, diagonal = (
        r[:, None, None] for r in (lagged[1, 0], lagged[0, 1], (lagged[1, 1] + other) / 2)
    )
    rows, columns = (((np.arange(n) + 0.5) * of / n - 0.5) % 1 for n, of in zip(size, frame))
    (own_y, shared_y), (own_x, shared_x) = (((1 - f) ** 2 + f**2, 2 * f * (1 - f)) for f in (rows[:, None], columns))
    return own_y * own_x + shared_y * own_x * vertical + own_y * shared_x * horizontal + shared_y * shared_x * diagonal


def restore(clean: np.ndarray, noisy: np.ndarray, left: np.ndarray, fit: Fit, seed: int) -> tuple[np.ndarray, ...]:
    """Make a native-like pair of a reduced one: (h, w, C) uint8 each -> clean and noisy, (2 h, 2 w, C) uint8.

    The clean image is the enlarged one. Its noise consists of the reduced image's own values at about the same clean
    level, over the root of `left`, which `attenuation` found; of those the least reduced half, which have kept the most
    of their skew. They are ordered as Gaussian noise with the native correlation by position in the mosaic: rank
    reordering (Iman and Conover 1982), so that marginals are the real ones and correlations nearly the native ones. The
    pair begins with the mosaic's first pixel.
    """
    large = cv2.resize(clean, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC).reshape(-1, clean.shape[2])
    height, width = (ENLARGED * side for side in clean.shape[:2])
    margin = 2 * (fit.phase_kernel.shape[-1] - 1)
    draw = torch.Generator().manual_seed(seed)
    white = torch.randn(1, clean.shape[2], height + margin, width + margin, generator=draw)
    field = filter_noise(white, fit.phase_kernel)[0].flatten(1).numpy()
    noise, made = noise_of(noisy, clean), np.empty(large.shape)
    for c in range(clean.shape[2]):
        kept = left[c] >= np.median(left[c])
        levels, values, scale = clean[..., c][kept], noise[..., c][kept].astype(float), np.sqrt(left[c][kept])
        edges = np.unique(np.quantile(levels, np.linspace(0, 1, GROUPS + 1)[1:-1]))
        of_value, of_pixel = (np.searchsorted(edges, of, "right") for of in (levels, large[:, c]))
        for group in np.unique(of_pixel):
            nearest = of_value[np.abs(of_value - group).argmin()]
            chosen, pixels = of_value == nearest, np.flatnonzero(of_pixel == group)
            mean = values[chosen].mean()
            restored = np.sort(mean + (values[chosen] - mean) / scale[chosen])
            ranks = field[c, pixels].argsort().argsort()
            positions = (ranks + 0.5) / len(ranks) * len(restored) - 0.5
            made[pixels, c] = np.interp(positions, np.arange(len(restored)), restored)
    fake = np.clip(np.rint(large + made), 0, 255).astype(np.uint8)
    return large.reshape(height, width, -1), fake.reshape(height, width, -1)


def fit_native(training: Sequence[Path], scenes: Sequence[Path], num_workers: int) -> tuple[Fit, Origins]:
    """Fit the noise of a camera's native crops that train; return the places of all scenes' in the mosaic, too."""
    origins = find_origins(scenes, num_workers)
    pairs = with_origins(find_pairs(list(training)), origins)
    fits = fit_noise({"all": pairs}, lambda pair: [(pair.noisy, *read_pair(pair), pair.origin)], num_workers)
    return fits["all"], origins


def restore_scene(reduced: Path, folder: Path, fit: Fit, seed: int) -> Origins:
    """Restore the pairs of a scene into <folder>/<scene>/; return their places in the mosaic.

    Raises ValueError for a scene that cannot be read and for a camera whose frames' size is not known.
    """
    scene, made = parse_scene(reduced.name), set()
    if scene.camera not in FRAMES:
        raise ValueError(f"{reduced}: frames of camera {scene.camera}, expected one of {', '.join(FRAMES)}")
    for number, pair in enumerate(find_pairs([reduced]), FRAME_NUMBER):
        clean, noisy = read_pair(pair)
        left = attenuation(clean.shape[:2], FRAMES[scene.camera], fit.kernel.double().numpy())
        images = restore(clean, noisy, left, fit, seed_from(seed, reduced.name, number))
        for kind, image in zip(("GT", "NOISY"), images):
            name = f"{scene.instance}_{kind}_SRGB_{number}.PNG"
            write_image(folder / reduced.name / name, image)
            made.add(name)
    return {pair.label: (0, 0) for pair in find_pairs([folder / reduced.name]) if pair.noisy.name in made}
