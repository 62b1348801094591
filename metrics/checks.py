"""What the metrics ask of their input."""

import numpy as np


def check_noise(noise: np.ndarray) -> None:
    """Raise ValueError for what is no (H, W, C) array of finite numbers."""
    if noise.ndim != 3 or noise.size == 0:
        raise ValueError(f"noise of shape {noise.shape}, expected (H, W, C)")
    if not np.issubdtype(noise.dtype, np.number):
        raise ValueError(f"noise is {noise.dtype}, expected numbers")
    if not np.issubdtype(noise.dtype, np.integer) and not np.isfinite(noise).all():
        raise ValueError("the noise holds values that are not finite")


def check_pair(real_noise: np.ndarray, fake_noise: np.ndarray) -> None:
    """Raise ValueError for what are no two noises of one image, both in grey levels.

    The real one has to be in whole grey levels, as that of 8-bit images is: so noise in units of [0, 1] is found out.
    """
    if real_noise.shape != fake_noise.shape:
        raise ValueError(f"noises of shapes {real_noise.shape} and {fake_noise.shape}, expected the same (H, W, C)")
    if not np.issubdtype(real_noise.dtype, np.integer):
        raise ValueError(f"real noise is {real_noise.dtype}, expected integer noise in grey levels (noise_of)")
    for noise in (real_noise, fake_noise):
        check_noise(noise)
