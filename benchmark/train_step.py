"""Time our training step against the same mathematics written naively, at the paper's sizes, and watch the memory.

    python -m benchmark.train_step --batch_size 4 --rounds 3

A round is ten steps of each (two of them adversarial), alternating step by step, so that a noisy machine slows both.
"""

import argparse
import resource

from benchmark.timing import spread, take_turns
from benchmark.training import Contest

STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    contest = Contest(args.batch_size)
    ratios = []
    for number in range(args.rounds + 1):
        taken = take_turns({"ours": contest.ours, "naive": contest.naive}, STEPS)
        if number == 0:
            continue  # warm-up
        seconds = {name: sum(values) for name, values in taken.items()}
        ratios.append(seconds["ours"] / seconds["naive"])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"round {number}: ours {seconds['ours'] / STEPS:.2f} s/step, naive {seconds['naive'] / STEPS:.2f} s/step, "
            f"ours/naive {ratios[-1]:.3f}, peak memory {peak:.2f} GiB",
            flush=True,
        )
    found = spread(ratios)
    print(f"ours/naive: median {found.median:.3f}, from {found.low:.3f} to {found.high:.3f}")


if __name__ == "__main__":
    main()
