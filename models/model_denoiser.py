"""Training of a denoiser on pairs of images, wherever their noise comes from."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures import DENOISER, denoiser_checkpoint
from models.optimise import PUBLISHED, Precision, Update, averaged_copy, decayed, ema_update, to_float

# mse: the paper's and the joint training's.
LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss}


@dataclass(frozen=True)
class DenoiserOptions:
    """Settings of a training step; names and defaults as on the command line."""

    loss: str = "mse"
    lr: float = 1e-3  # paper
    lr_decay: tuple[int, ...] = (200, 270)
    betas: tuple[float, float] = (0.9, 0.999)  # Kingma and Ba 2015; the paper says only Adam
    ema: float = 0.0  # decay of the weights' moving average; 0: none


class DenoiserModel:
    """A denoiser with its optimiser, and the training step.

    The network, of one of the `ARCHITECTURES`, moves to `device`. The `world_size` processes have equal shares of every
    batch.
    """

    def __init__(
        self,
        network: nn.Module,
        options: DenoiserOptions,
        device: torch.device | str = "cpu",
        precision: Precision = PUBLISHED,
        world_size: int = 1,
    ):
        self.options = options
        self.device = torch.device(device)
        self.precision = precision
        self.network = network.to(self.device)
        if world_size > 1 and self.device.type == "cuda":  # PyTorch has no such layers for the CPU
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.average = averaged_copy(self.network) if options.ema else None
        precision.prepare(self.network)
        self.optimizer = precision.adam(self.network, options.lr, options.betas)
        self.update = Update({DENOISER: self.optimizer}, precision.amp, self.device)

    def train_batch(self, batch: dict[str, Any], step: int, epoch: int) -> dict[str, Tensor]:
        """Learn from a batch, clean and noisy (N, 3, P, P) uint8, from step and epoch 1 on; return the loss `rec`."""
        clean, noisy = (to_float(batch[name], self.device) for name in ("clean", "noisy"))
        self.network.train()
        self.optimizer.param_groups[0]["lr"] = self.learning_rate(epoch)
        # rec: the denoiser restores the clean image.
        loss = LOSSES[self.options.loss](self.precision.forward(self.network, noisy), clean)
        self.update.backward_and_step(loss)
        if self.average:
            ema_update(self.average, self.network, self.options.ema, step)
        return {"rec": loss.detach()}

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate in an epoch (from 1)."""
        return decayed(self.options.lr, self.options.lr_decay, epoch)

    @torch.inference_mode()
    def denoise(self, noisy: Tensor, averaged: bool = False) -> Tensor:
        """Denoise an image: (N, 3, H, W) in [0, 1] -> (N, 3, H, W). `averaged` weights there are with `ema` only."""
        # Bypass torch.compile: test images vary in size.
        network = self.average if averaged else self.network
        assert network is not None
        return network.eval().forward(noisy)

    def network_files(self, epoch: int) -> dict[str, dict[str, Any]]:
        """Return what to write into the network's checkpoint file, by the file's name without epoch and suffix."""
        files = {f"checkpoint_{DENOISER}": self.network}
        if self.average:
            files[f"ema/checkpoint_{DENOISER}"] = self.average
        return {name: denoiser_checkpoint(network, epoch) for name, network in files.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: weights and optimiser (the learning rate follows from the epoch)."""
        return {
            "network": self.network.state_dict(),
            "optimizers": {DENOISER: self.optimizer.state_dict()},
            "average": self.average.state_dict() if self.average else {},
            "scaler": self.update.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        if self.average:
            self.average.load_state_dict(state["average"])
        self.network.load_state_dict(state["network"])
        self.update.load(state["optimizers"], state["scaler"])
