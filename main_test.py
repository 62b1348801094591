"""Quick test: put a camera's noise on clean images and set it beside the real noise."""

import argparse
from pathlib import Path

from tqdm import tqdm

from data.named_pairs import NamedPair, find_named_pairs
from evaluation.alignment import best_shift
from evaluation.quick_test import draw_panel, noise_statistics, output_images
from metrics import noise_of
from models.generator import NoiseGenerator
from models.pretrained import find_checkpoint_folder, load_generators
from options.inference import needed_networks, quick_test_parser, without_effect
from utils.command import run_command
from utils.files import claim_folder
from utils.image import write_image
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> None:
    args = quick_test_parser().parse_args(arguments)
    log = terminal_log()
    for note in without_effect(args):
        log.info(note)
    device = choose_device(args.device, args.gpu_ids)
    letters = needed_networks(args)
    pairs, others = find_named_pairs(args.dir_test_img, noisy_needed="E" in letters)
    for path in others:
        log.info("note: %s is not used, its name is not that of a clean or noisy image", path)
    weights = find_checkpoint_folder(args.pretrain_dir, args.cam_name, letters)
    generator = NoiseGenerator(load_generators(weights, letters)).to(device)
    if Path(args.dir_test_save).resolve() == Path(args.dir_test_img).resolve():
        raise ValueError(f"--dir_test_save {args.dir_test_save} is --dir_test_img; expected another folder")
    claim_folder(args.dir_test_save, "--dir_test_save")
    log.info("NeCA-%s with the weights of %s on %s", args.NeCA_type, weights, device)

    for pair in tqdm(pairs, desc="quick test", unit="image", disable=None if len(pairs) > 1 else True):
        for line in noise_and_compare(pair, generator, args):
            log.info(line)


def noise_and_compare(pair: NamedPair, generator: NoiseGenerator, args: argparse.Namespace) -> list[str]:
    """Synthesise one image's noise, then write all its files: -> the lines to print."""
    clean, noisy = pair.read()
    lines = [str(pair.clean)]
    # Gain: the noisy image's, or the chosen one.
    strength, title = {"noise_level": args.noise_level}, f"NeCA-S, level {args.noise_level:g}"
    if args.NeCA_type == "W":
        gain = generator.estimate_gain(noisy) if args.gain is None else args.gain
        strength = {"gain": gain}
        title = f"NeCA-W, gain {gain:.4f}"
        lines.append(f"  gain {gain:.4f}, {255 * gain:.2f} grey levels")
    # Synthesise.
    synthesis = generator.synthesize(clean, seed=args.seed, key=pair.name, maps=True, **strength)
    images = output_images(synthesis, args.NeCA_type)
    # Compare.
    if noisy is not None:
        lines.append(f"  real noise: {noise_statistics(noise_of(noisy, clean))}")
    lines.append(f"  fake noise: {noise_statistics(noise_of(images['fake_noisy'], clean))}")
    if noisy is not None and (shift := best_shift(noisy, clean)).is_clear:
        lines.append(
            f"  warning: {pair.noisy} looks misaligned, moved by {shift.dy:+d} rows and {shift.dx:+d} columns it fits "
            f"better (MSE {shift.improvement:.1%} lower); align the pair, its noise and gain contain edges of the image"
        )
    images["panel"] = draw_panel(clean, noisy, images["fake_noisy"], synthesis.sdnu, title)
    # Write.
    paths = [Path(args.dir_test_save) / pair.file(kind) for kind in images]
    for path, image in zip(paths, images.values()):
        write_image(path, image)
    return lines + [f"  written: {' '.join(map(str, paths))}"]


if __name__ == "__main__":
    run_command(main)
