"""Compose the board before the demo camera: photographs and test charts, at any size, in clean light.

scikit-image ships the photographs. Only those whose author gave them away are used, each in one half of the split:

    file           half   author                          licence, as scikit-image documents it
    chelsea.png    train  Stefan van der Walt             CC0
    coffee.png     train  Rachel Michetti                 CC0
    retina.jpg     train  Mikael Haggstrom (Wikimedia)    CC0 1.0
    rocket.jpg     train  SpaceX (launch of DSCOVR)       public domain
    brick.png      train  CC0Textures, Bricks25           CC0 (grey, tinted here)
    grass.png      train  Linolafett (DeviantArt)         CC0 (grey, tinted here)
    astronaut.png  test   NASA (Eileen Collins)           public domain
    gravel.png     test   CC0Textures, Gravel04           CC0 (grey, tinted here)

Left out: the colour wheel, the motorcycle pair (Middlebury) and the tissue section `ihc`, as no licence is stated; the
Hubble deep field, as almost black. The 8 bits and JPEG blocks of the sources do not matter: they are shrunk and
blurred before use, and the camera makes its own clean image from what remains.
"""

import colorsys
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import skimage

from utils.image import read_image

DARK, BRIGHT = 0.05, 0.93  # the range of all content: pure black and white would clip the noise away
PHOTOGRAPHS = {
    "train": ("chelsea.png", "coffee.png", "retina.jpg", "rocket.jpg", "brick.png", "grass.png"),
    "test": ("astronaut.png", "gravel.png"),
}
TINTS = {"brick.png": (1.25, 0.80, 0.65), "grass.png": (0.85, 1.10, 0.50), "gravel.png": (1.10, 1.00, 0.88)}
PHOTOGRAPH_SHARE = 0.6  # of the panels; the others are charts
LENS_BLUR = 0.7  # pixels; without it, hard edges would make the demosaicked image dotted, clean and noisy alike
REFERENCE_SIDE = 1024  # frames whose shorter side is longer get larger panels, not only more of them


def compose(height: int, width: int, half: str, rng: np.random.Generator) -> np.ndarray:
    """Fill a frame with panels and light it unevenly: (H, W, 3) float32 sRGB in [0, 1].

    `half` is "train" or "test" and chooses the photographs; charts never repeat, as no two scenes share a generator.
    """
    stretch = max(1.0, min(height, width) / REFERENCE_SIDE)
    frame = np.empty((height, width, 3), np.float32)
    photographs, charts = _endless(PHOTOGRAPHS[half], rng), _endless(CHARTS, rng)
    count = 0
    for top, bottom in _cut(height, stretch, rng):
        for left, right in _cut(width, stretch, rng):
            # Photographs and charts keep their shares exactly, so that no scene lacks either.
            if int((count + 1) * PHOTOGRAPH_SHARE) > int(count * PHOTOGRAPH_SHARE):
                panel = photograph_panel(next(photographs), bottom - top, right - left, stretch, rng)
            else:
                panel = next(charts)(bottom - top, right - left, rng)
            frame[top:bottom, left:right] = panel
            count += 1
    return cv2.GaussianBlur(_light(frame, rng), (0, 0), LENS_BLUR)


def photograph_panel(name: str, height: int, width: int, stretch: float, rng: np.random.Generator) -> np.ndarray:
    """Cut a random part of a photograph, flipped and scaled at random: (H, W, 3) float32 in [DARK, BRIGHT].

    Scales from 1/2 to 1 times `stretch` hide the photograph's own noise; what is smaller than the panel is mirrored.
    """
    scale = stretch * rng.uniform(0.5, 1.0)
    photograph = _photograph(name)
    if rng.random() < 0.5:
        photograph = photograph[:, ::-1]
    rows, columns = (round(side * scale) for side in photograph.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cv2.resize(np.ascontiguousarray(photograph), (columns, rows), interpolation=interpolation)
    top, left = rng.integers(max(1, rows - height + 1)), rng.integers(max(1, columns - width + 1))
    panel = scaled[_mirrored(top, height, rows)][:, _mirrored(left, width, columns)]
    return DARK + (BRIGHT - DARK) * np.clip(panel, 0, 1)


@lru_cache(maxsize=len(PHOTOGRAPHS["train"]))
def _photograph(name: str) -> np.ndarray:
    """Read one of scikit-image's photographs by its file's name: (h, w, 3) float32 in [0, 1]."""
    # From the installed files, not by `skimage.data.*`, which would go to the network for a missing one.
    photograph = read_image(Path(skimage.__file__).parent / "data" / name)
    return photograph * (np.array(TINTS.get(name, (1, 1, 1)), np.float32) / 255)


def _light(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dim the frame in place towards one side, by 10 to 35 %, so that flat patches show all brightnesses."""
    height, width = frame.shape[:2]
    angle, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.10, 0.35)
    y, x = np.linspace(-0.5, 0.5, height, dtype=np.float32), np.linspace(-0.5, 0.5, width, dtype=np.float32)
    # |cos| + |sin| normalises the slope: the brightest corner keeps its light, the opposite one loses `depth`.
    towards = np.array([np.sin(angle), np.cos(angle)], np.float32)
    slope = depth / np.abs(towards).sum()
    frame *= (1 - depth / 2 + slope * (towards[0] * y[:, None] + towards[1] * x))[:, :, None]
    return frame


def _cut(length: int, stretch: float, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Cut `length` pixels into two or more unequal parts of about 256 times `stretch`; return their starts and ends."""
    parts = max(2, round(length / (256 * stretch)))
    shifts = rng.uniform(-0.2, 0.2, parts - 1)
    edges = [0, *(round((part + 1 + shift) * length / parts) for part, shift in enumerate(shifts)), length]
    return list(pairwise(edges))


def _mirrored(start: int, count: int, length: int) -> np.ndarray:
    """Return `count` indices from `start` on into `length` pixels continued by their mirror image."""
    position = np.arange(start, start + count) % (2 * length)
    return np.minimum(position, 2 * length - 1 - position)


def _endless(items: tuple, rng: np.random.Generator) -> Iterator:
    """Yield the items in random order, again and again, each once per round."""
    while True:
        for index in rng.permutation(len(items)):
            yield items[index]


# Test charts: flat, ramped, edged and textured on purpose, for noise models err differently on each.


def grey_ramp(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a grey gradient in a random direction, smooth or in 6 to 12 steps."""
    angle = rng.uniform(0, 2 * np.pi)
    across = (
        np.cos(angle) * np.linspace(-0.5, 0.5, width)[None] + np.sin(angle) * np.linspace(-0.5, 0.5, height)[:, None]
    )
    ramp = (across - across.min()) / np.ptp(across)  # (H, W) in [0, 1]
    if rng.random() < 0.5:
        steps = rng.integers(6, 13)
        ramp = np.minimum(np.floor(ramp * steps), steps - 1) / (steps - 1)
    return _grey(DARK + (BRIGHT - DARK) * ramp)


def colour_patches(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a checker of flat colours on a dark frame, as on the cards that photographers use."""
    patch = int(rng.integers(48, 97))
    rows, columns = max(1, round(height / patch)), max(1, round(width / patch))
    panel = np.full((height, width, 3), rng.uniform(DARK, 0.2), np.float32)
    for row in range(rows):
        for column in range(columns):
            top, left = row * height // rows + 3, column * width // columns + 3
            bottom, right = (row + 1) * height // rows - 3, (column + 1) * width // columns - 3
            panel[top:bottom, left:right] = random_colour(rng)
    return panel


def slanted_edges(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw dark squares, tilted by a few degrees, on a bright ground: sharp edges at every position within a pixel."""
    angle = np.deg2rad(rng.uniform(4, 12))
    size = rng.uniform(40, 110)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = (np.cos(angle) * x + np.sin(angle) * y) / size, (np.cos(angle) * y - np.sin(angle) * x) / size
    # The distance to the nearest edge, in pixels, shifted by half a pixel and clipped: an edge one pixel wide.
    inside = np.minimum(_square_wave(u), _square_wave(v)) * size
    weight = np.clip(inside + 0.5, 0, 1)[:, :, None]
    dark, bright = _grey(rng.uniform(DARK, 0.35)), _grey(rng.uniform(0.6, BRIGHT))
    if rng.random() < 0.5:
        dark = random_colour(rng, brightest=0.5)
    return bright + (dark - bright) * weight


def gratings(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rings whose spacing shrinks from 40 to 5 pixels: every direction, coarse to fine."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = np.hypot(y - rng.uniform(0.2, 0.8) * height, x - rng.uniform(0.2, 0.8) * width)
    reach = float(radius.max())
    frequency = 1 / 40 + (1 / 5 - 1 / 40) * radius / (2 * reach)  # the phase's derivative reaches 1/5 at the far corner
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * frequency * radius)
    low, high = random_colour(rng, brightest=0.4), random_colour(rng, darkest=0.6)
    return low + (high - low) * wave[:, :, None]


def dead_leaves(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw overlapping discs with the sizes of natural images (Lee et al. 2001: density of radii falls as r^-3)."""
    panel = np.empty((height, width, 3), np.float32)
    panel[:] = random_colour(rng)
    smallest, largest, mean_area = 3.0, 80.0, np.pi * 60.0  # pixels; 60 is about the mean of r^2 for these two
    palette = [random_colour(rng) for _ in range(12)]
    count = int(3 * height * width / mean_area)  # the discs cover the panel three times
    uniform = rng.random(count)
    radii = 1 / np.sqrt(1 / smallest**2 - uniform * (1 / smallest**2 - 1 / largest**2))  # inverse distribution of r^-3
    centres = rng.random((count, 2)) * (width, height)
    shades, choices = rng.uniform(0.75, 1.1, count), rng.integers(len(palette), size=count)
    for centre, radius, shade, choice in zip(centres, radii, shades, choices):
        colour = np.clip(palette[choice] * shade, DARK, BRIGHT).tolist()
        cv2.circle(panel, (int(centre[0]), int(centre[1])), int(radius), colour, cv2.FILLED)
    return panel


def random_colour(rng: np.random.Generator, darkest: float = 0.2, brightest: float = BRIGHT) -> np.ndarray:
    """Draw a colour of moderate saturation, one in four grey: (3,) float32."""
    saturation = 0.0 if rng.random() < 0.25 else rng.uniform(0.1, 0.5)
    colour = colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(darkest, brightest))
    return np.maximum(colour, DARK).astype(np.float32)


def _grey(values: float | np.ndarray) -> np.ndarray:
    """Repeat grey values in three channels: (...) -> (..., 3)."""
    return np.repeat(np.asarray(values, np.float32)[..., None], 3, axis=-1)


def _square_wave(phase: np.ndarray) -> np.ndarray:
    """Return the signed distance, in periods, to the edges of a square wave: positive inside the pulses."""
    return 0.25 - np.abs(phase - np.round(phase))


CHARTS = (grey_ramp, colour_patches, slanted_edges, gratings, dead_leaves)
