"""Speed of the data path: batches from the crop cache against the published path and against a plain memory copy.

    python -m benchmark.data_path                        # 100 and 1,000 crops, two frames of 3000x4000
    python -m benchmark.data_path --crops 100 1000 10000 # 25 GB of disk

One process, one thread, on both sides. The published path decodes both 512x512 PNGs of every patch, cuts 96x96 and
collects 16; ours gives the same batch from the cache, as it is sent to the device ("batches") and converted on this
processor to (N, 3, P, P) ("on CPU"); the copy is np.copyto of as many bytes in two runs from random places of the same
mapped files. They take turns; ratios are medians of those of the turns. Bars: patch_ratio 80, memcpy_ratio 4,
raw_to_first_batch_ratio 4.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.frames import FRAME, raw_to_first_batch
from benchmark.published import published_batch
from benchmark.samples import BATCH, PATCH, make_crops, open_crops
from benchmark.timing import Spread, ratio, seconds, take_turns, use_one_thread
from data.batches import StepBatches
from data.loading import to_device, training_loader
from data.sidd import find_crops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--frames", type=int, default=2, help="frame pairs from raw to first batch; 0: leave it out")
    parser.add_argument("--folder", default=None, help="where the images go for the time being")
    args = parser.parse_args()
    results = []
    for count in args.crops:
        results.append(measure_crops(count, args.rounds, args.folder))
        print_table([result.row for result in results])
    chosen = next((result for result in results if result.row["crops"] == 1000), results[-1])
    found = {name: chosen.ratios[name].median for name in ("patch_ratio", "memcpy_ratio", "cpu_memcpy_ratio")}
    if args.frames:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            taken = raw_to_first_batch(Path(folder), args.frames, FRAME, 1, rounds=5)
        cropped, cached = (statistics.median(taken[name]) for name in ("Crop_SIDD.py", "cache"))
        print(f"{args.frames} raw frame pairs to first batch: by crops {cropped:.2f} s, by the cache {cached:.2f} s")
        found["raw_to_first_batch_ratio"] = ratio(taken["Crop_SIDD.py"], taken["cache"]).median
    print(json.dumps({name: round(value, 2) for name, value in found.items()}))


class CropResult(NamedTuple):
    """What a set of crops gave: a row of the table, and ratios."""

    row: dict[str, float]
    ratios: dict[str, Spread]


def print_table(rows: list[dict]) -> None:
    """Print the last row, under a head if it is the first."""
    row = rows[-1]
    if len(rows) == 1:
        print("microseconds a patch; build in seconds, files in GB, anonymous memory of the process in MiB")
        print(f"{'crops':>6}" + "".join(f"{name:>13.12}" for name in list(row)[1:]))
    print(f"{row['crops']:6}" + "".join(f"{value:13.4g}" for value in list(row.values())[1:]), flush=True)


def measure_crops(count: int, rounds: int, folder: str | Path | None = None) -> CropResult:
    """Make crops and measure them in a process that does nothing else, so that its memory tells."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        make_crops(Path(place) / "crops", count)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(measure, (Path(place), count, rounds))


def anonymous_memory() -> float:
    """Memory of this process that is its own, without mapped files, in MiB; nan where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def measure(folder: Path, count: int, rounds: int) -> CropResult:
    use_one_thread()
    build = seconds(lambda: open_crops(folder / "crops"))
    patches = open_crops(folder / "crops")
    stream = iter(training_loader(patches, StepBatches(count, BATCH, True, 0, 0, 10**9), 0, pin_memory=False))
    first = seconds(lambda: next(stream), -(-count // BATCH))  # an epoch: checksums, first touch of pages
    for index in range(count):
        patches.reader.pair(index)  # checks what that epoch has not touched, as later ones would
    files = [np.memmap(path, np.uint8, "r") for path in sorted((folder / "cache").rglob("*.pairs"))]
    memory = anonymous_memory()

    random = np.random.default_rng(0)
    pairs = [pair for scene in sorted((folder / "crops").iterdir()) for pair in find_crops(scene)]
    copied = np.empty((2, BATCH, PATCH * PATCH * 3), np.uint8)

    def copy() -> None:
        for image in copied:
            file = files[random.integers(len(files))]
            begin = random.integers(file.size - image.size)
            np.copyto(image, file[begin : begin + image.size].reshape(image.shape))

    works = {
        "published": lambda: published_batch(pairs, random, BATCH, PATCH),
        "batches": (lambda: next(stream), 50),
        "on CPU": (lambda: to_device(next(stream), "cpu", augment=False), 50),
        "augmented": (lambda: to_device(next(stream), "cpu", augment=True), 20),
        "copy": (copy, 50),
    }
    taken = take_turns(works, rounds)
    row = {
        "crops": count,
        "build": build,
        "files": sum(file.size for file in files) / 1e9,
        "memory": memory,
        "first epoch": first / BATCH * 1e6,
        **{name: statistics.median(values) / BATCH * 1e6 for name, values in taken.items()},
    }
    ratios = {
        "patch_ratio": ratio(taken["published"], taken["on CPU"]),
        "memcpy_ratio": ratio(taken["batches"], taken["copy"]),
        "cpu_memcpy_ratio": ratio(taken["on CPU"], taken["copy"]),
    }
    return CropResult(row | {name: value.median for name, value in ratios.items()}, ratios)


if __name__ == "__main__":
    main()
