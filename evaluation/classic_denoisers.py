"""Denoisers that need no training: the noisy image itself, non-local means, BM3D."""

import threading
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec

import cv2
import numpy as np
from skimage.restoration import estimate_sigma

from utils.image import to_uint8
from utils.workers import process_pool

STRIDE = 3  # the paper's pixel-shuffle stride: pixels so far apart hardly correlate
SMALLEST_BM3D = 16  # pixels; the package crashes on sides below its own blocks


def estimate_noise_level(noisy: np.ndarray) -> float:
    """Estimate the noise's standard deviation, mean of the channels: (H, W, 3) -> number in the image's own units.

    The median of the finest wavelet coefficients (Donoho & Johnstone 1994), as scikit-image has it, supposes white
    noise; on camera noise it finds less than half. So it is taken of every third row and column, and averaged over
    the nine images that these are. 0 for an image without any noise.
    """
    parts = [noisy[top::STRIDE, left::STRIDE] for top in range(STRIDE) for left in range(STRIDE)]
    with np.errstate(all="ignore"):
        levels = [estimate_sigma(part, channel_axis=-1) for part in parts if np.ptp(part) > 0]
    return float(np.nan_to_num(np.mean(levels))) if levels else 0.0


class Noisy:
    """The noisy image as it is: what every denoiser has to beat."""

    classic, is_noisy, weights = True, True, {}
    identity = "the noisy image itself"

    def __init__(self, name: str):
        self.name = name

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        return noisy


class _OfNoiseLevel:
    """What the classic methods share: a noise level in grey levels, given or estimated of every image."""

    classic, is_noisy, weights = True, False, {}

    def __init__(self, name: str, method: str, sigma: float | None):
        self.name, self.sigma = name, sigma
        level = "estimated from the image" if sigma is None else f"{sigma:g}"
        self.identity = f"{method}, noise level {level}"
        if sigma is None and find_spec("pywt") is None:
            raise ValueError(f"{name}: estimating the noise level needs PyWavelets; pip install PyWavelets, or --sigma")

    def denoise(self, noisy: np.ndarray) -> np.ndarray:
        level = estimate_noise_level(noisy) if self.sigma is None else self.sigma / 255
        return self.remove(noisy, level).astype(np.float32) if level > 0 else noisy


class NonLocalMeans(_OfNoiseLevel):
    """Non-local means of OpenCV, whose images are 8-bit (Buades et al. 2011); its strengths h are the noise level."""

    def __init__(self, name: str, sigma: float | None):
        super().__init__(name, f"non-local means, OpenCV {cv2.__version__}", sigma)

    def remove(self, noisy: np.ndarray, level: float) -> np.ndarray:
        """Denoise: (H, W, 3) in [0, 1], noise level in the same unit -> (H, W, 3)."""
        strength, blue_first = 255 * level, np.ascontiguousarray(to_uint8(noisy)[:, :, ::-1])
        return cv2.fastNlMeansDenoisingColored(blue_first, None, strength, strength)[:, :, ::-1] / 255.0


class Bm3d(_OfNoiseLevel):
    """BM3D for colour images (Dabov et al. 2007), the authors' package `bm3d`, which is not for commercial use.

    The package ends the process when two threads call it, so it works in `num_workers` processes of its own; 0: in
    the caller's thread, one image at a time. Its results vary by about 1e-5 from call to call. Raises ValueError when
    it is not installed.
    """

    def __init__(self, name: str, sigma: float | None, num_workers: int):
        if find_spec("bm3d") is None:
            raise ValueError(f"{name}: the package bm3d (not for commercial use) is not installed; pip install bm3d")
        super().__init__(name, "BM3D, package bm3d", sigma)
        self.pool = process_pool(num_workers) if num_workers else None
        self.lock = threading.Lock()

    def remove(self, noisy: np.ndarray, level: float) -> np.ndarray:
        """As NonLocalMeans.remove. Raises ValueError for images smaller than 16 pixels."""
        if min(noisy.shape[:2]) < SMALLEST_BM3D:
            raise ValueError(f"{self.name}: an image of {noisy.shape[:2]} pixels, expected sides from {SMALLEST_BM3D}")
        try:
            if self.pool:
                return self.pool.submit(_bm3d, noisy, level).result()
            with self.lock:
                return _bm3d(noisy, level)
        except BrokenProcessPool:
            raise ValueError(
                f"{self.name}: its process was killed, perhaps out of memory; use fewer --num_workers"
            ) from None


def _bm3d(noisy: np.ndarray, level: float) -> np.ndarray:
    from bm3d import bm3d_rgb  # optional, and slow to import

    return bm3d_rgb(noisy, level)
