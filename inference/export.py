"""Copy a generator's networks out of a training run: what pretrain/<camera>/ holds."""

from collections.abc import Iterator
from pathlib import Path

import torch

from inference.pretrained import find_checkpoints, load_generators
from models import GENERATORS, generator_id, network_checkpoint
from utils.checkpoints import load_checkpoint, save_checkpoint


def claim_export(folder: Path, suffix: str) -> Path:
    """Return the folder for files of a suffix. Raise ValueError if it holds networks in files of another one."""
    for other in find_checkpoints(folder, GENERATORS).values():
        if other.suffix != suffix:
            raise ValueError(f"{other}: there already, in another format than {suffix}; remove it")
    return folder


def export_generator(folder: Path, exported: Path, suffix: str, half: bool) -> Iterator[tuple[Path, Path]]:
    """Copy the newest E, G1 and G2 of a run, rounded to half precision where `half`: -> sources and targets.

    Raises ValueError that names a file whose weights are too large for half precision, before any is written.
    """
    paths, networks, files = find_checkpoints(folder, GENERATORS), load_generators(folder), {}
    new_id = generator_id(networks)
    for letter, path in paths.items():
        content = load_checkpoint(path)
        network = networks[letter].half() if half else networks[letter]
        files[letter] = network_checkpoint(network, content.get("epoch", 0), content.get("generator", new_id))
        if not all(torch.isfinite(tensor).all() for tensor in files[letter]["model_state_dict"].values()):
            raise ValueError(f"{path}: has weights too large for half precision")
    for letter, content in files.items():
        target = exported / f"checkpoint_{letter}{suffix}"
        save_checkpoint(target, content)
        yield paths[letter], target
