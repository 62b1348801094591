"""The networks of NeCA, their losses, and the models that train them; as a library: `load_neca`."""

from models.generator import NoiseGenerator, load_neca

__all__ = ["NoiseGenerator", "load_neca"]
