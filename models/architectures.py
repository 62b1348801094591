"""Architectures of denoisers by id: what each is called, how it is built, and the id in its files' `config`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from models.blocks import initialise
from models.network_dncnn import DnCNN
from models.network_nafnet import NAFNet
from models.networks import config_of, network_checkpoint, weights_seed

DENOISER = "G3"  # in the names of files, in training states and in logs, of every denoiser: the paper's letter
ARCH = "arch"  # name of the id in `config`
OWN = "own"  # initial weights as the constructor makes them


@dataclass(frozen=True)
class Architecture:
    """A kind of denoiser: (N, C, H, W) in [0, 1] -> (N, C, H, W).

    name: as in papers.
    network: its class. The constructor takes `in_nc`, `out_nc` and sizes that have defaults, and keeps them all, as
        plain values, in `config`. A class attribute `margin` says how many pixels around an output pixel this depends
        on, a multiple of the network's stride (up to 8); without it, or for None, tiles are whole images.
    sizes: those arguments that the command line sets, `--<name>`, and what they mean. Names of arguments that count
        layers are `nb` or end in `_nb`.
    init_type: default of the initial weights, one of `blocks.INIT_TYPES`, or OWN.
    described: text about a network, with its `config` put in.
    """

    name: str
    network: Callable[..., nn.Module]
    sizes: dict[str, str]
    init_type: str = OWN
    described: str = ""

    def default(self, size: str) -> Any:
        """Return the default of a constructor argument."""
        return inspect.signature(self.network).parameters[size].default


ARCHITECTURES = {
    "dncnn": Architecture(
        "DnCNN",
        DnCNN,
        {
            "nc": "channels of the layers",
            "nb": "number of convolutions",
            "act_mode": "R ReLU, L leaky ReLU, with B batch or I instance norm",
        },
        init_type="normal",
        described="DnCNN of {nb} layers of {nc} channels",
    ),
    "nafnet": Architecture(
        "NAFNet",
        NAFNet,
        {
            "nc": "channels at full size",
            "enc_nb": "blocks on each level down",
            "middle_nb": "blocks at the bottom",
            "dec_nb": "blocks on each level up",
        },
    ),
}
DEFAULT_ARCH = "dncnn"  # the paper's, and that of files without an id


def build_denoiser(arch: str, config: dict[str, Any], init_type: str, seed: int) -> nn.Module:
    """Build and initialise a denoiser; its weights follow from the seed, for DnCNN as those of the joint training's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed(seed, DENOISER))
        network = ARCHITECTURES[arch].network(**config)
        return network if init_type == OWN else initialise(network, init_type)


def arch_of(network: nn.Module) -> str:
    """Return the id of a network's architecture."""
    return next(arch for arch, kind in ARCHITECTURES.items() if type(network) is kind.network)


def describe_denoiser(network: nn.Module) -> str:
    """Say in one line what a network is, with its sizes."""
    kind, config = ARCHITECTURES[arch_of(network)], config_of(network)
    sizes = ", ".join(f"{name} {str(config[name]).strip('[]')}" for name in kind.sizes)
    return kind.described.format(**config) or f"{kind.name} ({sizes})"


def denoiser_checkpoint(network: nn.Module, epoch: int) -> dict[str, Any]:
    """Return what a denoiser's file holds: as `network_checkpoint`, and the id among the sizes."""
    content = network_checkpoint(network, epoch)
    return content | {"config": {ARCH: arch_of(network)} | content["config"]}


def split_config(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Take a file's `config` apart: the architecture's id and the constructor's arguments.

    Raises ValueError for an unknown id.
    """
    sizes = {name: value for name, value in config.items() if name != ARCH}
    arch = config.get(ARCH, DEFAULT_ARCH)
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise ValueError(f"architecture {arch!r}, expected one of {', '.join(ARCHITECTURES)}")
    return arch, sizes


def count_layers(config: dict[str, Any]) -> int:
    """Count the layers, or blocks of them, that a network's sizes ask for."""
    counts = [value for name, value in config.items() if name == "nb" or name.endswith("_nb")]
    return sum(sum(count) + len(count) if isinstance(count, list | tuple) else count for count in counts)
