"""Put a camera's noise on your own clean images, folder by folder."""

import sys
from argparse import Namespace
from pathlib import Path

from data.folders import FoundImages, ImageJob, find_images, plan_plain, plan_scenes, require_apart, with_partners
from noise.blind_fit import noise_like
from noise.camera import CameraNoise
from noise.gains import bank_note
from noise.interface import Strength, constant
from noise.kinds import KINDS, Sources
from noise.strengths import Interval
from options import synthesize as options
from synthesis.output import SynthesisFolder
from synthesis.run import SynthesisSettings, run_synthesis
from synthesis.strengths import OneOfImages
from utils.command import blame, printable, run_command
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    args = options.synthesize_options(arguments)
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

    # The noise model, and where its strength comes from.
    with blame("--like" if args.like else "--cam_name, --pretrain_dir or --model"):
        sources = Sources(device=device, **options.source_settings(args))
        noise = noise_like(args.like, args.num_workers) if args.like else KINDS[args.model].make(sources)
    strength = choose_strength(args, noise)
    jobs, failures = plan_outputs(args, found, noise)
    for line in found.notes(args.noisy_dir, args.gain_from):
        log.info("note: %s", printable(line))
    if options.uses_bank(args) and (note := bank_note(noise.folder, args.cam_name)):
        log.info("note: %s", note)

    # What is left to do.
    fixed = options.fixed_settings(args) | {"weights_sha256": noise.fingerprint, "gains_sha256": strength.fingerprint}
    with blame("--output_dir, or remove it"):
        folder = SynthesisFolder(args.output_dir, fixed, jobs)
    with folder:
        pending = folder.to_do()
        total, left = (sum(len(job.targets) for job in some) for some in (jobs, pending))
        files = " with " + ", ".join(map(str, noise.files.values())) if noise.files else ""
        log.info("%s%s on %s: %d of %d images", KINDS[args.model].name, files, device, left, total)
        if pending and isinstance(strength, OneOfImages):
            with blame("--gain_from"):
                strength.measure(noise, args.max_megapixels, noise.channels or 3)
        # Synthesise.
        settings = SynthesisSettings(
            **options.synthesis_settings(args), device=None if options.is_neca(args) else device
        )
        summary = run_synthesis(pending, noise, strength, folder, settings)
    for remark, names in sorted(summary.remarks.items()):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        log.info(printable(f"note: {options.with_way_out(remark)}: {names[0]}{more}"))
    failures += summary.failures
    for failure in sorted(failures):
        print(f"failed: {printable(options.with_way_out(failure))}", file=sys.stderr)
    log.info(
        "%s: %d images written, %.1f megapixels in %.0f s (%.2f MP/s), %d complete before, %d failures",
        *(args.output_dir, summary.written, summary.megapixels, summary.seconds, summary.speed),
        *(total - left, len(failures)),
    )
    return 1 if failures else 0


def plan_outputs(args: Namespace, found: FoundImages, noise: CameraNoise) -> tuple[list[ImageJob], list[str]]:
    """Name all outputs; return the jobs, and one line for each image or folder that there can be none of."""
    root, problems = Path(args.input_dir), found.problems
    if args.layout == "sidd":
        isos = [args.iso] if args.iso is not None else noise.isos if options.draws_iso(args) else []
        with blame("--camera_code (without it --cam_name), --iso or --layout"):
            jobs = plan_scenes(root, found.names, args.per_image, args.camera_code, isos, args.seed)
    else:
        jobs = plan_plain(root, found.names, args.per_image, f".{args.format}")
    if args.noisy_dir is not None:
        with blame("--noisy_dir"):
            jobs, missing = with_partners(jobs, args.noisy_dir)
        problems = problems + missing
    return jobs, problems


def choose_strength(args: Namespace, noise: CameraNoise) -> Strength:
    """Decide where the strength comes from; of images with a noisy one of their own it is that one's."""
    for option, source in (("noisy_dir", "pair"), ("gain_from", "noisy")):
        if getattr(args, option) is not None and source not in noise.sources:
            raise ValueError(f"--{option}: the strength of --model {args.model}, {noise.unit}, cannot be had from it")
    if args.model == "neca-s":
        low, high = args.noise_level
        return Interval(low, high, digits=6)
    if args.gain is not None:
        low, high = args.gain
        return Interval(low, high, log=True, digits=6)
    if args.gain_from is not None:
        with blame("--gain_from"):
            return OneOfImages(args.gain_from)
    if args.noisy_dir is not None:
        return constant(0.0)  # of no image
    if args.like is not None:
        return noise.of_iso(noise.isos[0])  # the photograph's
    with blame("--iso or --model, or give --noisy_dir, --gain_from or --gain"):
        return noise.of_iso(args.iso)


if __name__ == "__main__":
    run_command(main)
