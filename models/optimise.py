"""The backward pass and the optimiser step, for one process or for several that share a batch."""

from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.optim import Optimizer


class Update:
    """Backpropagates a loss and lets the optimisers of some networks step.

    Gradients are filled with zeros, not dropped: the published results were made with PyTorch 1.13, where Adam keeps
    moving NCNet on its momentum in the four steps between its gradients. Several processes (`torch.distributed`) take
    the mean of their gradients, which for equal shares of a batch is the gradient of the whole batch. Losses are
    scaled for `amp` "fp16", whose smallest numbers are too large for gradients (Micikevicius et al. 2018).
    """

    def __init__(self, optimizers: dict[str, Optimizer], amp: str | None, device: torch.device):
        self.optimizers = optimizers
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def __call__(self, loss: Tensor) -> None:
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=False)
        self.scaler.scale(loss).backward()
        # Networks that no loss has reached yet have no gradients.
        reached = {letter: _gradients(optimizer) for letter, optimizer in self.optimizers.items()}
        _average([gradient for gradients in reached.values() for gradient in gradients])
        for letter, gradients in reached.items():
            if gradients:
                self.scaler.step(self.optimizers[letter])
        self.scaler.update()

    def load(self, states: dict[str, Any], scaler: dict[str, Any]) -> None:
        """Take over the optimisers' states, by letter, and the scaler's."""
        for letter, optimizer in self.optimizers.items():
            # The kernel is this run's choice, not the state's: the scaler counts on it.
            pairs = zip(states[letter]["param_groups"], optimizer.param_groups)
            groups = [saved | {"fused": own["fused"]} for saved, own in pairs]
            optimizer.load_state_dict(states[letter] | {"param_groups": groups})
            # A parameter that has moved once had a gradient, which would by now be zero-filled.
            for parameter in optimizer.state:
                parameter.grad = torch.zeros_like(parameter)
        self.scaler.load_state_dict(scaler)


def _gradients(optimizer: Optimizer) -> list[Tensor]:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _average(gradients: list[Tensor]) -> None:
    """Replace gradients by their means over all processes."""
    if not torch.distributed.is_initialized():
        return
    together = torch.cat([gradient.flatten() for gradient in gradients]) / torch.distributed.get_world_size()
    torch.distributed.all_reduce(together)
    for gradient, mean in zip(gradients, together.split([gradient.numel() for gradient in gradients])):
        gradient.copy_(mean.view_as(gradient))
