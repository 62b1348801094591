"""Noise models: one interface, a file for each model, one table of all, and their fitting to image pairs.

from neca import load_noise
model = load_noise("S6")
noisy = model.synthesize(clean, iso=800, seed=1, key="name")
"""

from importlib import import_module
from typing import Any

# Public names by module, imported when they are asked for.
_NAMES = {
    "augmentation": ["AddCameraNoise"],
    "blind_fit": ["noise_like"],
    "camera": ["CameraNoise"],
    "kinds": ["KINDS", "load_noise"],
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
