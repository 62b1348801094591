"""Take a generator's networks out of a training run: one small file each, ready for pretrain/<camera>/."""

from pathlib import Path

import torch

from models.networks import GENERATORS, network_checkpoint
from models.pretrained import find_checkpoint_folder, find_checkpoints, load_network
from options.inference import export_parser
from synthesis.gains import bank_path, copy_bank
from utils.checkpoints import load_checkpoint, save_checkpoint
from utils.command import run_command


def main(arguments: list[str] | None = None) -> None:
    args = export_parser().parse_args(arguments)
    folder = find_checkpoint_folder(args.pretrain_dir, args.cam_name)
    paths = find_checkpoints(folder, GENERATORS)
    files = {}
    for letter, path in paths.items():
        network = load_network(letter, path)
        epoch = load_checkpoint(path).get("epoch", 0)
        files[letter] = network_checkpoint(network.half() if args.half else network, epoch)
        if not all(torch.isfinite(tensor).all() for tensor in files[letter]["model_state_dict"].values()):
            raise ValueError(f"{path}: has weights too large for half precision; export without --half")
    exported = Path(args.output_dir) / args.cam_name
    for letter, content in files.items():
        target = exported / f"checkpoint_{letter}.pth"
        save_checkpoint(target, content)
        print(f"{paths[letter]} -> {target}, {target.stat().st_size / 2**20:.2f} MiB")
    if bank := copy_bank(folder, exported):
        print(f"{bank_path(folder)} -> {bank}")


if __name__ == "__main__":
    run_command(main)
