"""Procedural test charts for the demo camera: each draws one (H, W, 3) float32 panel in [0, 1] at random.

Flat, ramped, edged and textured on purpose: noise models err differently on each. Values stay within `DARK` and
`BRIGHT`, for pure black and white clip the noise away.
"""

import colorsys

import cv2
import numpy as np

DARK, BRIGHT = 0.05, 0.93


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


CHARTS = (grey_ramp, colour_patches, slanted_edges, gratings, dead_leaves)


def random_colour(rng: np.random.Generator, darkest: float = 0.2, brightest: float = BRIGHT) -> np.ndarray:
    """Draw a colour of moderate saturation, one in four grey: -> (3,) float32."""
    saturation = 0.0 if rng.random() < 0.25 else rng.uniform(0.1, 0.5)
    colour = colorsys.hsv_to_rgb(rng.random(), saturation, rng.uniform(darkest, brightest))
    return np.maximum(colour, DARK).astype(np.float32)


def _grey(values) -> np.ndarray:
    """Repeat grey values (...) in three channels (..., 3)."""
    return np.repeat(np.asarray(values, np.float32)[..., None], 3, axis=-1)


def _square_wave(phase: np.ndarray) -> np.ndarray:
    """Signed distance, in periods, to the edges of a square wave: positive inside the pulses."""
    return 0.25 - np.abs(phase - np.round(phase))
