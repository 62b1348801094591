"""Make noisy/clean pairs of your own camera in SIDD's layout: from bursts, pairs, or shots beside a reference."""

import argparse
import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from data.bursts import (
    WHOLE_PIXELS,
    PairSettings,
    Row,
    Source,
    find_bursts,
    find_matching,
    find_shots,
    find_twins,
    identify,
    is_made,
    make_scene,
    name_scenes,
    read_manifest,
    require_numbers,
    write_manifest,
)
from data.folders import find_images, require_apart
from options.data import make_pairs_options
from utils.command import blame, printable, run_command
from utils.files import claim_folder, claim_record, lock_folder, remove_leftovers
from utils.workers import in_threads

PAIRS_RECORD = "make_pairs.json"


def main(arguments: list[str] | None = None) -> int:
    """Make the scenes that are not complete; return 1 if one failed."""
    args = make_pairs_options(arguments)
    folder = Path(args.output_dir)
    settings = PairSettings(args.frames, args.align, args.exposure_tolerance)
    with blame("--output_dir"):
        for photographs in filter(None, (args.bursts, args.shots, args.clean, args.noisy)):
            require_apart(folder, photographs)
    with blame("--bursts, --shots, --clean, --noisy or --iso"):
        sources, failures = find_sources(args)
        folders = [find_images(folder) for folder in (args.bursts, args.shots, args.clean, args.noisy) if folder]
    with blame("--output_dir"):
        claim_folder(folder)
        lock = lock_folder(folder)
        rows = {row["scene"]: row for row in read_manifest(folder)}
        record = {"camera_code": args.camera_code, **vars(settings)}
        claim_record(folder, PAIRS_RECORD, record, begun=bool(rows), flags={name: f"--{name}" for name in record})
    with blame("split the photographs into several folders, each with an --output_dir of its own"):
        require_numbers(sources, rows.values())
    states = identify(sources, list(rows.values()))
    with blame("--camera_code or --iso"):
        scenes = name_scenes(sources, states, args.camera_code, list(rows.values()))
    remove_leftovers(folder)

    every = list(zip(sources, states, scenes))
    jobs = [job for job in every if not is_made(rows.get(job[2]), job[1], folder)]
    for source, state, scene in every:
        if scene in rows and (source, state, scene) not in jobs:
            rows[scene] |= {"source": source.name, "state": state}  # it may have moved
    made = in_threads(partial(make_or_explain, folder=folder, settings=settings), jobs, args.num_workers)
    for (_, _, scene), result in zip(jobs, tqdm(made, total=len(jobs), desc="pairs", unit="scene", disable=None)):
        rows.pop(scene, None)
        if isinstance(result, str):
            failures.append(result)
            continue
        rows[scene] = result
        write_manifest(folder, rows.values())
    if sources and not jobs:
        write_manifest(folder, rows.values())
    lock.release()

    left_out = [line for scene in scenes if scene in rows for line in rows[scene]["left_out"].splitlines()]
    for line in left_out:
        print(printable(f"left out: {line}"))
    for found in folders:
        for line in found.unread + found.problems:
            print(printable(f"note: {line}"))
    for twins in find_twins(sources, states):
        print(printable(f"note: {twins}; remove one, or the same pixels may train and test"))
    if any(WHOLE_PIXELS in line for line in left_out + failures):
        print("note: what moved by whole pixels can be used with --align, in another --output_dir")
    if any(path.suffix.lower() in (".jpg", ".jpeg") for source in sources for path in source.noisy):
        print("note: JPEG's own errors count as noise here; use its best quality, or PNG or TIFF from a raw developer")
    for failure in failures:
        print(printable(f"failed: {failure}"), file=sys.stderr)
    print(
        f"{folder}: {len(jobs)} scenes to make, {len(sources) - len(jobs)} complete before, "
        f"{len(left_out)} pictures left out, {len(failures)} failures"
    )
    return 1 if failures else 0


def find_sources(args: argparse.Namespace) -> tuple[list[Source], list[str]]:
    """Find the photographs: -> a source for each scene, and one line for each that can be part of none."""
    if args.bursts:
        return find_bursts(Path(args.bursts), args.iso), []
    if args.shots:
        return find_shots(Path(args.shots), args.iso)
    return find_matching(Path(args.clean), Path(args.noisy), args.iso)


def make_or_explain(job: tuple[Source, str, str], folder: Path, settings: PairSettings) -> Row | str:
    """Make a scene -> its row of the manifest, or what is wrong with its photographs."""
    try:
        return make_scene(*job, folder, settings)
    except ValueError as error:
        return str(error)


if __name__ == "__main__":
    run_command(main)
