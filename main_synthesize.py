"""Put a camera's noise on your own clean images, folder by folder."""

import argparse
import logging
import sys

import torch

from data.folders import find_images, require_apart
from models.generator import NoiseGenerator
from models.pretrained import find_checkpoint_folder, find_checkpoints, load_generators
from options.synthesize import FIXED, needed_letters, synthesize_options, uses_bank
from synthesis.gains import bank_note, weights_hash
from synthesis.output import SynthesisFolder
from synthesis.run import Settings, Summary, run_synthesis
from synthesis.setup import fixed_settings, plan_outputs
from synthesis.strengths import OfPartner, choose_source, sample_images
from utils.command import run_command
from utils.report import printable
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> int:
    args = synthesize_options(arguments)
    log = terminal_log()
    device = choose_device(args.device, args.gpu_ids)

    # What there is to do.
    require_apart(args.output_dir, input_dir=args.input_dir, noisy_dir=args.noisy_dir, gain_from=args.gain_from)
    found = find_images(args.input_dir, "--input_dir", args.output_dir)
    jobs, failures = plan_outputs(args, found)
    if found.others:
        log.info("note: not read as images: %s", printable(found.others))

    # Networks, and where the strength of the noise comes from.
    weights = find_checkpoint_folder(args.pretrain_dir, args.cam_name, needed_letters(args))
    paths = find_checkpoints(weights, needed_letters(args))
    source, noisy_images, fingerprint = choose_source(args, weights)
    if uses_bank(args) and (note := bank_note(weights, args.cam_name)):
        log.info(note)
    networks = load_generators(weights, needed_letters(args))
    precision = torch.float16 if args.half else torch.float32
    generator = NoiseGenerator(networks, args.tile, precision, args.channels_last or None).to(device)

    # What is left to do.
    settings = Settings(
        args.seed, args.cam_name, weights_hash(paths), args.keep_16bit, args.max_megapixels, args.num_workers
    )
    folder = SynthesisFolder(args.output_dir, fixed_settings(args, FIXED, settings.weights, fingerprint), jobs)
    pending = folder.to_do()
    total, left = (sum(len(job.targets) for job in some) for some in (jobs, pending))
    log.info("NeCA-%s with the weights of %s on %s: %d of %d images", args.NeCA_type, weights, device, left, total)
    if pending and source is None:
        megapixels = args.max_megapixels
        sampled = noisy_images and sample_images(generator, noisy_images, megapixels)
        source = sampled or OfPartner(generator, megapixels)

    # Synthesise.
    summary = run_synthesis(pending, generator, source, folder, settings)
    folder.close()
    return report(log, args, summary, failures + summary.failures, total - left)


def report(log: logging.Logger, args: argparse.Namespace, summary: Summary, failures: list[str], before: int) -> int:
    """Say what was done: -> exit code."""
    for note in summary.notes():
        log.info(printable(note))
    for failure in sorted(failures):
        print(f"failed: {printable(failure)}", file=sys.stderr)
    log.info(
        "%s: %d images written, %.1f megapixels in %.0f s (%.2f MP/s), %d complete before, %d failures",
        *(args.output_dir, summary.written, summary.megapixels, summary.seconds),
        *(summary.megapixels / max(summary.seconds, 1e-9), before, len(failures)),
    )
    return 1 if failures else 0


if __name__ == "__main__":
    run_command(main)
