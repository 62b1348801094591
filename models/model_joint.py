"""Joint training of the noise generators, their critics and the denoiser: six networks, one step."""

import random
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import losses
from models.neca import Synthesis, correlate, synthesize_w
from models.networks import GENERATORS, LETTERS, generator_id, network_checkpoint
from models.optimise import PUBLISHED, Precision, Update, averaged_copy, decayed, ema_update, to_float

GENERATOR_SIDE = (*GENERATORS, "G3")  # in the order of their updates
CRITICS = ("D1", "D2")


@dataclass(frozen=True)
class JointOptions:
    """Settings of a training step; names and defaults as on the command line."""

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
    clip_grad_norm: float = 0  # of each network; 0: none
    lr_decay_1: tuple[int, ...] = (1000000,)
    lr_decay_2: tuple[int, ...] = (100,)
    betas: tuple[float, float] = (0.5, 0.9)
    adv_every: int | None = None  # None: as published, see below
    ema: float = 0.0  # decay of the generators' moving average; 0: none

    @property
    def adversarial_every(self) -> int:
        """Return the steps between adversarial terms; a Wasserstein critic learns in between (Arjovsky et al. 2017)."""
        return self.adv_every or (5 if self.gan_mode == "wgangp" else 1)


class StepRandomness(NamedTuple):
    """Draws for a batch of N patches."""

    z: Tensor  # (N, 3, H, W), N(0, 1)
    phase: tuple[int, int]  # of the pixel-shuffle down-sampling, shared by the batch
    mixing: dict[str, Tensor]  # per critic (N, 1, 1, 1), uniform in [0, 1]

    def part(self, samples: slice) -> "StepRandomness":
        """Return what is drawn for some samples of the batch."""
        mixing = {letter: weights[samples] for letter, weights in self.mixing.items()}
        return StepRandomness(self.z[samples], self.phase, mixing)


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
    follows from `seed`. The `world_size` processes have equal shares of every batch.
    """

    def __init__(
        self,
        networks: dict[str, nn.Module],
        options: JointOptions,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = PUBLISHED,
        rank: int = 0,
        world_size: int = 1,
    ):
        self.networks = {letter: networks[letter].to(device) for letter in LETTERS}
        self.options = options
        self.seed = seed
        self.device = torch.device(device)
        self.precision = precision
        self.rank, self.world_size = rank, world_size
        if world_size > 1 and self.device.type == "cuda":  # PyTorch has no such layers for the CPU
            self.networks["G3"] = nn.SyncBatchNorm.convert_sync_batchnorm(self.networks["G3"])
        self.averages = {letter: averaged_copy(self.networks[letter]) for letter in (GENERATORS if options.ema else ())}
        for network in self.networks.values():
            precision.prepare(network)
        self.optimizers = {
            letter: precision.adam(network, options.lr[letter], options.betas)
            for letter, network in self.networks.items()
        }
        self.generator_update, self.critic_update = (
            Update({x: self.optimizers[x] for x in letters}, precision.amp, self.device, options.clip_grad_norm)
            for letters in (GENERATOR_SIDE, CRITICS)
        )

    def train_batch(self, batch: dict[str, Any], step: int, epoch: int) -> dict[str, Tensor]:
        """Update all networks on this rank's share of a batch, clean and noisy (N, 3, P, P) uint8, return losses."""
        clean, noisy = (to_float(batch[name], self.device) for name in ("clean", "noisy"))
        share = len(clean)
        whole = torch.Size((share * self.world_size, *clean.shape[1:]))
        drawn = draw_step(whole, self.options.pd_stride, self.seed, step, self.device)
        own = drawn.part(slice(self.rank * share, (self.rank + 1) * share))
        return self.training_step(clean, noisy, own, step, epoch)

    def training_step(
        self, clean: Tensor, noisy: Tensor, drawn: StepRandomness, step: int, epoch: int
    ) -> dict[str, Tensor]:
        """Update all networks on one batch and return its losses, unweighted and detached.

        1. E, G1 and G2 make noise, and one sum of losses updates them: reg, std1 and std2 in every step; adv1 and adv2
           in every fifth, the only ones that reach G2, which goes on by Adam's momentum in between.
        2. From `joint_start_epoch` on the sum has rec, which updates G3; with `separate_train` G3 alone.
        3. D1 tells the real noise from G2's, D2 both sub-sampled, real from G1's: updated in every step, with gp.

        clean, noisy: (N, 3, P, P) in [0, 1]; step and epoch count from 1. D_real, D_fake and gp are sums over both
        critics. Losses that a step does not have are absent, gp without wgangp.
        """
        for letter in LETTERS:
            self.networks[letter].train()
            self.optimizers[letter].param_groups[0]["lr"] = self.learning_rate(letter, epoch)
        noise = noisy - clean
        values, fakes = self._generator_step(clean, noisy, noise, drawn, step, epoch)
        reals = {"D1": noise, "D2": losses.pixel_shuffle_down(noise, self.options.pd_stride, drawn.phase)}
        values |= self._critic_step(reals, fakes, drawn.mixing)
        for letter, average in self.averages.items():
            ema_update(average, self.networks[letter], self.options.ema, step)
        return {name: value.detach() for name, value in values.items()}

    def learning_rate(self, letter: str, epoch: int) -> float:
        """Return a network's learning rate in an epoch (from 1)."""
        milestones = self.options.lr_decay_2 if letter == "G3" else self.options.lr_decay_1
        return decayed(self.options.lr[letter], milestones, epoch)

    def _generator_step(
        self, clean: Tensor, noisy: Tensor, noise: Tensor, drawn: StepRandomness, step: int, epoch: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Update E, G1, G2 and G3; return losses, and detached fakes for the critics."""
        options = self.options
        adversarial = step % options.adversarial_every == 0
        joint = epoch >= options.joint_start_epoch
        # Synthesise. NCNet needs a gradient only where a loss of this step reaches it.
        gain = self._forward("E", noisy)  # (N, 1, 1, 1)
        noise_level = self._forward("G1", clean, gain)  # (N, 3, P, P)
        sdnu = noise_level * drawn.z
        with torch.set_grad_enabled(adversarial or (joint and not options.separate_train)):
            sdnc = correlate(partial(self._forward, "G2"), sdnu)
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
            values["rec"] = F.mse_loss(self._forward("G3", fake), clean)
        if adversarial:
            # adv1, adv2: correlated noise fools D1, uncorrelated noise D2.
            for letter in CRITICS:
                self.networks[letter].requires_grad_(False)
                values[f"adv{letter[1]}"] = losses.generator_adversarial_loss(
                    self._forward(letter, fakes[letter]), options.gan_mode
                )
                self.networks[letter].requires_grad_(True)
        weighted = [options.lambdas[name] * value for name, value in values.items()]
        self.generator_update.backward_and_step(sum(weighted[1:], weighted[0]))
        return values, {letter: fake.detach() for letter, fake in fakes.items()}

    def _critic_step(
        self, reals: dict[str, Tensor], fakes: dict[str, Tensor], mixing: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Update D1 and D2 and return losses, summed over the two."""
        mode = self.options.gan_mode
        names = ("D_real", "D_fake", "gp") if mode == "wgangp" else ("D_real", "D_fake")
        values = dict.fromkeys(names, torch.zeros((), device=self.device))
        for letter in CRITICS:
            real, fake = reals[letter], fakes[letter]
            scores = self._forward(letter, real), self._forward(letter, fake)
            loss_real, loss_fake = losses.critic_losses(*scores, mode)
            values["D_real"] = values["D_real"] + loss_real
            values["D_fake"] = values["D_fake"] + loss_fake
            if mode == "wgangp":
                # gp: in float32 whatever the precision, and not compiled, which knows no second derivatives.
                critic = self.networks[letter].forward
                values["gp"] = values["gp"] + losses.gradient_penalty(critic, real, fake, mixing[letter])
        distance = values["D_real"] + values["D_fake"]
        if mode == "wgangp":
            self.critic_update.backward_and_step(distance + self.options.lambdas["gp"] * values["gp"])
        else:
            self.critic_update.backward_and_step(0.5 * distance)
        return values

    def _forward(self, letter: str, *inputs: Any) -> Tensor:
        return self.precision.forward(self.networks[letter], *inputs)

    @torch.inference_mode()
    def synthesize(self, clean: Tensor, noisy: Tensor, z: Tensor, averaged: bool = False) -> Synthesis:
        """Synthesise noise on a clean image with the gain of a noisy one: (N, 3, H, W) in [0, 1], any size.

        `averaged` takes the moving averages of the weights, which exist with `ema` only.
        """
        # Bypass torch.compile: test images vary in size.
        genet, npnet, ncnet = ((self.averages if averaged else self.networks)[x].eval().forward for x in GENERATORS)
        return synthesize_w(npnet, ncnet, clean, genet(noisy), z)

    @torch.inference_mode()
    def denoise(self, noisy: Tensor) -> Tensor:
        """Denoise an image: (N, 3, H, W) in [0, 1] -> (N, 3, H, W)."""
        return self.networks["G3"].eval().forward(noisy)

    def network_files(self, epoch: int) -> dict[str, dict[str, Any]]:
        """Return what to write into each network's checkpoint file, by the file's name without epoch and suffix."""
        ids = {"": generator_id(self.networks), "ema/": generator_id(self.averages) if self.averages else ""}
        return {
            f"{folder}checkpoint_{letter}": network_checkpoint(network, epoch, ids[folder])
            for folder, networks in (("", self.networks), ("ema/", self.averages))
            for letter, network in networks.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: weights and optimisers (learning rates follow from the epoch)."""
        return {
            "networks": {letter: network.state_dict() for letter, network in self.networks.items()},
            "optimizers": {letter: optimizer.state_dict() for letter, optimizer in self.optimizers.items()},
            "averages": {letter: network.state_dict() for letter, network in self.averages.items()},
            "scalers": [update.scaler.state_dict() for update in (self.generator_update, self.critic_update)],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for letter, average in self.averages.items():
            average.load_state_dict(state["averages"][letter])
        for letter in LETTERS:
            self.networks[letter].load_state_dict(state["networks"][letter])
        for update, scaler in zip(
            (self.generator_update, self.critic_update), state.get("scalers", [{}, {}])
        ):  # older states have none
            update.load(state["optimizers"], scaler)
