"""NeCA generators on images of any size and kind; as a library: `load_neca`."""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Public names by module, imported when they are asked for: a command that needs one network loads no more.
_NAMES = {
    "generator": ["NoiseGenerator", "load_neca"],
    "image_batch": ["white_noise"],
    "pretrained": ["MissingWeightsError", "load_generators", "load_network"],
    "tiled": ["TiledDenoiser"],
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def require_own(*names: str) -> None:
    """Raise ImportError, with the way round, where another project's package or module hides one of ours."""
    root, above = Path(__file__).resolve().parent.parent, __name__.removesuffix("inference")  # "neca." where installed
    for name in names:
        loaded = sys.modules.get(above + name)
        spec = loaded.__spec__ if loaded else find_spec(above + name)
        places = (
            [spec.origin, *(spec.submodule_search_locations or ())] if spec else [getattr(loaded, "__file__", None)]
        )
        found = next((place for place in places if place), "another place")
        if Path(found).resolve() != root / name / "__init__.py":
            raise ImportError(
                f"{found} hides the package {name} of {root}, which has the same name: install ours as neca, pip "
                f"install {root}; or start a command there, such as main_synthesize.py, as a process of its own; or "
                "import ours where that directory is not on sys.path",
                name=name,
            )


require_own("models", "utils")


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
