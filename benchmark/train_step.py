"""Time our training step against the same mathematics written naively, at the paper's sizes, and watch the memory.

    python -m benchmark.train_step --batch_size 4 --rounds 3

A round is ten steps of each (two of them adversarial), alternating step by step, so that a noisy machine slows both.
"""

import argparse
import resource
import statistics
import time

import torch

from benchmark.naive import NaiveTraining
from models.model_joint import CRITICS, JointModel, JointOptions
from models.networks import build_networks
from models.step_randomness import draw_step
from options.train_jointly import network_configs, train_jointly_parser

STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    configs = network_configs(train_jointly_parser().parse_args([]))
    options = JointOptions(separate_train=True, joint_start_epoch=1)
    model = JointModel(build_networks(configs, "normal", 0), options)
    naive = NaiveTraining(**build_networks(configs, "normal", 0), separate=True)
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(args.batch_size, 3, 96, 96, generator=generator)
    noisy = (clean + 0.05 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)

    ratios = []
    step = 0
    for number in range(args.rounds + 1):
        seconds = {"ours": 0.0, "naive": 0.0}
        for _ in range(STEPS):
            step += 1
            drawn = draw_step(clean.shape, 3, 0, step, torch.device("cpu"))
            eps = [drawn.mixing[letter] for letter in CRITICS]
            runs = {
                "ours": lambda: model.training_step(clean, noisy, drawn, step, 1),  # noqa: B023
                "naive": lambda: naive.step(clean, noisy, drawn.z, drawn.phase, *eps, step, True),  # noqa: B023
            }
            for name in sorted(runs, reverse=step % 2 == 0):
                begun = time.perf_counter()
                runs[name]()
                seconds[name] += time.perf_counter() - begun
        if number == 0:
            continue  # warm-up
        ratios.append(seconds["ours"] / seconds["naive"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"round {number}: ours {seconds['ours'] / STEPS:.2f} s/step, naive {seconds['naive'] / STEPS:.2f} s/step, "
            f"ours/naive {ratios[-1]:.3f}, peak memory {peak:.2f} GiB",
            flush=True,
        )
    print(f"ours/naive: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
