"""Quick test: put a camera's noise on clean images and set it beside the real noise."""

from pathlib import Path

from tqdm import tqdm

from data.folders import find_named_pairs, require_noisy
from evaluation.quick_test import EXPECTED_GAIN, run_pair
from inference import load_neca
from options.inference import needed_networks, quick_test_parser, without_effect
from utils.command import blame, run_command
from utils.files import claim_folder
from utils.image import name_unread
from utils.run import terminal_log
from utils.runtime import choose_device


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    args = quick_test_parser().parse_args(arguments)
    log = terminal_log()
    for note in without_effect(args):
        log.info(note)
    networks = needed_networks(args)
    with blame("--device or --gpu_ids"):
        device = choose_device(args.device, args.gpu_ids)
    with blame("--dir_test_img"):
        pairs, others = find_named_pairs(args.dir_test_img)
    if "E" in networks:
        with blame("or give --gain"):
            require_noisy(pairs)
    for path in others:
        log.info("note: %s is not used, its name is not that of a clean or noisy image", path)
    for line in name_unread(Path(args.dir_test_img).iterdir(), (".png",)):
        log.info("note: %s", line)
    with blame("--cam_name or --pretrain_dir"):
        generator = load_neca(args.pretrain_dir, args.cam_name, device, networks=networks)
    with blame("--dir_test_save"):
        if Path(args.dir_test_save).resolve() == Path(args.dir_test_img).resolve():
            raise ValueError(f"{args.dir_test_save}: is the folder of the images (--dir_test_img), expected another")
        claim_folder(args.dir_test_save)
    log.info("NeCA-%s with the weights of %s on %s", args.NeCA_type, generator.folder, device)

    noise_level = args.noise_level if args.NeCA_type == "S" else None
    for pair in tqdm(pairs, desc="quick test", unit="image", disable=None if len(pairs) > 1 else True):
        for line in run_pair(pair, generator, Path(args.dir_test_save), args.seed, args.gain, noise_level):
            is_warning = line.endswith(EXPECTED_GAIN)
            log.info(f"{line}; are these weights of its camera? Or give --gain" if is_warning else line)


if __name__ == "__main__":
    run_command(main)
