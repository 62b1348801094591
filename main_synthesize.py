"""Put a camera's noise on your own clean images, folder by folder."""

import argparse
import os
import sys
from pathlib import Path

import torch

from data.folders import FoundImages, ImageJob, find_images, plan_plain, plan_scenes, require_apart, with_partners
from models import NoiseGenerator, load_neca
from options.synthesize import FIXED, needed_networks, synthesize_options
from synthesis.gains import bank_note, bank_path, read_bank
from synthesis.output import SynthesisFolder
from synthesis.run import ROUNDED, SynthesisSettings, run_synthesis
from synthesis.strengths import Interval, OfPartner, OneOf, OneOfImages, StrengthSource
from utils.command import blame, run_command
from utils.report import printable
from utils.run import terminal_log
from utils.runtime import choose_device

# What can be done about a failed or changed image, by words of what is said about it.
WAYS_OUT = {ROUNDED: "--keep_16bit keeps them", "megapixels": "--max_megapixels", "out of memory": "--tile"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = synthesize_options(arguments)
    log = terminal_log()
    device = choose_device(args.device, args.gpu_ids)

    # What there is to do.
    for other in (args.input_dir, args.noisy_dir, args.gain_from):
        if other is not None:
            with blame("--output_dir"):
                require_apart(args.output_dir, other)
    with blame("--input_dir"):
        found = find_images(args.input_dir, args.output_dir)
    jobs, failures = plan_outputs(args, found)
    if found.others:
        log.info("note: not read as images: %s", printable(found.others))

    # Networks, and where the strength of the noise comes from.
    precision = torch.float16 if args.half else torch.float32
    with blame("--cam_name or --pretrain_dir"):
        generator = load_neca(
            *(args.pretrain_dir, args.cam_name, device, args.tile, precision, args.channels_last or None),
            needed_networks(args),
        )
    source = choose_strengths(args, generator)
    if isinstance(source, OneOf) and args.gain_from is None and (note := bank_note(generator.folder, args.cam_name)):
        log.info(note)

    # What is left to do.
    with blame("--output_dir, or remove it"):
        folder = SynthesisFolder(args.output_dir, fixed_settings(args, generator, source), jobs)
    pending = folder.to_do()
    total, left = (sum(len(job.targets) for job in some) for some in (jobs, pending))
    log.info(
        "NeCA-%s with the weights of %s on %s: %d of %d images", args.NeCA_type, generator.folder, device, left, total
    )
    if pending and isinstance(source, OneOfImages):
        with blame("--gain_from"):
            source.estimate()

    # Synthesise.
    settings = SynthesisSettings(args.seed, args.cam_name, args.keep_16bit, args.max_megapixels, args.num_workers)
    summary = run_synthesis(pending, generator, source, folder, settings)
    folder.close()
    for remark, names in sorted(summary.remarks.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        log.info(printable(f"note: {with_way_out(remark)}: {names[0]}{more}"))
    failures += summary.failures
    for failure in sorted(failures):
        print(f"failed: {printable(with_way_out(failure))}", file=sys.stderr)
    log.info(
        "%s: %d images written, %.1f megapixels in %.0f s (%.2f MP/s), %d complete before, %d failures",
        *(args.output_dir, summary.written, summary.megapixels, summary.seconds, summary.speed),
        *(total - left, len(failures)),
    )
    return 1 if failures else 0


def plan_outputs(args: argparse.Namespace, found: FoundImages) -> tuple[list[ImageJob], list[str]]:
    """Name all outputs: -> jobs, and one line for each image or folder that there can be none of."""
    root = Path(args.input_dir)
    if args.layout == "sidd":
        with blame("--camera_code (without it --cam_name), --iso or --layout"):
            jobs = plan_scenes(root, found.names, args.per_image, args.camera_code, args.iso or 0)
    else:
        jobs = plan_plain(root, found.names, args.per_image, f".{args.format}")
    if args.noisy_dir is None:
        return jobs, found.problems
    with blame("--noisy_dir"):
        jobs, problems = with_partners(jobs, args.noisy_dir)
    return jobs, found.problems + problems


def choose_strengths(args: argparse.Namespace, generator: NoiseGenerator) -> StrengthSource:
    """Decide where gains or noise levels come from."""
    if args.NeCA_type == "S":
        return Interval(*args.noise_level, is_gain=False)
    if args.gain is not None:
        return Interval(*args.gain, is_gain=True)
    if args.noisy_dir is not None:
        return OfPartner(generator, args.max_megapixels)
    if args.gain_from is not None:
        with blame("--gain_from"):
            return OneOfImages(generator, args.gain_from, args.max_megapixels)
    with blame("or give --noisy_dir, --gain_from or --gain"):
        bank = read_bank(bank_path(generator.folder))
    with blame("--iso"):
        return OneOf(bank.of_iso(args.iso))


def fixed_settings(args: argparse.Namespace, generator: NoiseGenerator, source: StrengthSource) -> dict:
    """Collect what the outputs of a folder share: options, and fingerprints of weights and gains.

    The image or folder of --gain_from goes by its own name, wherever it is, for its content is in the fingerprint.
    """
    settings = {name: getattr(args, name) for name in FIXED}
    settings["noisy_dir"] = args.noisy_dir and os.path.abspath(args.noisy_dir)
    settings["gain_from"] = args.gain_from and Path(args.gain_from).resolve().name
    return settings | {"weights_sha256": generator.weights_hash, "gains_sha256": source.fingerprint}


def with_way_out(message: str) -> str:
    """Append the option that changes what the message says, if there is one."""
    ways = [way for words, way in WAYS_OUT.items() if words in message]
    return f"{message} ({ways[0]})" if ways else message


if __name__ == "__main__":
    run_command(main)
