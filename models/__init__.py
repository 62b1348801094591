"""The networks of NeCA, their losses, and the models that train them."""

from importlib import import_module
from typing import Any

# Public names by module, imported when they are asked for: a command that needs one network loads no more.
_NAMES = {
    "architectures": ["ARCHITECTURES", "Architecture", "build_denoiser", "denoiser_checkpoint"],
    "blocks": ["ACT_MODES", "INIT_TYPES", "initialise"],
    "model_denoiser": ["DenoiserModel", "DenoiserOptions"],
    "model_joint": ["CRITICS", "JointModel", "JointOptions", "StepRandomness", "draw_step"],
    "neca": ["Synthesis", "correlate", "synthesize_s", "synthesize_w"],
    "network_discriminator": ["Discriminator"],
    "network_dncnn": ["DnCNN"],
    "network_genet": ["GENet"],
    "network_nafnet": ["NAFNet"],
    "network_ncnet": ["NCNet"],
    "network_npnet": ["NPNet"],
    "networks": ["GENERATORS", "LETTERS", "NETWORK_CLASSES", "build_networks", "generator_id", "network_checkpoint"],
    "optimise": ["Precision", "Update"],
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
