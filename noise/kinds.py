"""The table of noise models."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from noise.fitting import Fit
from noise.gaussian import Coloured, ColouredByPhase, Gaussian, Heteroscedastic
from noise.interface import NoiseModel, PerIso, constant


class FittedKind(NamedTuple):
    """A kind of fitted model: its name and description in tables, and how to make it; it may ignore the fit."""

    name: str
    description: str
    build: Callable[[Fit], NoiseModel]


FITTED = {
    "coloured": FittedKind(
        "coloured",
        "Gaussian noise with mean and std by intensity, spatial and channel covariance of the training images of the "
        "ISO",
        lambda fit: Coloured(fit.level_mean, fit.level_std, fit.kernel),
    ),
    "coloured-phase": FittedKind(
        "coloured by phase",
        "the coloured noise with a covariance that depends on the position in the 2x2 mosaic",
        lambda fit: ColouredByPhase(fit.level_mean, fit.level_std, fit.phase_kernel),
    ),
    "heteroscedastic": FittedKind(
        "heteroscedastic",
        "independent Gaussian noise with mean and std by intensity of the training images of the ISO",
        lambda fit: Heteroscedastic(fit.level_mean, fit.level_std),
    ),
    "awgn": FittedKind(
        "AWGN-ISO",
        "white Gaussian noise with the std of the training images of the ISO",
        lambda fit: Gaussian(constant(fit.std)),
    ),
}
# Kinds that are scaled to the std of each real noisy image (`noise.interface.TimesStd`), and what is scaled.
SCALED = {f"{kind}-x-std": kind for kind in ("coloured", "coloured-phase")}


def fitted_model(kind: str, fits: Mapping[int, Fit]) -> NoiseModel:
    """Build the model of a kind of `FITTED` for one camera, {ISO: fit}."""
    name, _, build = FITTED[kind]
    return PerIso({iso: build(fit) for iso, fit in fits.items()}, name=name)
