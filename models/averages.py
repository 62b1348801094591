"""Moving averages of a network's weights, to be used in their place: single steps of a training swing."""

import copy

import torch
from torch import nn


def averaged_copy(network: nn.Module) -> nn.Module:
    """Copy a network to hold the moving average of its weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Let an average follow the weights, faster in the first steps (from 1): their start is no weight to remember."""
    decay = min(decay, (1 + step) / (10 + step))
    weights = network.state_dict()
    for key, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(weights[key], 1 - decay)
        else:
            tensor.copy_(weights[key])
