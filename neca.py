"""Noise of real cameras for other programs, under one name: in the clone, installed by pip, and by torch.hub.

import neca
noisy = neca.load_noise("S6").synthesize(clean, iso=800, seed=1, key="name")

`setup.py` makes the package of it: neca.noise, neca.models, ... hide no other project's packages.
"""

from typing import Any

from inference import NoiseGenerator, load_neca
from noise import AddCameraNoise, CameraNoise, load_noise

__version__ = "0.1.0"
__all__ = ["AddCameraNoise", "CameraNoise", "NoiseGenerator", "load_neca", "load_noise"]


def __getattr__(name: str) -> Any:
    """Import what also needs the extra `fit` when it is asked for (PEP 562)."""
    if name == "noise_like":
        from noise import noise_like

        return noise_like
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
