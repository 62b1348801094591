"""Compare the shipped weights of the demo camera with the truth, the simulator itself, as the README's table.

python -m benchmark.demo_truth --pretrain_dir ./pretrain/ --seeds 3
"""

import argparse
from collections.abc import Iterator

import numpy as np
import torch

from data.demo.scenes import DemoOptions, all_scenes, noise_statistics
from metrics import kld_exact, noise_of
from models import load_neca
from models.generator import NoiseGenerator
from utils.image import to_uint8

STRUCTURE = ("lag-1 h", "lag-1 v", "lag-(1,1)", "rg", "gb", "rb")


def compare_with_truth(
    generator: NoiseGenerator, options: DemoOptions, seeds: range, side: int | None = None
) -> Iterator[dict]:
    """Synthesise noise on the demo camera's test scenes; yield rows {iso, seed, model, std, lag-1 h, ..., kld_exact}.

    Models: `real`, the scene's first frame; `redraw`, another one, the floor of every number; `NeCA-W`; `white`,
    Gaussian noise with the real noise's std. kld_exact is against `real`. `side` cuts the scenes to their middle.
    """
    for scene in all_scenes(options):
        if scene.half != "test":
            continue
        clean, real, redraw = (_middle(image, side) for image in (scene.clean(), scene.noisy(0), scene.noisy(1)))
        gain = generator.estimate_gain(real)
        truth = noise_of(real, clean)
        for seed in seeds:
            fake = generator.synthesize(clean, gain, seed=seed, key=scene.name)
            z = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)).numpy()
            white = to_uint8(clean / 255 + truth.std() / 255 * z)
            for model, image in {"real": real, "redraw": redraw, "NeCA-W": fake, "white": white}.items():
                noise = noise_of(image, clean)
                divergence = {"kld_exact": kld_exact(truth, noise)}
                yield {"iso": scene.iso, "seed": seed, "model": model} | noise_statistics(noise) | divergence


def _middle(image: np.ndarray, side: int | None) -> np.ndarray:
    if side is None:
        return image
    top, left = ((length - side) // 2 for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def mean_of(rows: list[dict], column: str, **wanted: int | str) -> float:
    """Average a column over the rows that have all the wanted values."""
    return float(np.mean([row[column] for row in rows if all(row[name] == value for name, value in wanted.items())]))


def main() -> None:
    """Print the table, and each seed's largest difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrain_dir", default="./pretrain/")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()

    options = DemoOptions()
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
