"""Learning of networks: number formats, the backward pass and the optimiser step, moving averages of the weights."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}
LR_DECAY_GAMMA = 0.1


@dataclass(frozen=True)
class Precision:
    """The published training, in float32 with PyTorch's own kernels, unless told otherwise."""

    amp: str | None = None  # a key of AMP: networks compute in this format; weights, losses and updates stay float32
    channels_last: bool = False  # keep a pixel's channels side by side in memory
    compile: bool = False  # let torch.compile fuse the layers
    fused_adam: bool = False  # one kernel for an optimiser's updates

    def prepare(self, network: nn.Module) -> None:
        """Arrange a network's weights and layers, in place; copy it before, since compiled code is not copied."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.compile:
            network.compile()

    def adam(self, network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
        """Make Adam for all weights of a network."""
        return torch.optim.Adam(network.parameters(), lr=lr, betas=betas, fused=self.fused_adam or None)

    def forward(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Call a network in the chosen format and return its output in the format of the inputs."""
        try:
            if self.amp is None:
                return network(*inputs)
            with torch.autocast(inputs[0].device.type, AMP[self.amp]):
                return network(*inputs).to(inputs[0].dtype)
        except RuntimeError as error:
            if self.compile and "_inductor" in type(error).__module__:
                reason = str(error).strip().splitlines()[0]
                raise ValueError(f"nothing can be compiled here ({reason}); train without compiling") from None
            raise


PUBLISHED = Precision()


def to_float(image_uint8: Tensor, device: torch.device) -> Tensor:
    """Move an image to the device, in [0, 1]."""
    return image_uint8.to(device, non_blocking=True).float().div_(255)


def decayed(lr: float, milestones: tuple[int, ...], epoch: int) -> float:
    """Return the learning rate in an epoch (from 1): a tenth after each milestone that has been completed."""
    return lr * LR_DECAY_GAMMA ** sum(milestone < epoch for milestone in milestones)


class Update:
    """The optimisers of some networks, which step together.

    Gradients are filled with zeros, not dropped: the published results were made with PyTorch 1.13, where Adam keeps
    moving NCNet on its momentum in the four steps between its gradients. Several processes (`torch.distributed`) take
    the mean of their gradients, which for equal shares of a batch is the gradient of the whole batch. Losses are
    scaled for `amp` "fp16", whose smallest numbers are too large for gradients (Micikevicius et al. 2018). A network's
    gradient that is longer than `clip_grad_norm` is shortened to it (Pascanu et al. 2013).
    """

    def __init__(
        self, optimizers: dict[str, Optimizer], amp: str | None, device: torch.device, clip_grad_norm: float = 0
    ):
        self.optimizers = optimizers
        self.clip_grad_norm = clip_grad_norm
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")

    def backward_and_step(self, loss: Tensor) -> None:
        """Backpropagate a loss, and let the optimisers of the networks that it has reached step."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=False)
        self.scaler.scale(loss).backward()
        # Networks that no loss has reached yet have no gradients.
        reached = {letter: _gradients(optimizer) for letter, optimizer in self.optimizers.items()}
        _average([gradient for gradients in reached.values() for gradient in gradients])
        for letter, gradients in reached.items():
            if gradients:
                if self.clip_grad_norm:
                    self.scaler.unscale_(self.optimizers[letter])
                    nn.utils.clip_grad_norm_(self.optimizers[letter].param_groups[0]["params"], self.clip_grad_norm)
                self.scaler.step(self.optimizers[letter])  # optimizer.step(), unless fp16's gradients overflowed
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


def averaged_copy(network: nn.Module) -> nn.Module:
    """Copy a network to hold the moving average of its weights."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def ema_update(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move an average towards the weights, faster in the first steps (from 1), which forgets the initial weights."""
    decay = min(decay, (1 + step) / (10 + step))
    weights = network.state_dict()
    for key, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(weights[key], 1 - decay)
        else:
            tensor.copy_(weights[key])
