"""The training step of the benchmarks: ours, the naive one, and each network's part of it alone."""

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from benchmark.flops import count_flops
from benchmark.limits import Gemm
from benchmark.naive import NaiveTraining
from benchmark.timing import Work, spread, take_turns
from models import losses
from models.model_joint import CRITICS, JointModel, JointOptions, StepRandomness, draw_step
from models.networks import LETTERS, build_networks
from options.train_jointly import network_configs, train_jointly_parser
from utils.runtime import keep_freed_memory

PATCH = 96


class Contest:
    """The same training twice, ours and the naive one, on the same batch; step after step, by `ours()` and `naive()`.

    nc: width of all networks; None: the paper's sizes.
    """

    def __init__(self, batch_size: int, device: str = "cpu", nc: int | None = None):
        keep_freed_memory()  # as the training command
        configs = network_configs(train_jointly_parser().parse_args([]))
        if nc:
            configs = {letter: config | {"nc": nc} for letter, config in configs.items()}
        self.model = JointModel(
            build_networks(configs, "normal", 0),
            JointOptions(separate_train=True, joint_start_epoch=1),
            device=device,
        )
        plain = build_networks(configs, "normal", 0)
        self.plain = NaiveTraining(**{letter: plain[letter].to(device) for letter in LETTERS}, separate=True)
        generator = torch.Generator().manual_seed(0)
        clean = torch.rand(batch_size, 3, PATCH, PATCH, generator=generator)
        noisy = (clean + 0.05 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
        self.clean, self.noisy = clean.to(device), noisy.to(device)
        self.device = device
        self.step = {"ours": 0, "naive": 0}

    @property
    def period(self) -> int:
        """Steps until the same is done again: an adversarial step and those without the critics' opinion."""
        return self.model.options.adversarial_every

    def _drawn(self, name: str) -> tuple[StepRandomness, int]:
        self.step[name] += 1
        step = self.step[name]
        return draw_step(self.clean.shape, 3, 0, step, torch.device(self.device)), step

    def ours(self) -> dict[str, Tensor]:
        drawn, step = self._drawn("ours")
        return self.model.training_step(self.clean, self.noisy, drawn, step, 1)

    def naive(self) -> dict[str, Tensor]:
        drawn, step = self._drawn("naive")
        eps = [drawn.mixing[letter] for letter in CRITICS]
        return self.plain.step(self.clean, self.noisy, drawn.z, drawn.phase, *eps, step, True)

    def flops(self) -> float:
        """Floating-point operations of our mean step; takes a period of steps."""
        return sum(count_flops(self.ours) for _ in range(self.period)) / self.period


class StepResult(NamedTuple):
    """What `measure_step` found: seconds of a step by round, and what explains them."""

    seconds: dict[str, list[float]]  # ours, naive; gemm: of the matrix product
    flops: float  # of our mean step
    gemm_flops: float
    parts: dict[str, tuple[float, float]]  # by letter: seconds and FLOPs of a mean step, done alone


def measure_step(batch_size: int, device: str, nc: int | None, gemm: Gemm, rounds: int) -> StepResult:
    """Time steps in turns with naive ones and with a matrix product; then each network's part."""
    contest = Contest(batch_size, device, nc)
    flops = contest.flops()
    works = {"ours": contest.ours, "naive": contest.naive, "gemm": gemm.work}
    take_turns(works, 1, device)  # warm-up
    seconds = {name: [] for name in works}
    for _ in tqdm(range(rounds), desc="training step", unit="round", disable=None):
        for name, values in take_turns(works, contest.period, device).items():
            seconds[name].append(sum(values) / contest.period)
    parts = {}
    for letter, part in parts_of_step(contest).items():
        flops_of_part = sum(often * count_flops(work) for work, often in part)
        taken = take_turns({str(number): work for number, (work, _) in enumerate(part)}, rounds, device)
        medians = [spread(values).median for values in taken.values()]
        parts[letter] = sum(often * median for (_, often), median in zip(part, medians)), flops_of_part
    return StepResult(seconds, flops, gemm.flops, parts)


def parts_of_step(contest: Contest) -> dict[str, list[tuple[Work, float]]]:
    """A step's work on each network, each alone: by letter, works and how often a step does them, Adam included."""
    nets, options = contest.model.networks, contest.model.options
    drawn = draw_step(contest.clean.shape, 3, 0, 1, torch.device(contest.device))
    with torch.no_grad():
        gain = nets["E"](contest.noisy)
        sdnu = nets["G1"](contest.clean, gain) * drawn.z
        fake = contest.clean + sdnu
    noise, share = contest.noisy - contest.clean, 1 / options.adversarial_every

    def forward(letter: str, *inputs: Tensor) -> None:
        with torch.no_grad():
            nets[letter](*inputs)

    def learn(letter: str, *inputs: Tensor) -> None:
        nets[letter](*inputs).mean().backward()

    def criticise(letter: str, real: Tensor, made: Tensor) -> None:
        critic = nets[letter]
        loss = sum(losses.critic_losses(*critic(torch.cat([real, made])).chunk(2), options.gan_mode))
        (loss + losses.gradient_penalty(critic, real, made, drawn.mixing[letter])).backward()

    def judge(letter: str, made: Tensor) -> None:
        critic = nets[letter].requires_grad_(False)
        critic(made.clone().requires_grad_()).mean().backward()
        critic.requires_grad_(True)

    parts = {
        "E": [(lambda: learn("E", contest.noisy), 1)],
        "G1": [(lambda: learn("G1", contest.clean, gain), 1)],
        "G2": [(lambda: forward("G2", sdnu), 1 - share), (lambda: learn("G2", sdnu), share)],
        "G3": [(lambda: learn("G3", fake), 1)],
    }
    for letter in CRITICS:
        real, made = (
            images if letter == "D1" else losses.pixel_shuffle_down(images, options.pd_stride, drawn.phase)
            for images in (noise, sdnu)
        )
        criticism = lambda letter=letter, real=real, made=made: criticise(letter, real, made)  # noqa: E731
        parts[letter] = [(criticism, 1), (lambda letter=letter, made=made: judge(letter, made), share)]
    for letter, part in parts.items():
        part.append((contest.model.optimizers[letter].step, 1))
    return parts
