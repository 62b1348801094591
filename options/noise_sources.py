"""Options of the noise that a denoiser learns from."""

import argparse
import math
import os
from pathlib import Path
from typing import NamedTuple

from options.common import add_pretrain_option, given_path, natural_int
from options.synthesize import grey_levels

KINDS = ("real", "neca-w", "neca-s", "awgn", "heteroscedastic", "coloured")
SIDD_CAMERAS = ("G4", "GP", "IP", "N6", "S6")


class Source(NamedTuple):
    """Where a share of the training samples has its noise from; `folder`: a data set of its own, of kind "folder"."""

    kind: str
    weight: float
    folder: str | None = None

    @property
    def name(self) -> str:
        return Path(self.folder).resolve().name if self.folder else self.kind


def add_source_options(group) -> None:
    """Where the noise comes from, `synthesis.noise_source_setup.build_sources`."""
    group.add_argument(
        "--source",
        type=_source,
        nargs="+",
        default=None,
        metavar="KIND[:SHARE]",
        help=f"{', '.join(KINDS)}, or folder=DIR for the pairs of another data set, such as main_synthesize.py "
        "--layout sidd writes; several are mixed: each sample takes one at random, by the shares (default: neca-w)",
    )
    group.add_argument("--cam_name", nargs="+", default=list(SIDD_CAMERAS), help="cameras whose images are used")
    add_pretrain_option(group)
    group.add_argument(
        "--gain_from",
        choices=("pair", "bank"),
        default="pair",
        help="gain of neca-w: GENet's of the pair's noisy patch (paper), or one of the camera's gains.json of the same "
        "ISO, which takes no noisy image",
    )
    group.add_argument(
        "--noise_level",
        type=grey_levels,
        default=None,
        metavar="S[:S]",
        help="level of neca-s in grey levels, LOW:HIGH draws it uniformly; default: std of the noise of the camera's "
        "training images of the same ISO",
    )
    group.add_argument(
        "--sigma",
        type=grey_levels,
        default=None,
        metavar="S[:S]",
        help="standard deviation of awgn in grey levels, LOW:HIGH draws it uniformly; default: as for neca-s",
    )
    group.add_argument(
        "--fit_images",
        type=natural_int,
        default=100,
        help="crops of each camera and ISO that awgn, heteroscedastic and coloured are fitted on, evenly spaced over "
        "the training scenes; 0: all",
    )


def shares(sources: list[Source]) -> list[str]:
    """Name the sources, with their shares where these differ; a folder goes by its own name, wherever it is."""
    alike = len({source.weight for source in sources}) == 1
    return [source.name if alike else f"{source.name}{source.weight:g}" for source in sources]


def _source(text: str) -> Source:
    """Argparse type: KIND or folder=DIR, each perhaps with :SHARE; a folder that exists may have ":" in its name."""
    expected = f"{', '.join(KINDS)} or folder=DIR, with a share such as real:0.5"
    kind, _, folder = text.partition("=")
    if kind == "folder":
        name, weight = folder, "1"
        if not os.path.isdir(folder) and ":" in folder:
            name, _, weight = folder.rpartition(":")
        source = Source("folder", _share(text, weight), given_path(name))
    else:
        kind, _, weight = text.partition(":")
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
        source = Source(kind, _share(text, weight or "1"))
    return source


def _share(text: str, weight: str) -> float:
    try:
        value = float(weight)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a share above 0, and below a million, after the colon")
    return value
