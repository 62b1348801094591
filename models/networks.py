"""The six networks by letter: what the paper calls them, their classes, how they are built and stored."""

import hashlib
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from models.blocks import initialise
from models.network_discriminator import Discriminator
from models.network_dncnn import DnCNN
from models.network_genet import GENet
from models.network_ncnet import NCNet
from models.network_npnet import NPNet

# Letters are the keys of options, logs and files.
NETWORK_CLASSES = {"E": GENet, "G1": NPNet, "G2": NCNet, "G3": DnCNN, "D1": Discriminator, "D2": Discriminator}
LETTERS = tuple(NETWORK_CLASSES)
SEEDS = {"E": 0, "G1": 1, "G2": 2, "G3": 3, "D1": 4, "D2": 5}  # places among six: changed, they change initial weights
GENERATORS = ("E", "G1", "G2")  # what synthesis needs
PAPER_NAMES = {
    "E": "GENet, gain estimation",
    "G1": "NPNet, noise-level prediction",
    "G2": "NCNet, neighbouring correlation",
    "G3": "DnCNN, denoiser",
    "D1": "critic of the correlated noise",
    "D2": "critic of the uncorrelated noise",
}
HALVINGS = {"D1": 5, "D2": 3}  # 96 -> 3 and 32 -> 4 pixels (published)


def build_networks(configs: dict[str, dict[str, Any]], init_type: str, seed: int) -> dict[str, nn.Module]:
    """Build and initialise networks from their constructor arguments, both by letter.

    Each network's weights follow from (seed, letter): leaving one out changes none of the others.
    """
    networks = {}
    for letter, config in configs.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(weights_seed(seed, letter))
            networks[letter] = initialise(NETWORK_CLASSES[letter](**config), init_type)
    return networks


def weights_seed(seed: int, letter: str) -> int:
    """Return the seed of a network's initial weights."""
    return seed * 6 + SEEDS[letter]


def config_of(network: nn.Module) -> dict[str, Any]:
    """Return a network's constructor arguments."""
    return cast(dict[str, Any], network.config)


def describe_networks(networks: dict[str, nn.Module]) -> str:
    """Return a text of the networks' layers and numbers of parameters."""
    return "\n".join(describe(f"{letter}: {PAPER_NAMES[letter]}", network) for letter, network in networks.items())


def describe(name: str, network: nn.Module) -> str:
    """Return a text of a network's layers and number of parameters."""
    return f"{name}, {sum(weights.numel() for weights in network.parameters()):,} parameters\n{network}"


def network_checkpoint(network: nn.Module, epoch: int, generator: str = "") -> dict[str, Any]:
    """Return what a network's file holds: `epoch` and `model_state_dict`, as published, and its sizes (`config`).

    generator: the id of the generator that the network is a part of or has learned with; "": none.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    content = {"epoch": epoch, "model_state_dict": weights, "config": config_of(network)}
    return content | ({"generator": generator} if generator else {})


def generator_id(networks: Mapping[str, nn.Module]) -> str:
    """Return the id that the files of a generator's three networks share; it follows from all their weights."""
    digest = hashlib.sha256()
    for letter in GENERATORS:
        for name, tensor in networks[letter].state_dict().items():
            digest.update(f"{letter} {name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
