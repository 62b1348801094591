"""The networks of NeCA, their losses, and the models that train them; as a library: `load_neca`."""

from importlib import import_module
from typing import Any

# Imported when they are asked for: a command that needs one network loads no more.
_MODULES = {"NoiseGenerator": "models.generator", "load_neca": "models.generator"}
__all__ = ["NoiseGenerator", "load_neca"]


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
