"""Make a camera's gain bank: GENet's gains on its training images, for noise on images without a noisy one."""

from pathlib import Path

from evaluation.noise_setup import choose_scenes
from models.generator import NoiseGenerator
from models.pretrained import find_checkpoint_folder, find_checkpoints, load_generators
from options.gains import gains_options
from synthesis.gain_curves import measure_curves
from synthesis.gains import bank_path, measure_scenes, read_bank, weights_hash, write_bank
from utils.charts import intensity_curves
from utils.command import run_command
from utils.files import claim_file
from utils.image import write_image
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> None:
    args = gains_options(arguments)
    log = terminal_log()
    device = choose_device(args.device, args.gpu_ids)
    weights = find_checkpoint_folder(args.pretrain_dir, args.cam_name)
    generator = NoiseGenerator(load_generators(weights)).to(device)
    path = Path(args.output) if args.output else bank_path(weights)
    if not args.keep_bank:
        claim_file(path, "--output")
    if args.plot:
        claim_file(args.plot, "--plot")

    # Measure.
    if args.keep_bank:
        bank = read_bank(path)
    else:
        scenes, chosen, _ = choose_scenes(args)
        genet = weights_hash(find_checkpoints(weights, ("E",)))
        folders = [scenes[name] for name in chosen]
        bank = measure_scenes(generator, folders, args.cam_name, genet, args.max_images, args.num_workers)
        write_bank(path, bank)
    for line in bank.summary():
        log.info(line)
    log.info("%s: %s", "read" if args.keep_bank else "written", path)

    # Draw.
    if args.plot:
        write_image(args.plot, intensity_curves(measure_curves(generator, bank, args.seed)))
        log.info("written: %s", args.plot)


if __name__ == "__main__":
    run_command(main)
