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
import logging
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from data.cache import open_images
from data.crop import CropJob, crop_pair
from data.dataset import StepBatches, TrainingPatches
from data.image_list import list_images
from data.image_sets import PUBLISHED_CROPS
from data.loading import to_device, training_loader
from data.sidd import find_crops, find_pairs
from utils.image import write_image

PATCH, BATCH = 96, 16
KINDS = 16  # different crops; the files of a set repeat them
PER_SCENE = 100
LOG = logging.getLogger("benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--frames", type=int, default=2, help="frame pairs from raw to first batch; 0: leave it out")
    parser.add_argument("--folder", default=None, help="where the images go for the time being")
    args = parser.parse_args()
    rows, result = [], {}
    for count in args.crops:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            make_crops(Path(folder) / "crops", count)
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # memory of a process that does nothing else
                rows.append(pool.apply(measure, (Path(folder), count, args.rounds)))
        print_table(rows)
    main_row = next((row for row in rows if row["crops"] == 1000), rows[-1])
    result = {name: main_row[name] for name in ("patch_ratio", "memcpy_ratio", "cpu_memcpy_ratio")}
    if args.frames:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            result["raw_to_first_batch_ratio"] = raw_to_first_batch(Path(folder), args.frames, rounds=5)
    print(json.dumps({name: round(value, 2) for name, value in result.items()}))


def print_table(rows: list[dict]) -> None:
    row = rows[-1]
    if len(rows) == 1:
        print("microseconds a patch; build in seconds, files in GB, anonymous memory of the process in MiB")
        print(f"{'crops':>6}" + "".join(f"{name:>13.12}" for name in list(row)[1:]))
    print(f"{row['crops']:6}" + "".join(f"{value:13.4g}" for value in list(row.values())[1:]), flush=True)


def noisy_pair(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A clean image with the texture of a denoised photograph, and correlated noise on it; PNGs as large as SIDD's."""
    random = np.random.default_rng(seed)
    coarse = random.integers(30, 220, (height // 8, width // 8, 3)).astype(np.float32)
    clean = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + random.normal(0, 1, (height, width, 3))
    noise = cv2.GaussianBlur(random.normal(0, 16, clean.shape).astype(np.float32), (3, 3), 0.6)
    return tuple(np.clip(image, 0, 255).round().astype(np.uint8) for image in (clean, clean + noise))


def scene_name(number: int) -> str:
    return f"{number + 1:04d}_001_ZZ_00800_00100_5500_N"


def make_crops(folder: Path, count: int) -> None:
    encoded = []
    for seed in range(KINDS):
        pair = noisy_pair(512, 512, seed)
        encoded.append([cv2.imencode(".png", image[:, :, ::-1])[1].tobytes() for image in pair])
    for number in range(count):
        scene = folder / scene_name(number // PER_SCENE)
        for side, kind, content in zip(("clean", "noisy"), ("GT", "NOISY"), encoded[number % KINDS]):
            path = scene / side / f"{scene.name[:4]}_{kind}_SRGB_010_{number % PER_SCENE + 1:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def published_batch(pairs: list[tuple[Path, Path]], random: np.random.Generator) -> torch.Tensor:
    """A batch as the published loop makes it: (2, N, 3, P, P)."""
    samples = []
    for index in random.integers(0, len(pairs), BATCH):
        clean, noisy = (cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in pairs[index])
        top, left = (random.integers(0, side - PATCH + 1) for side in clean.shape[:2])
        patches = (image[top : top + PATCH, left : left + PATCH].transpose(2, 0, 1) for image in (clean, noisy))
        samples.append([torch.from_numpy(np.ascontiguousarray(patch)) for patch in patches])
    return torch.stack([torch.stack(images) for images in zip(*samples)])


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Mean time of a call."""
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times


def anonymous_memory() -> float:
    """Memory of this process that is its own, without mapped files, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def use_one_thread() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def open_crops(folder: Path, cropped: bool = True) -> TrainingPatches:
    images = list_images(sorted(folder.iterdir()), cropped, PATCH, "")
    [reader] = open_images([images], folder, folder.parent / "cache", 0, LOG)
    return TrainingPatches(reader, PATCH, augment=False, seed=0)


def measure(folder: Path, count: int, rounds: int) -> dict[str, float]:
    use_one_thread()
    build = seconds(lambda: open_crops(folder / "crops"))
    patches = open_crops(folder / "crops")
    stream = iter(training_loader(patches, StepBatches(count, BATCH, True, 0, 0, 10**9), 0, pin_memory=False))
    first = seconds(lambda: next(stream), -(-count // BATCH))  # an epoch: checksums, first touch of pages
    for index in range(count):
        patches.reader.fill(np.empty((1, PATCH, PATCH, 6), np.uint8), np.array([index]), np.zeros((1, 2), int))
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
        "published": (lambda: published_batch(pairs, random), 1),
        "batches": (lambda: next(stream), 50),
        "on CPU": (lambda: to_device(next(stream), "cpu", augment=False), 50),
        "augmented": (lambda: to_device(next(stream), "cpu", augment=True), 20),
        "copy": (copy, 50),
    }
    taken = {name: [] for name in works}
    for _ in range(rounds):
        for name, (work, times) in works.items():
            taken[name].append(seconds(work, times) / BATCH * 1e6)

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(one / other for one, other in zip(taken[slow], taken[fast]))

    return {
        "crops": count,
        "build": build,
        "files": sum(file.size for file in files) / 1e9,
        "memory": memory,
        "first epoch": first / BATCH * 1e6,
        **{name: statistics.median(values) for name, values in taken.items()},
        "patch_ratio": ratio("published", "on CPU"),
        "memcpy_ratio": ratio("batches", "copy"),
        "cpu_memcpy_ratio": ratio("on CPU", "copy"),
    }


def raw_to_first_batch(folder: Path, frames: int, rounds: int) -> float:
    """From whole frames to the first batch: by way of Crop_SIDD.py and the published path, and by the cache."""
    use_one_thread()
    for number in range(frames):
        scene = folder / "parts" / scene_name(number)
        for kind, image in zip(("GT", "NOISY"), noisy_pair(3000, 4000, number)):
            write_image(scene / f"{scene.name[:4]}_{kind}_SRGB_010.PNG", image)
    scenes = sorted((folder / "parts").iterdir())

    def published() -> None:
        for scene in scenes:
            for pair in find_pairs(scene)[0]:
                crop_pair(CropJob(*pair, folder / "crops" / scene.name), PUBLISHED_CROPS)
        pairs = [pair for scene in scenes for pair in find_crops(folder / "crops" / scene.name)]
        published_batch(pairs, np.random.default_rng(0))

    def ours() -> None:
        patches = open_crops(folder / "parts", cropped=False)
        stream = iter(training_loader(patches, StepBatches(len(patches), BATCH, True, 0, 0, 1), 0, pin_memory=False))
        to_device(next(stream), "cpu", augment=False)

    taken = {published: [], ours: []}
    for _ in range(rounds):
        for work, values in taken.items():
            values.append(seconds(work))
            for made in ("crops", "cache"):
                shutil.rmtree(folder / made, ignore_errors=True)
    cropped, cached = (statistics.median(values) for values in taken.values())
    print(f"{frames} raw frame pairs to first batch: cropper and published path {cropped:.2f} s, cache {cached:.2f} s")
    return statistics.median(one / other for one, other in zip(*taken.values()))


if __name__ == "__main__":
    main()
