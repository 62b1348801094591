"""The denoisers of an evaluation, from the options; what is missing; a record of the run."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from data.splits import published_split
from evaluation.denoisers import make_denoiser, read_spec
from evaluation.denoising import Run
from evaluation.denoising_images import ImageSet
from evaluation.report import provenance
from models.pretrained import MissingWeightsError

SEED = "{seed}"
REAL = "real"  # what the denoiser trained on real noise is called, unless --pgap_of names another


@dataclass
class Candidates:
    """Denoisers to compare; the name of the one that PGap is measured from, if any; remarks for the report."""

    runs: list[Run] = field(default_factory=list)
    pgap_of: str | None = None
    remarks: list[str] = field(default_factory=list)


def find_denoisers(args: argparse.Namespace, device: torch.device) -> Candidates:
    """Make all denoisers, the noisy image the first.

    Raises ValueError for names that are taken, and for missing checkpoints: all are named. With --skip_missing they
    are left out, and remarks say which.
    """
    found, missing = Candidates(), []
    options = (device, args.tile, args.self_ensemble, args.sigma, args.num_workers)
    for spec, seed in _expand(args.denoisers, args.seeds):
        try:
            found.runs.append(Run(make_denoiser(spec, *options), seed))
        except MissingWeightsError as error:
            missing.append(str(error))
    if missing and not args.skip_missing:
        raise ValueError(f"missing: {'; '.join(missing)}; train them, change --denoisers, or use --skip_missing")
    found.remarks += [f"Missing, left out: {reason}." for reason in missing]
    found.pgap_of = _pgap_of(args.pgap_of, found.runs, missing)
    if args.sigma is not None and not any("noise level" in run.denoiser.identity for run in found.runs):
        found.remarks.append("--sigma has no effect: neither nlm nor bm3d is among the denoisers.")
    if args.self_ensemble and all(run.denoiser.classic for run in found.runs):
        found.remarks.append("--self_ensemble has no effect: no network is among the denoisers.")
    return found


def _expand(specs: list[str], seeds: list[int]) -> list[tuple[str, int | None]]:
    """Put every seed into the specs that want one: -> specs with their seeds, a name at most once for each seed."""
    if seeds and not any(SEED in spec for spec in specs):
        raise ValueError(f"--seeds: none of --denoisers has {SEED} in its path; write it where the runs' names differ")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {' '.join(map(str, seeds))}: one is there twice")
    if not any(read_spec(spec)[1] == "noisy" for spec in specs):
        specs = ["noisy", *specs]
    expanded, names = [], set()
    for spec in specs:
        name, what = read_spec(spec)
        if SEED in spec and (what == spec or SEED in name):
            raise ValueError(f"--denoisers {spec}: expected NAME= before a path with {SEED}, the name of all its runs")
        if SEED in spec and not seeds:
            raise ValueError(f"--denoisers {spec}: expected --seeds, what to put for {SEED}")
        if name in names:
            raise ValueError(f"--denoisers: {name!r} is there twice; put another NAME= before one of them")
        names.add(name)
        expanded += [(spec.replace(SEED, str(seed)), seed) for seed in seeds] if SEED in spec else [(spec, None)]
    return expanded


def _pgap_of(wanted: str | None, runs: list[Run], missing: list[str]) -> str | None:
    trained = {run.denoiser.name for run in runs if not run.denoiser.classic}
    if wanted is None:
        return REAL if REAL in trained else None
    if wanted not in trained and not missing:
        names = ", ".join(sorted(trained)) or "none"
        raise ValueError(f"--pgap_of {wanted}: expected the name of a trained denoiser; there are: {names}")
    return wanted if wanted in trained else None


def output_folder(args: argparse.Namespace) -> Path:
    """Where the results go."""
    if args.output_dir:
        return Path(args.output_dir)
    what = "validation" if args.noisy_blocks else "_".join(dict.fromkeys(args.cam_name))
    return Path("saves") / "evaluation" / f"denoise_{what}"


def describe_run(args: argparse.Namespace, images: ImageSet, candidates: Candidates) -> dict[str, Any]:
    """What a report says of its run: title, remarks, provenance; plain values."""
    remarks = [f"Images: {images.what}. Outputs are clipped and rounded to 8 bit.", *candidates.remarks]
    if not args.noisy_blocks and any(map(published_split, args.cam_name)):
        remarks.append("In SIDD's published split every test scene is also seen in training, under another exposure.")
    weights = {path: digest for run in candidates.runs for path, digest in run.denoiser.weights.items()}
    options = {name: value for name, value in vars(args).items() if name != "command"}
    return {"title": f"Denoisers, {images.title}", "remarks": remarks, "provenance": provenance(options, weights)}
