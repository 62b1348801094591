"""Simulate the demo camera: scene light to noisy 14-bit RGGB raw to 8-bit sRGB, every step known.

The order of the steps and the idea of going backwards from a finished photograph to linear raw are those of Brooks et
al. 2019, "Unprocessing Images for Learned Raw Denoising"; the demosaicking is Malvar, He, Cutler 2004, the kind that
SIDD's own rendering used. Numbers without a source are our choice, tuned so that the finished noise resembles that
of SIDD's phones (signal-dependent, correlated between neighbours and between channels, negative in the mean).
"""

import cv2
import numpy as np

WHITE_LEVEL = 16383  # 14 bit
BLACK_LEVEL = 1024  # 64 of 1023 at 10 bit, usual for phone sensors; leaves room for read noise below zero light
ISO_RANGE = (50, 12800)

# Electrons that fill the 14-bit range at ISO 100: phone pixels of about 1.1 um hold a few thousand. The inverse is the
# variance per unit of light: 2.5e-4, and 8e-3 at ISO 3200, inside Brooks et al.'s range of shot noise (1e-4 to 1.2e-2).
ELECTRONS_AT_ISO_100 = 4000.0
READ_NOISE_ELECTRONS = 1.5  # before the gain, so it grows with ISO
ADC_NOISE = 4.0  # after the gain, in 14-bit steps, the same at every ISO

# Gains of (R, G, B) that make a grey card grey under SIDD's illuminants; warm light needs little red and much blue.
# At 5500 K inside Brooks et al.'s ranges (red 1.9 to 2.4, blue 1.5 to 1.9).
WHITE_BALANCE = {3200: (1.45, 1.0, 2.30), 4400: (1.75, 1.0, 1.95), 5500: (2.00, 1.0, 1.65)}

# Camera RGB -> linear sRGB. Rows sum to one, so grey stays grey; off-diagonals moderate, as strong ones make the
# noise of the channels negatively correlated, which no phone's is.
COLOUR_MATRIX = np.array([[1.25, -0.20, -0.05], [-0.12, 1.27, -0.15], [0.00, -0.30, 1.30]], np.float32)
GAMMA = 2.2

# Malvar, He, Cutler 2004, Fig. 2, in eighths: bilinear interpolation corrected by the Laplacian of the known colour.
GREEN_AT_RED_BLUE = np.array(
    [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]], np.float32
)
ALONG_ROW_AT_GREEN = np.array(  # the wanted colour lies to the left and right
    [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]], np.float32
)
ACROSS_DIAGONAL = np.array(  # red at blue, blue at red
    [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]], np.float32
)


def photograph(image: np.ndarray, iso: int, kelvin: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Take a picture of a finished sRGB image: (H, W, 3) in [0, 1] -> (H, W, 3) uint8; without `rng` it is clean.

    Also answers "what would this camera have made of this clean 8-bit image?": unlike `DemoScene.noisy` that is not
    exact, for the light is read back from a demosaicked, clipped, rounded picture. Even H and W only.
    """
    return develop(expose(to_raw(image, kelvin), iso, rng), kelvin)


def to_raw(image: np.ndarray, kelvin: int, exposure: float = 1.0) -> np.ndarray:
    """Undo a camera's rendering: sRGB (H, W, 3) in [0, 1] -> RGGB mosaic (H, W) float32, linear, 1 = full scale.

    `exposure` multiplies the light. Inverse tone curve, gamma, colour matrix and white balance of Brooks et al. 2019,
    without their care for blown highlights: there are none in the demo's content.
    """
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(
            f"image of {height}x{width}: expected even sides, the camera's colour filter repeats every 2x2"
        )
    if kelvin not in WHITE_BALANCE:
        raise ValueError(
            f"illuminant {kelvin} K: the demo camera is calibrated for {', '.join(map(str, WHITE_BALANCE))} K"
        )
    linear = inverse_tone_curve(np.asarray(image, np.float32)) ** GAMMA
    to_camera = np.linalg.inv(COLOUR_MATRIX) * (exposure / np.array(WHITE_BALANCE[kelvin]))[:, None]
    raw = np.empty((height, width), np.float32)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):  # R G / G B
        raw[row::2, column::2] = linear[row::2, column::2] @ to_camera[channel].astype(np.float32)
    return raw


def expose(raw: np.ndarray, iso: int, rng: np.random.Generator | None = None) -> np.ndarray:
    """Read the sensor: linear light (H, W), 1 = full scale -> 14-bit numbers (H, W) uint16.

    Poisson shot noise of the electrons and Gaussian read noise, as in Foi et al. 2008; without `rng` neither.
    """
    low, high = ISO_RANGE
    if not low <= iso <= high:
        raise ValueError(f"ISO {iso}: the demo camera has {low} to {high}")
    full_scale = ELECTRONS_AT_ISO_100 * 100 / iso
    electrons = np.maximum(raw, 0) * full_scale
    if rng is not None:
        electrons = rng.poisson(electrons).astype(np.float32)
        read_noise = np.hypot(READ_NOISE_ELECTRONS, ADC_NOISE * full_scale / (WHITE_LEVEL - BLACK_LEVEL))
        electrons += np.float32(read_noise) * rng.standard_normal(raw.shape, np.float32)
    numbers = BLACK_LEVEL + electrons * ((WHITE_LEVEL - BLACK_LEVEL) / full_scale)
    return np.clip(np.round(numbers), 0, WHITE_LEVEL).astype(np.uint16)


def develop(numbers: np.ndarray, kelvin: int) -> np.ndarray:
    """Render 14-bit RGGB numbers (H, W) as 8-bit sRGB (H, W, 3): demosaic, white balance, colour matrix, tone."""
    raw = (numbers.astype(np.float32) - BLACK_LEVEL) / (WHITE_LEVEL - BLACK_LEVEL)
    to_srgb = COLOUR_MATRIX * np.array(WHITE_BALANCE[kelvin], np.float32)  # white balance first, then the matrix
    linear = np.clip(cv2.transform(demosaic(raw), to_srgb), 0, 1)
    return np.round(255 * tone_curve(linear ** (1 / GAMMA))).astype(np.uint8)


def demosaic(raw: np.ndarray) -> np.ndarray:
    """Fill in the missing colours of an RGGB mosaic, linearly: (H, W) float32 -> (H, W, 3). Malvar et al. 2004."""

    def filtered(kernel: np.ndarray) -> np.ndarray:
        # Reflection about the outermost pixel keeps red on red and blue on blue.
        return cv2.filter2D(raw, cv2.CV_32F, kernel / 8, borderType=cv2.BORDER_REFLECT_101)

    image = np.repeat(raw[:, :, None], 3, axis=2)
    even, odd = slice(0, None, 2), slice(1, None, 2)
    green, diagonal = filtered(GREEN_AT_RED_BLUE), filtered(ACROSS_DIAGONAL)
    along_row, along_column = filtered(ALONG_ROW_AT_GREEN), filtered(ALONG_ROW_AT_GREEN.T)
    for known, other, here in ((0, 2, even), (2, 0, odd)):  # `here`: the rows, and the columns, of the known colour
        there = odd if here is even else even
        image[here, here, 1] = green[here, here]
        image[here, here, other] = diagonal[here, here]
        image[here, there, known] = along_row[here, there]
        image[there, here, known] = along_column[there, here]
    return image


def tone_curve(values: np.ndarray) -> np.ndarray:
    """Raise the contrast of values in [0, 1] with the smooth step 3v^2 - 2v^3 (Brooks et al. 2019, Sec. 3.1)."""
    return values * values * (3 - 2 * values)


def inverse_tone_curve(values: np.ndarray) -> np.ndarray:
    """Undo `tone_curve` on [0, 1]: the middle root of the cubic, by the trigonometric formula."""
    return 0.5 - np.sin(np.arcsin(1 - 2 * np.clip(values, 0, 1)) / 3)
