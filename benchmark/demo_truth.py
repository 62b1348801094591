"""Print how the shipped weights of the demo camera compare with the simulator, as the README's table.

python -m benchmark.demo_truth --pretrain_dir ./pretrain/ --seeds 3
"""

import argparse

from data.demo.options import DemoOptions, parse_size
from evaluation.demo_truth import STRUCTURE, compare_with_truth, mean_of
from models import load_neca
from options.make_demo import make_demo_parser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrain_dir", default="./pretrain/")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    defaults = make_demo_parser().parse_args([])
    options = DemoOptions(defaults.num_scenes, parse_size(defaults.size), tuple(defaults.iso), defaults.seed)

    rows = list(compare_with_truth(load_neca(args.pretrain_dir, "DC"), options, range(args.seeds)))
    columns = ("std", *STRUCTURE, "kld_exact")
    print("| ISO | noise | " + " | ".join(columns) + " |")
    print("|---:|---|" + "---:|" * len(columns))
    for iso in (*options.iso, None):
        wanted = {} if iso is None else {"iso": iso}
        for model in ("real", "redraw", "NeCA-W", "white"):
            means = (mean_of(rows, column, model=model, **wanted) for column in columns)
            print(f"| {iso or 'all'} | {model} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    for seed in range(args.seeds):
        fake, real = ({c: mean_of(rows, c, model=m, seed=seed) for c in columns} for m in ("NeCA-W", "real"))
        worst = max(STRUCTURE, key=lambda column: abs(fake[column] - real[column]))
        difference = fake[worst] - real[worst]
        print(f"seed {seed}: std ratio {fake['std'] / real['std']:.3f}, largest difference {difference:+.3f} ({worst})")


if __name__ == "__main__":
    main()
