"""Export weights of a training (the default), its gain bank or denoiser, a page or a program of a camera's noise.

main_export.py [weights | gains | denoiser | page | program]; each explains itself with --help.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from data.splits import read_list, select_scenes
from evaluation.denoisers import find_checkpoint, unknown_elsewhere
from inference import load_neca, load_network
from inference.export import claim_export, export_generator
from inference.pretrained import find_checkpoint_folder, hash_weights
from models import GENERATORS, denoiser_checkpoint
from models.architectures import DENOISER
from noise.gains import bank_path, copy_bank, measure_scenes, read_bank, write_bank
from noise.kinds import KINDS, Sources
from options.inference import denoiser_options, export_options, gains_options, page_options, program_options
from synthesis.curves import measure_curves
from synthesis.playground import REAL_NOISE, measure_real, read_camera, render_page
from synthesis.program import program_of, write_program
from utils.charts import intensity_curves
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.command import blame, run_command
from utils.files import claim_file, write_json, write_text
from utils.image import write_image
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> None:
    """Run the sub-command that the first word names; without one it is `weights`."""
    words = sys.argv[1:] if arguments is None else arguments
    commands = {
        "weights": (export_options, export_weights),
        "gains": (gains_options, make_bank),
        "denoiser": (denoiser_options, export_denoiser),
        "page": (page_options, export_page),
        "program": (program_options, export_program),
    }
    name = words[0] if words and words[0] in commands else "weights"
    options, export = commands[name]
    export(options(words[1:] if words[:1] == [name] else words))


def export_weights(args: argparse.Namespace) -> None:
    """Copy the newest generator of a run, and its gain bank, to <output_dir>/<cam_name>/."""
    with blame("--cam_name or --pretrain_dir"):
        folder = find_checkpoint_folder(args.pretrain_dir, args.cam_name)
    with blame("--output_dir or --format"):
        exported = claim_export(Path(args.output_dir) / args.cam_name, f".{args.format}")
    with blame("--pretrain_dir, or leave out --half"):
        for source, target in export_generator(folder, exported, f".{args.format}", args.half):
            print(f"{source} -> {target}, {target.stat().st_size / 2**20:.2f} MiB")
    if bank := copy_bank(folder, exported):
        print(f"{bank_path(folder)} -> {bank}")


def export_denoiser(args: argparse.Namespace) -> None:
    """Copy a denoiser to a .safetensors file that spandrel, chaiNNer and ComfyUI load, as --denoisers does."""
    with blame("--denoiser"):
        path = find_checkpoint(args.denoiser)
        network = load_network(DENOISER, path)
        if reason := unknown_elsewhere(network):
            raise ValueError(f"{path}: {reason}")
    with blame("--output"):
        claim_file(args.output)
    save_checkpoint(args.output, denoiser_checkpoint(network, load_checkpoint(path).get("epoch", 0)))
    print(f"{path} -> {args.output}")


def export_program(args: argparse.Namespace) -> None:
    """Write a camera's noise as a program of torch.export."""
    with blame("--cam_name, --pretrain_dir or --model"):
        noise = KINDS[args.model].make(Sources(args.pretrain_dir, args.cam_name, estimates=False))
    with blame("--output"):
        claim_file(args.output)
        write_program(program_of(noise), args.output)
    print(f"{noise.folder} -> {args.output}, {Path(args.output).stat().st_size / 2**20:.2f} MiB")


def export_page(args: argparse.Namespace) -> None:
    """Write the page of some cameras, and before it, where asked for, the figures of their real noise."""
    with blame("--output"):
        claim_file(args.output)
    names, cameras = list(dict.fromkeys(args.cam_name)), []
    for name in names:
        with blame("--cam_name or --pretrain_dir"):
            cameras.append(read_camera(args.pretrain_dir, name))
    for i, camera in enumerate(cameras if args.real_dir else []):
        with blame("--real_dir, --cam_name or --data_prep_dir"):
            scenes = measure_real(args.real_dir, names[i], args.data_prep_dir, terminal_log())
        write_json(camera.folder / REAL_NOISE, {"camera": names[i], "scenes": scenes})
        cameras[i] = replace(camera, real=scenes)
    write_text(args.output, render_page(cameras))
    print(f"{args.output}: {', '.join(names)}, {Path(args.output).stat().st_size / 2**20:.2f} MiB")


def make_bank(args: argparse.Namespace) -> None:
    """Measure GENet's gains on a camera's training images, and draw the noise that they give."""
    log = terminal_log()
    with blame("--device or --gpu_ids"):
        device = choose_device(args.device, args.gpu_ids)
    with blame("--cam_name or --pretrain_dir"):
        generator = load_neca(args.pretrain_dir, args.cam_name, device, networks=GENERATORS)
    path = Path(args.output) if args.output else bank_path(generator.folder)
    if not args.keep_bank:
        with blame("--output"):
            claim_file(path)
    if args.plot:
        with blame("--plot"):
            claim_file(args.plot)
    if args.keep_bank:
        bank = read_bank(path)
    else:
        with blame("--data_dir, --cam_name, --data_prep_dir, --split or --scene_list"):
            listed = read_list(args.scene_list) if args.scene_list else None
            where = args.data_dir, args.cam_name, args.data_prep_dir, args.split
            scenes, chosen, _ = select_scenes(*where, listed, log)
        genet = hash_weights({"E": generator.files["E"]})
        folders = [scenes[name] for name in chosen]
        bank = measure_scenes(generator, folders, args.cam_name, genet, args.max_images, args.num_workers)
        write_bank(path, bank)
    for line in bank.summary():
        log.info(line)
    log.info("%s: %s", "read" if args.keep_bank else "written", path)
    if args.plot:
        write_image(args.plot, intensity_curves(measure_curves(generator, bank, args.seed)))
        log.info("written: %s", args.plot)


if __name__ == "__main__":
    run_command(main)
