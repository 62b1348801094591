"""Image and noise metrics: arrays in, numbers out, one value per image. Definitions: each in its docstring.

Images are (H, W, C) uint8; noise is (H, W, C) in grey levels, the real one in whole ones (`noise_of`).
"""

from importlib import import_module
from typing import Any

# Public names by module, imported when they are asked for: SciPy's FFT takes half of the cropper's start.
_NAMES = {
    "bayer": "align_phases phase phase_distance phase_profile",
    "histogram": "akld count_levels kld kld_exact kld_flow kld_naflow",
    "images": "noise_of psnr ssim",
    "structure": "WHITE_NOISE acf acf_distance autocorrelation bias channel_correlation nlf nlf_distance nlf_mean "
    "nlf_mean_distance noise_level_function noise_level_sums psd psd_distance spectrum spectrum_frequencies std "
    "structure_score xcorr xcorr_distance",
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names.split()}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
