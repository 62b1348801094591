"""How a training computes: number formats and kernels that change its speed, and its results in the last digits."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """The published training, in float32 with PyTorch's own kernels, unless told otherwise."""

    amp: str | None = None  # a key of AMP: networks compute in this format; weights, losses and updates stay float32
    channels_last: bool = False  # keep a pixel's channels side by side in memory
    compile: bool = False  # let torch.compile fuse the layers
    fused_adam: bool = False  # one kernel for an optimiser's updates on a GPU

    def prepare(self, network: nn.Module) -> None:
        """Arrange a network's weights and layers, in place; copy it before, since compiled code is not copied."""
        if self.channels_last:
            network.to(memory_format=torch.channels_last)
        if self.compile:
            network.compile()

    def adam(self, network: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Adam:
        """Adam for all weights of a network.

        In float32 on a CPU its updates are always fused: one pass through the memory in place of seven.
        """
        weights = list(network.parameters())
        on_cpu = weights[0].device.type == "cpu" and weights[0].dtype == torch.float32
        return torch.optim.Adam(weights, lr=lr, betas=betas, fused=self.fused_adam or on_cpu or None)

    def forward(self, network: nn.Module, *inputs: Tensor) -> Tensor:
        """Call a network in the chosen format -> its output in the format of the inputs."""
        try:
            if self.amp is None:
                return network(*inputs)
            with torch.autocast(inputs[0].device.type, AMP[self.amp]):
                return network(*inputs).to(inputs[0].dtype)
        except RuntimeError as error:
            if self.compile and "_inductor" in type(error).__module__:
                reason = str(error).strip().splitlines()[0]
                raise ValueError(f"--compile: nothing can be compiled here ({reason}); leave the option out") from None
            raise


PUBLISHED = Precision()
