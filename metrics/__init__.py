"""Image and noise metrics: arrays in, numbers out, one value per image. Definitions: each in its docstring.

Images are (H, W, C) uint8; noise is (H, W, C) in grey levels, the real one in whole ones (`noise_of`).
"""

from metrics.histogram import akld, count_levels, kld, kld_exact, kld_flow, kld_naflow
from metrics.images import noise_of, psnr, ssim
from metrics.phase import align_phases, phase, phase_distance, phase_profile
from metrics.structure import (
    WHITE_NOISE,
    acf,
    acf_distance,
    autocorrelation,
    bias,
    channel_correlation,
    nlf,
    nlf_distance,
    nlf_mean,
    nlf_mean_distance,
    noise_level_function,
    noise_level_sums,
    psd,
    psd_distance,
    spectrum,
    spectrum_frequencies,
    std,
    structure_score,
    xcorr,
    xcorr_distance,
)

__all__ = [
    "WHITE_NOISE",
    "acf",
    "acf_distance",
    "akld",
    "align_phases",
    "autocorrelation",
    "bias",
    "channel_correlation",
    "count_levels",
    "kld",
    "kld_exact",
    "kld_flow",
    "kld_naflow",
    "nlf",
    "nlf_distance",
    "nlf_mean",
    "nlf_mean_distance",
    "noise_level_function",
    "noise_level_sums",
    "noise_of",
    "phase",
    "phase_distance",
    "phase_profile",
    "psd",
    "psd_distance",
    "psnr",
    "spectrum",
    "spectrum_frequencies",
    "ssim",
    "std",
    "structure_score",
    "xcorr",
    "xcorr_distance",
]
