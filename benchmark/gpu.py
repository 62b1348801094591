"""Measure what a GPU does with all of this, in at most eight minutes: correctness, speed and memory.

    python -m benchmark.gpu                          # the paper's sizes
    python -m benchmark.gpu --device cpu --quick     # a minute, small sizes: does it run?

Ends in a table in Markdown. A row that fails has its error there, and the others go on; what does not begin within five
minutes is left out, last of all compiling, which takes minutes. Errors are the largest over all values, relative to the
largest value.
"""

import argparse
import math
import subprocess
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmark.speed_report import processor
from benchmark.timing import make_gemms, seconds
from evaluation.costs import measure_step
from inference.generator import NoiseGenerator
from inference.tiled import TiledDenoiser
from models.model_joint import CRITICS, JointModel, JointOptions, draw_step
from models.networks import GENERATORS, LETTERS, build_networks
from models.optimise import Precision
from noise.augmentation import AddCameraNoise
from noise.kinds import load_noise
from options.common import positive_int
from options.train_jointly import network_configs, train_jointly_parser
from utils.command import run_command
from utils.report import Table, to_markdown
from utils.runtime import allow_tf32, choose_device

ROOT = Path(__file__).resolve().parent.parent
PATCH = 96
OPTIONS = JointOptions(separate_train=True, joint_start_epoch=1)  # the published command, after its first 50 epochs
PRECISIONS = {
    "float32": Precision(),
    "tf32": Precision(),
    "channels_last": Precision(channels_last=True),
    "bf16": Precision("bf16"),
    "bf16, channels_last, fused_adam": Precision("bf16", channels_last=True, fused_adam=True),
    "tf32, channels_last, fused_adam": Precision(channels_last=True, fused_adam=True),
    "bf16, channels_last, fused_adam, compile": Precision("bf16", True, True, True),
}


class Sizes(NamedTuple):
    """Amounts that are measured."""

    nc: int | None  # width of the networks; None: the paper's
    batch: int  # patches of a training step
    patches: int  # of a batch that gets a camera's noise
    side: int  # pixels, of large images
    repeats: int
    gemm: int
    checked: int  # patches of the step that is compared to the CPU's


FULL = Sizes(None, 16, 64, 3464, 5, 8192, 2)  # 12 megapixels
QUICK = Sizes(2, 1, 2, 64, 1, 64, 1)
WHITE = "; white noise drawn on the CPU, as the same on every device"
Found = tuple[str, str]  # value and what it is


def configs_of(sizes: Sizes) -> dict[str, dict[str, Any]]:
    """Return the networks' constructor arguments."""
    configs = network_configs(train_jointly_parser().parse_args([]))
    return {letter: config | ({"nc": sizes.nc} if sizes.nc else {}) for letter, config in configs.items()}


def batch_of(count: int, side: int = PATCH) -> dict[str, Tensor]:
    """Make clean and noisy images, (N, 3, side, side) uint8."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randint(30, 220, (count, 3, side, side), generator=generator)
    noise = (8 * torch.randn(clean.shape, generator=generator)).round().long()
    return {"clean": clean.byte(), "noisy": (clean + noise).clamp(0, 255).byte()}


def relative_error(found: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """Return the largest error of some tensors, each relative to the largest value of what is expected of it."""
    pairs = [(one.detach().cpu().double(), other.detach().cpu().double()) for one, other in zip(found, expected)]
    return max(float((one - other).abs().max() / other.abs().max().clamp(min=1e-30)) for one, other in pairs)


def golden(device: torch.device, sizes: Sizes) -> Found:
    """Compare the published sizes in float32 to the golden figures that the tests carry."""
    from tests.golden import FIGURES, compute_figures, fill  # of a clone

    figures, built = dict(np.load(FIGURES)), build_networks(configs_of(FULL), "normal", 0)
    networks = {letter: fill(network, torch.float32, device) for letter, network in built.items()}
    found = compute_figures(figures, networks, torch.float32, device)
    error = relative_error(map(torch.as_tensor, found.values()), [torch.as_tensor(figures[name]) for name in found])
    return f"{error:.1e}", "error; 1e-4 at most is right"


def step_beside_cpu(device: torch.device, sizes: Sizes) -> Found:
    """Take a training step with all terms in float32 on the device, and in float64 on the CPU."""
    batch = {name: images.double() / 255 for name, images in batch_of(sizes.checked).items()}
    found = []
    for place, dtype in ((device, torch.float32), (torch.device("cpu"), torch.float64)):
        networks = build_networks(configs_of(sizes), "kaiming", 0)  # whose gradients are more than rounding
        model = JointModel({letter: networks[letter].to(dtype) for letter in LETTERS}, OPTIONS, device=place)
        clean, noisy = (batch[name].to(place, dtype) for name in ("clean", "noisy"))
        drawn = draw_step(clean.shape, 3, 0, 5, torch.device("cpu"))
        mixing = {letter: drawn.mixing[letter].to(place, dtype) for letter in CRITICS}
        drawn = drawn._replace(z=drawn.z.to(place, dtype), mixing=mixing)
        losses = model.training_step(clean, noisy, drawn, OPTIONS.adversarial_every, 1)
        gradients = [
            torch.cat(
                [weights.grad.flatten() for weights in model.networks[x].parameters() if weights.grad is not None]
            )
            for x in LETTERS
        ]
        found.append([*losses.values(), *gradients])
    return f"{relative_error(*found):.1e}", "error of losses and gradients; 1e-3 at most is right"


def product(device: torch.device, sizes: Sizes, tf32: bool) -> Found:
    """Time matrix products and 1x1 convolutions of float32."""
    allow_tf32(tf32)
    rates = []
    for gemm in make_gemms(str(device), (sizes.gemm,)).values():
        gemm.work()
        rates.append(gemm.flops / seconds(gemm.work, 3 * sizes.repeats, str(device)) / 1e12)
    return f"{max(rates):.3g}", "TFLOP/s of products"


def train(device: torch.device, sizes: Sizes, name: str) -> Found:
    """Time training steps of the published command, from the batch in memory on."""
    allow_tf32("tf32" in name)
    model = JointModel(
        build_networks(configs_of(sizes), "normal", 0), OPTIONS, device=device, precision=PRECISIONS[name]
    )
    batch, period, done = batch_of(sizes.batch), OPTIONS.adversarial_every, [0]
    batch = {half: images.pin_memory() if device.type == "cuda" else images for half, images in batch.items()}

    def steps() -> None:
        for _ in range(period):
            done[0] += 1
            model.train_batch(batch, done[0], 1)

    steps()  # kernels are chosen, and compiled
    rate = period / seconds(steps, sizes.repeats, str(device))
    costs = measure_step(configs_of(sizes), OPTIONS, PRECISIONS[name], (sizes.batch, 3, PATCH, PATCH))
    what = f"training steps/s of {sizes.batch} patches, {rate * costs.flops[1] / 1e12:.3g} TFLOP/s; "
    return f"{rate:.3g}", what + f"memory by the dry run {costs.peak / 1e9:.3g} GB"


def add_noise(device: torch.device, sizes: Sizes, camera: str) -> Found:
    """Time a fitted camera's noise as an augmentation of whole batches."""
    transform = AddCameraNoise(load_noise(ROOT / "pretrain" / camera))
    images = batch_of(sizes.patches)["clean"].to(device)
    transform(images)
    taken = seconds(partial(transform, images), sizes.repeats, str(device))
    return f"{sizes.patches / taken:,.4g}", f"patches/s, batches of {sizes.patches}"


def add_neca(device: torch.device, sizes: Sizes) -> Found:
    """Time NeCA-W as an augmentation of whole batches."""
    transform, images = AddCameraNoise(generator(device, sizes), gain=(0.01, 0.1)), batch_of(sizes.patches)["clean"]
    images = images.to(device)
    transform(images)
    taken = seconds(partial(transform, images), sizes.repeats, str(device))
    return f"{sizes.patches / taken:,.4g}", f"patches/s, batches of {sizes.patches}"


def generator(device: torch.device, sizes: Sizes) -> NoiseGenerator:
    """Make NeCA with random weights."""
    networks = build_networks({x: configs_of(sizes)[x] for x in GENERATORS}, "kaiming", 0)
    return NoiseGenerator(networks).to(device)


def render(device: torch.device, sizes: Sizes, camera: str) -> Found:
    """Time a fitted camera's noise on large images."""
    noise = load_noise(ROOT / "pretrain" / camera)
    return large(device, sizes, lambda image: noise.synthesize(image, iso=800), WHITE)


def synthesise(device: torch.device, sizes: Sizes) -> Found:
    """Time NeCA-W on large images."""
    return large(device, sizes, partial(generator(device, sizes).synthesize, gain=0.05), WHITE)


def denoise(device: torch.device, sizes: Sizes) -> Found:
    """Time DnCNN on large images."""
    network: nn.Module = build_networks({"G3": configs_of(sizes)["G3"]}, "kaiming", 0)["G3"]
    denoiser = TiledDenoiser(network).to(device)
    return large(device, sizes, lambda image: denoiser(image[None].float() / 255))


def large(device: torch.device, sizes: Sizes, work: Callable[[Tensor], Any], remark: str = "") -> Found:
    """Time a work on a large image, (3, side, side) uint8."""
    image = batch_of(1, sizes.side)["clean"][0].to(device)
    work(image)
    megapixels = sizes.side**2 / 1e6
    rate = megapixels / seconds(partial(work, image), sizes.repeats, str(device))
    return f"{rate:.3g}", f"megapixels/s, images of {megapixels:.3g}{remark}"


ROWS: dict[str, Callable[[torch.device, Sizes], Found]] = {
    "golden figures, float32": golden,
    "training step beside the CPU's, float32": step_beside_cpu,
    "products, float32": partial(product, tf32=False),
    "products, tf32": partial(product, tf32=True),
    **{f"training, {name}": partial(train, name=name) for name in PRECISIONS if "compile" not in name},
    "AddCameraNoise, S6's pipeline": partial(add_noise, camera="S6"),
    "AddCameraNoise, NeCA-W": add_neca,
    "synthesis, S6's pipeline": partial(render, camera="S6"),
    "synthesis, NeCA-W": synthesise,
    "denoising, DnCNN": denoise,
    **{f"training, {name}": partial(train, name=name) for name in PRECISIONS if "compile" in name},
}


def measure(name: str, device: torch.device, sizes: Sizes) -> list[str]:
    """Measure a row: its name, value, what it is, and the peak memory; what went wrong in place of the value."""
    is_cuda, peak = device.type == "cuda", ""
    allow_tf32(False)
    try:
        if is_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        found = ROWS[name](device, sizes)
        if is_cuda:
            peak = f"{torch.cuda.max_memory_allocated(device) / 1e9:.3g} GB"
    except Exception as error:
        found = "failed", f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"
    return [name, *found, peak]


def describe(device: torch.device) -> str:
    """Name the device, its driver and the versions of PyTorch and CUDA."""
    if device.type != "cuda":
        return f"{processor()}, {torch.get_num_threads()} threads; PyTorch {torch.__version__}"
    properties = torch.cuda.get_device_properties(device)
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        driver = "unknown"
    memory = f"{properties.total_memory / 1e9:.0f} GB"
    versions = f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    return f"{properties.name}, {memory}, driver {driver}; {versions}"


def gpu_parser() -> argparse.ArgumentParser:
    """Build the parser of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to measure")
    parser.add_argument("--quick", action="store_true", help="small sizes and networks: a test of the benchmark itself")
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), default=list(ROWS), help="what to measure")
    parser.add_argument("--batch_size", type=positive_int, help="of the training step; default: 16, as published")
    parser.add_argument("--minutes", type=positive_int, default=5, help="after which no further row begins")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Measure the rows that are wanted and print them."""
    args = gpu_parser().parse_args(arguments)
    device, sizes = choose_device(args.device, [0]), QUICK if args.quick else FULL
    sizes = sizes._replace(batch=args.batch_size or sizes.batch)
    begun, rows = time.monotonic(), []
    for name in tqdm([name for name in ROWS if name in args.rows], unit="row", disable=None):
        late = time.monotonic() - begun > 60 * args.minutes
        rows.append([name, "left out", "the time was over", ""] if late else measure(name, device, sizes))
    minutes = math.ceil((time.monotonic() - begun) / 60)
    made = f"{describe(device)}. Measured in {minutes} min{', small sizes: not to be quoted' * args.quick}."
    print(to_markdown("GPU", {"": [made, Table.from_rows(["row", "value", "what", "peak memory"], rows)]}))


if __name__ == "__main__":
    run_command(main)
