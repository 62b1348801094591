"""Put a camera's noise on your own clean images, folder by folder."""

import argparse
import sys
from itertools import chain
from pathlib import Path

import torch

from data.folders import FoundImages, ImageJob, find_images, plan_plain, plan_scenes, require_apart, with_partners
from inference import NoiseGenerator, load_neca
from noise.gains import bank_note, bank_path, read_bank
from options.synthesize import fixed_settings, needed_networks, synthesize_options, with_way_out
from synthesis.output import SynthesisFolder
from synthesis.run import SynthesisSettings, run_synthesis
from synthesis.strengths import Interval, OfPartner, OneOf, OneOfImages, StrengthSource
from utils.command import blame, printable, run_command
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = synthesize_options(arguments)
    log = terminal_log()
    with blame("--device or --gpu_ids"):
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
    folders = [folder for folder in (args.noisy_dir, args.gain_from) if folder is not None and Path(folder).is_dir()]
    for line in chain(found.unread, *(find_images(folder).unread for folder in folders)):
        log.info("note: %s", printable(line))

    # Networks, and where the strength of the noise comes from.
    with blame("--cam_name or --pretrain_dir"):
        generator = load_neca(
            args.pretrain_dir,
            args.cam_name,
            device,
            tile=args.tile,
            dtype=torch.float16 if args.half else torch.float32,
            channels_last=args.channels_last or None,
            networks=needed_networks(args),
        )
    source = choose_strengths(args, generator)
    if isinstance(source, OneOf) and args.gain_from is None and (note := bank_note(generator.folder, args.cam_name)):
        log.info("note: %s", note)

    # What is left to do.
    fixed = fixed_settings(args) | {"weights_sha256": generator.weights_hash, "gains_sha256": source.fingerprint}
    with blame("--output_dir, or remove it"):
        folder = SynthesisFolder(args.output_dir, fixed, jobs)
    with folder:
        pending = folder.to_do()
        total, left = (sum(len(job.targets) for job in some) for some in (jobs, pending))
        weights = f"NeCA-{args.NeCA_type} with the weights of {generator.folder} on {device}"
        log.info("%s: %d of %d images", weights, left, total)
        if pending and isinstance(source, OneOfImages):
            with blame("--gain_from"):
                source.estimate()
        # Synthesise.
        settings = SynthesisSettings(args.seed, args.cam_name, args.keep_16bit, args.max_megapixels, args.num_workers)
        summary = run_synthesis(pending, generator, source, folder, settings)
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
    """Name all outputs; return the jobs, and one line for each image or folder that there can be none of."""
    root, problems = Path(args.input_dir), found.problems
    if args.layout == "sidd":
        with blame("--camera_code (without it --cam_name), --iso or --layout"):
            jobs = plan_scenes(root, found.names, args.per_image, args.camera_code, args.iso or 0)
    else:
        jobs = plan_plain(root, found.names, args.per_image, f".{args.format}")
    if args.noisy_dir is not None:
        with blame("--noisy_dir"):
            jobs, missing = with_partners(jobs, args.noisy_dir)
        problems = problems + missing
    return jobs, problems


def choose_strengths(args: argparse.Namespace, generator: NoiseGenerator) -> StrengthSource:
    """Decide where gains or noise levels come from."""
    if args.NeCA_type == "S":
        return Interval(args.noise_level[0], args.noise_level[1], is_gain=False)
    if args.gain is not None:
        return Interval(args.gain[0], args.gain[1], is_gain=True)
    if args.noisy_dir is not None:
        return OfPartner(generator, args.max_megapixels)
    if args.gain_from is not None:
        with blame("--gain_from"):
            return OneOfImages(generator, args.gain_from, args.max_megapixels)
    with blame("or give --noisy_dir, --gain_from or --gain"):
        bank = read_bank(bank_path(generator.folder))
    with blame("--iso"):
        return OneOf(bank.of_iso(args.iso))


if __name__ == "__main__":
    run_command(main)
