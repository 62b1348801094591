"""NeCA generators on images of any size and kind; as a library: `load_neca`."""

from importlib import import_module
from typing import Any

# Public names by module, imported when they are asked for: a command that needs one network loads no more.
_NAMES = {
    "generator": ["NoiseGenerator", "load_neca"],
    "image_batch": ["white_noise"],
    "pretrained": ["MissingWeightsError", "load_generators", "load_network"],
    "tiled": ["TiledDenoiser"],
}
_MODULES = {name: f"inference.{module}" for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
