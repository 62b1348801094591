"""Joint training of the noise generators, their critics and the denoiser: six networks, one step."""

import copy
import random
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import losses
from models.neca import Synthesis, correlate, synthesize_w
from models.networks import GENERATORS, LETTERS, network_checkpoint

GENERATOR_SIDE = (*GENERATORS, "G3")  # in the order of their updates
CRITICS = ("D1", "D2")
LR_DECAY_GAMMA = 0.1


@dataclass(frozen=True)
class JointOptions:
    """What a training step depends on; names and defaults as on the command line."""

    gan_mode: str = "wgangp"
    pd_stride: int = 3
    joint_start_epoch: int = 50
    separate_train: bool = False
    lambdas: dict[str, float] = field(
        default_factory=lambda: {"reg": 1, "std1": 50, "std2": 10, "rec": 1, "adv1": 0.1, "adv2": 0.1, "gp": 10}
    )
    lr: dict[str, float] = field(
        default_factory=lambda: {letter: 1e-3 if letter == "G3" else 1e-4 for letter in LETTERS}
    )
    lr_decay_1: tuple[int, ...] = (1000000,)
    lr_decay_2: tuple[int, ...] = (100,)
    betas: tuple[float, float] = (0.5, 0.9)
    adv_every: int | None = None  # None: as published, see below
    ema: float = 0.0  # decay of the generators' moving average; 0: none

    @property
    def adversarial_every(self) -> int:
        """Steps between adversarial terms: a Wasserstein critic learns five times as often (Arjovsky et al. 2017)."""
        return self.adv_every or (5 if self.gan_mode == "wgangp" else 1)


class StepRandomness(NamedTuple):
    """All that is drawn at random within a step."""

    z: Tensor  # (N, 3, H, W), N(0, 1)
    phase: tuple[int, int]  # of the pixel-shuffle down-sampling, shared by the batch
    mixing: dict[str, Tensor]  # per critic (N, 1, 1, 1), uniform in [0, 1]


def draw_step(shape: torch.Size, pd_stride: int, seed: int, step: int, device: torch.device) -> StepRandomness:
    """Draw a step's randomness from (seed, step) alone, so that a resumed run draws what an uninterrupted one does."""
    source = random.Random(f"{seed} step {step}")
    phase = (source.randrange(pd_stride), source.randrange(pd_stride))
    generator = torch.Generator().manual_seed(source.getrandbits(63))  # on the CPU: the same numbers for every device
    z = torch.randn(shape, generator=generator).to(device, non_blocking=True)
    mixing = {letter: torch.rand(shape[0], 1, 1, 1, generator=generator).to(device) for letter in CRITICS}
    return StepRandomness(z, phase, mixing)


class JointModel:
    """Six networks with their optimisers, and the training step of NeCA.

    `networks` maps the letters E, G1, G2, G3, D1, D2 to modules, which move to `device`; all randomness of the steps
    follows from `seed`.
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        options: JointOptions,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ):
        self.networks = {letter: networks[letter].to(device) for letter in LETTERS}
        self.options = options
        self.seed = seed
        self.device = torch.device(device)
        self.optimizers = {
            letter: torch.optim.Adam(networks[letter].parameters(), lr=options.lr[letter], betas=options.betas)
            for letter in LETTERS
        }
        # Moving averages of the generators' weights, to synthesise with: single steps of a GAN swing.
        self.averages = {
            letter: copy.deepcopy(self.networks[letter]).eval().requires_grad_(False)
            for letter in (GENERATORS if options.ema else ())
        }

    def train_batch(self, batch: dict[str, Any], step: int, epoch: int) -> dict[str, Tensor]:
        """Update all networks on a loader's batch, clean and noisy (N, 3, P, P) uint8 -> its losses."""
        clean, noisy = (self.to_float(batch[name]) for name in ("clean", "noisy"))
        drawn = draw_step(clean.shape, self.options.pd_stride, self.seed, step, self.device)
        return self.training_step(clean, noisy, drawn, step, epoch)

    def to_float(self, image_uint8: Tensor) -> Tensor:
        """Move an image to the device, uint8 -> float in [0, 1]."""
        return image_uint8.to(self.device, non_blocking=True).float().div_(255)

    def training_step(
        self, clean: Tensor, noisy: Tensor, drawn: StepRandomness, step: int, epoch: int
    ) -> dict[str, Tensor]:
        """Update all networks on one batch and return its losses, unweighted and detached.

        clean, noisy: (N, 3, P, P) in [0, 1]; step and epoch count from 1. D_real, D_fake and gp are sums over both
        critics. Losses that a step does not have (rec before the joint epochs, adv between adversarial steps, gp
        without wgangp) are absent.
        """
        for letter in LETTERS:
            self.networks[letter].train()
            self.optimizers[letter].param_groups[0]["lr"] = self.learning_rate(letter, epoch)
        noise = noisy - clean
        values, fakes = self._generator_step(clean, noisy, noise, drawn, step, epoch)
        reals = {"D1": noise, "D2": losses.pixel_shuffle_down(noise, self.options.pd_stride, drawn.phase)}
        values |= self._critic_step(reals, fakes, drawn.mixing)
        self._average(step)
        return {name: value.detach() for name, value in values.items()}

    def learning_rate(self, letter: str, epoch: int) -> float:
        """Learning rate of a network in an epoch (from 1): a tenth after each milestone that has been completed."""
        milestones = self.options.lr_decay_2 if letter == "G3" else self.options.lr_decay_1
        return self.options.lr[letter] * LR_DECAY_GAMMA ** sum(milestone < epoch for milestone in milestones)

    def _generator_step(self, clean, noisy, noise, drawn, step, epoch):
        """Update E, G1, G2 and G3 -> (losses, detached fakes for the critics)."""
        nets, options = self.networks, self.options
        adversarial = step % options.adversarial_every == 0
        joint = epoch >= options.joint_start_epoch
        # Synthesise. NCNet needs a gradient only where a loss of this step reaches it.
        gain = nets["E"](noisy)  # (N, 1, 1, 1)
        noise_level = nets["G1"](clean, gain)  # (N, 3, P, P)
        sdnu = noise_level * drawn.z
        with torch.set_grad_enabled(adversarial or (joint and not options.separate_train)):
            sdnc = correlate(nets["G2"], sdnu)
        fakes = {"D1": sdnc, "D2": losses.pixel_shuffle_down(sdnu, options.pd_stride, drawn.phase)}

        values = {
            # reg: the noise level stays near the gain.
            "reg": F.mse_loss(noise_level, gain.expand_as(noise_level)),
            # std1: the gain is the global noise level.
            "std1": F.mse_loss(gain, losses.global_noise_level(noise)),
            # std2: the noise level is the local noise level.
            "std2": F.mse_loss(noise_level, losses.local_noise_level(noise)),
        }
        if joint:
            # rec: the denoiser restores the clean image from the fake noisy one.
            fake = clean + (sdnc.detach() if options.separate_train else sdnc)
            values["rec"] = F.mse_loss(nets["G3"](fake), clean)
        if adversarial:
            # adv1, adv2: correlated noise fools D1, uncorrelated noise D2.
            for letter in CRITICS:
                nets[letter].requires_grad_(False)
                values[f"adv{letter[1]}"] = losses.generator_adversarial_loss(
                    nets[letter](fakes[letter]), options.gan_mode
                )
                nets[letter].requires_grad_(True)
        self._update(GENERATOR_SIDE, sum(options.lambdas[name] * value for name, value in values.items()))
        return values, {letter: fake.detach() for letter, fake in fakes.items()}

    def _critic_step(self, reals, fakes, mixing):
        """Update D1 and D2 -> losses, summed over the two."""
        mode = self.options.gan_mode
        values = dict.fromkeys(("D_real", "D_fake", "gp") if mode == "wgangp" else ("D_real", "D_fake"), 0)
        for letter in CRITICS:
            critic, real, fake = self.networks[letter], reals[letter], fakes[letter]
            loss_real, loss_fake = losses.critic_losses(critic(real), critic(fake), mode)
            values["D_real"] = values["D_real"] + loss_real
            values["D_fake"] = values["D_fake"] + loss_fake
            if mode == "wgangp":
                values["gp"] = values["gp"] + losses.gradient_penalty(critic, real, fake, mixing[letter])
        distance = values["D_real"] + values["D_fake"]
        if mode == "wgangp":
            self._update(CRITICS, distance + self.options.lambdas["gp"] * values["gp"])
        else:
            self._update(CRITICS, 0.5 * distance)
        return values

    def _update(self, letters, loss):
        """Backpropagate and let the named networks' optimisers step.

        Gradients are filled with zeros, not dropped: the published results were made with PyTorch 1.13, where Adam
        keeps moving NCNet on its momentum in the four steps between its gradients.
        """
        for letter in letters:
            self.optimizers[letter].zero_grad(set_to_none=False)
        loss.backward()
        for letter in letters:
            self.optimizers[letter].step()

    @torch.no_grad()
    def _average(self, step):
        """Let the averages follow the weights, faster in the first steps: their start is no weight to remember."""
        decay = min(self.options.ema, (1 + step) / (10 + step))
        for letter, average in self.averages.items():
            weights = self.networks[letter].state_dict()
            for key, tensor in average.state_dict().items():
                if tensor.is_floating_point():
                    tensor.lerp_(weights[key], 1 - decay)
                else:
                    tensor.copy_(weights[key])

    @torch.inference_mode()
    def synthesize(self, clean: Tensor, noisy: Tensor, z: Tensor, averaged: bool = False) -> Synthesis:
        """Synthesise noise on a clean image with the gain of a noisy one: (N, 3, H, W) in [0, 1], any size.

        `averaged` takes the moving averages of the weights, which there are with `ema` only.
        """
        gain_net, level_net, correlation_net = ((self.averages if averaged else self.networks)[x] for x in GENERATORS)
        for network in (gain_net, level_net, correlation_net):
            network.eval()
        return synthesize_w(level_net, correlation_net, clean, gain_net(noisy), z)

    @torch.inference_mode()
    def denoise(self, noisy: Tensor) -> Tensor:
        """Denoise an image: (N, 3, H, W) in [0, 1] -> (N, 3, H, W)."""
        return self.networks["G3"].eval()(noisy)

    def network_files(self, epoch: int) -> dict[str, dict[str, Any]]:
        """What to write into each network's checkpoint file, by the file's name without epoch and suffix."""
        files = {f"checkpoint_{letter}": network for letter, network in self.networks.items()}
        files |= {f"ema/checkpoint_{letter}": network for letter, network in self.averages.items()}
        return {name: network_checkpoint(network, epoch) for name, network in files.items()}

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs of the model: weights and optimisers (learning rates follow from the epoch)."""
        return {
            "networks": {letter: network.state_dict() for letter, network in self.networks.items()},
            "optimizers": {letter: optimizer.state_dict() for letter, optimizer in self.optimizers.items()},
            "averages": {letter: network.state_dict() for letter, network in self.averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for letter, average in self.averages.items():
            average.load_state_dict(state["averages"][letter])
        for letter in LETTERS:
            self.networks[letter].load_state_dict(state["networks"][letter])
            self.optimizers[letter].load_state_dict(state["optimizers"][letter])
            # A parameter that has moved once had a gradient, which would by now be zero-filled (see `_update`).
            for parameter in self.optimizers[letter].state:
                parameter.grad = torch.zeros_like(parameter)
