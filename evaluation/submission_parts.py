"""What the submissions share: what they depend on, and how much is done at once."""

import argparse
import hashlib
from pathlib import Path
from typing import Any

from evaluation.denoisers import Denoiser


def settings_of(args: argparse.Namespace, denoiser: Denoiser, inputs: str) -> dict[str, Any]:
    """What a submission depends on. Not on --tile and --device, which turn the rounding of one value in a million."""
    return {"benchmark": args.benchmark, "inputs": f"SHA-256 {inputs}", "denoiser": denoiser.identity}


def threads_of(args: argparse.Namespace, denoiser: Denoiser) -> int:
    """How many parts to denoise at once: a network has all of the device to itself."""
    return args.num_workers if denoiser.classic else 0


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(2**20):
            total.update(piece)
    return total.hexdigest()
