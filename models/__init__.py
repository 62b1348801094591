"""The networks of NeCA, their losses, and the models that train them."""


def __getattr__(name: str):
    """Export load_neca without loading anything before it is asked for."""
    if name == "load_neca":
        from models.generator import load_neca

        return load_neca
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
