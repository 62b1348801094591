"""Images against images: (H, W, C) uint8 arrays in, numbers out."""

import numpy as np

SSIM_SIDE = 11  # pixels of its Gaussian window, cut at 3.5 sigma


def noise_of(noisy_uint8: np.ndarray, clean_uint8: np.ndarray) -> np.ndarray:
    """Subtract two images without wrapping: (H, W, C), (H, W, C) uint8 -> (H, W, C) int16 in -255..255.

    Raises ValueError when an image is not uint8 or the shapes differ.
    """
    for name, image in (("first", noisy_uint8), ("second", clean_uint8)):
        if image.dtype != np.uint8:
            raise ValueError(f"the {name} image is {image.dtype}, expected uint8")
    if noisy_uint8.shape != clean_uint8.shape:
        raise ValueError(f"the images differ in shape: {noisy_uint8.shape} and {clean_uint8.shape}")
    return noisy_uint8.astype(np.int16) - clean_uint8


def psnr(image_uint8: np.ndarray, reference_uint8: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB, peak 255; infinite for equal images. Raises as `noise_of`."""
    mse = np.mean(noise_of(image_uint8, reference_uint8).astype(np.float64) ** 2)
    return float(10 * np.log10(255.0**2 / mse)) if mse > 0 else float("inf")


def ssim(image_uint8: np.ndarray, reference_uint8: np.ndarray) -> float:
    """Return the structural similarity (Wang et al. 2004), mean over channels.

    Its Gaussian window has 11 pixels and sigma 1.5; the data range is 255. Raises as `noise_of`, and for images that
    are not (H, W, C) or smaller than the window.
    """
    from skimage.metrics import structural_similarity  # here, for its import takes longer than the rest

    noise_of(image_uint8, reference_uint8)
    if image_uint8.ndim != 3 or min(image_uint8.shape[:2]) < SSIM_SIDE:
        raise ValueError(f"image of shape {image_uint8.shape}, expected (H, W, C) with sides from {SSIM_SIDE} pixels")
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(image_uint8, reference_uint8, data_range=255, channel_axis=2, **options))
