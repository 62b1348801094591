"""Costs of a joint training before it begins: floating-point operations, GPU memory, disk.

Steps are taken on PyTorch's "meta" tensors, which have shapes and no values, so that it needs neither a GPU nor memory.
"""

import json
import math
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

from data.pairs import ImagePair, by_file
from models.model_joint import JointModel, JointOptions
from models.networks import LETTERS, PAPER_NAMES, build_networks
from models.optimise import Precision
from utils.report import Table, to_terminal
from utils.run import KEPT_STATES
from utils.trainer import Schedule

META = torch.device("meta")


class Meter(TorchDispatchMode):
    """Context manager that counts floating-point operations, `flops`, and the largest `peak` of bytes in tensors.

    A multiplication and an addition are two. Backward and double backward count; PyTorch's own FlopCounterMode has the
    same formulas, but its record of modules cannot pass a gradient penalty (torch 2.15). Bytes are those of tensors of
    the device that were made inside, until they are freed, without what kernels and allocators take for themselves.
    """

    def __init__(self, device: torch.device = META) -> None:
        super().__init__()
        self.device = device
        self.flops = self.bytes = self.peak = 0
        self._alive: set[int] = set()  # storages

    def __torch_dispatch__(self, function: Any, types: Any, inputs: tuple = (), named: dict | None = None) -> Any:
        count = flop_registry.get(function._overloadpacket)
        if count is None:  # in inference mode a convolution may come as conv2d, which is made of registered ones
            with self:
                result = function.decompose(*inputs, **(named or {}))
            if result is not NotImplemented:
                return result
        result = function(*inputs, **(named or {}))
        if count:
            self.flops += count(*inputs, **(named or {}), out_val=result)
        for made in tree_flatten(result)[0]:
            if isinstance(made, Tensor) and made.device.type == self.device.type:
                self._watch(made.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.bytes -= size


def count_flops(work: Callable[[], Any]) -> int:
    """Count the floating-point operations of convolutions and matrix products as they are executed."""
    with Meter() as meter:
        work()
    return meter.flops


@dataclass(frozen=True)
class StepCosts:
    """Costs of a training step and of a test.

    flops, test: operations of a mean step and of a test, before the denoiser trains and with it. peak: bytes of the
    GPU's tensors at most. networks, state: bytes of all networks' files and of a training state.
    """

    flops: tuple[float, float]
    test: tuple[float, float]
    peak: int
    networks: int
    state: int


def measure_step(
    configs: dict[str, dict[str, Any]],
    options: JointOptions,
    precision: Precision,
    batch: tuple[int, int, int, int],
    tested: Mapping[tuple[int, int], int] | None = None,
) -> StepCosts:
    """Take steps of float32 on batches (N, C, P, P) without values, with and without the denoiser and the critics.

    tested: how many test images have a height and width.
    """
    options, period, flops = replace(options, joint_start_epoch=2), options.adversarial_every, []
    with Meter() as meter:
        with META:
            networks = build_networks(configs, "normal", 0)
            images = {name: torch.empty(batch, dtype=torch.uint8) for name in ("clean", "noisy")}
        kernels = Precision(channels_last=precision.channels_last)  # others are not for tensors without values
        model = JointModel(networks, options, device=META, precision=kernels)
        for optimizer in model.optimizers.values():  # as on a GPU: all weights at once, or by one kernel
            optimizer.param_groups[0]["foreach"] = not precision.fused_adam
        for epoch in (1, 2):
            counted = []
            for step in (1, period):  # without adversarial terms and, the last of a period, with them
                before = meter.flops
                model.train_batch(images, step, epoch)
                counted.append(meter.flops - before)
            flops.append(((period - 1) * counted[0] + counted[1]) / period)
        test = _test_flops(model, meter, batch[1], tested or {})
    state = model.state_dict()
    files = _bytes([state["networks"], state["averages"]])
    return StepCosts((flops[0], flops[1]), test, meter.peak, files, _bytes(state))


def _test_flops(
    model: JointModel, meter: Meter, channels: int, tested: Mapping[tuple[int, int], int]
) -> tuple[float, float]:
    """Count the operations of a test, as `measure_joint` takes it: without the denoiser and with it."""
    synthesis = denoising = 0
    for size, count in tested.items():
        clean, noisy, z = (torch.empty(1, channels, *size, device=META) for _ in range(3))
        before = meter.flops
        for averaged in (False, True) if model.averages else (False,):
            model.synthesize(clean, noisy, z, averaged)
        between = meter.flops
        model.denoise(noisy)
        synthesis += count * (between - before)
        denoising += count * (meter.flops - between)
    return synthesis, synthesis + denoising


def _bytes(state: Any) -> int:
    return sum(one.nbytes for one in tree_flatten(state)[0] if isinstance(one, Tensor))


def epochs_of_tests(schedule: Schedule, begin_with_test: bool = False) -> list[int]:
    """Return the epoch of each test, which also saves, in rising order."""
    last, every = schedule.last_step, (schedule.steps_per_epoch * schedule.test_epoch, schedule.val_step)
    steps = chain([0] * begin_with_test, [last], *(range(each, last + 1, each) for each in every))
    return [schedule.epoch(step) for step in sorted(set(steps))]


def costs_of(
    settings: dict[str, Any],
    configs: dict[str, dict[str, Any]],
    options: JointOptions,
    precision: Precision,
    schedule: Schedule,
    train_pairs: Sequence[ImagePair],
    test_pairs: Sequence[ImagePair],
    begin_with_test: bool = False,
) -> str:
    """Describe a training for the terminal: its settings as JSON, the networks' sizes, its costs.

    Of the settings `batch_size`, `img_channels`, `patch_size` and `cache` count.
    """
    side = settings["patch_size"]
    batch = settings["batch_size"], settings["img_channels"], side, side
    sizes_tested = Counter((pair.box.height, pair.box.width) for pair in test_pairs)
    step = measure_step(configs, options, precision, batch, sizes_tested)
    with META:
        networks = build_networks(configs, "normal", 0)
    counts = {letter: sum(weights.numel() for weights in networks[letter].parameters()) for letter in LETTERS}
    rows = [[f"{letter}, {PAPER_NAMES[letter]}", f"{count:,}"] for letter, count in counts.items()]
    sizes = Table.from_rows(["network", "parameters"], rows)
    alone = min(max(options.joint_start_epoch - 1, 0) * schedule.steps_per_epoch, schedule.last_step)
    total = alone * step.flops[0] + (schedule.last_step - alone) * step.flops[1]
    tests = epochs_of_tests(schedule, begin_with_test)
    testing = sum(step.test[epoch >= options.joint_start_epoch] for epoch in tests)
    saved = min(len(set(tests)), schedule.keep_checkpoints or len(tests))
    tests_are = f"{len(tests):,} tests, images of each: {len(test_pairs):,}"
    files = [group[0] for group in by_file([*train_pairs, *test_pairs])]
    images = sum(path.stat().st_size for file in files for path in (file.clean, file.noisy))
    decoded = sum(math.prod(file.size) * 2 * file.channels for file in files) if settings["cache"] else 0
    rows = [
        ["steps", f"{schedule.last_step:,}", f"{schedule.steps_per_epoch:,} per epoch"],
        ["operations of a step", f"{step.flops[0] / 1e9:,.4g} GFLOP", f"before epoch {options.joint_start_epoch}"],
        ["operations of a step", f"{step.flops[1] / 1e9:,.4g} GFLOP", "with the denoiser"],
        ["operations of the training", f"{total / 1e18:,.4g} EFLOP", "without tests"],
        ["operations of the tests", f"{testing / 1e18:,.4g} EFLOP", tests_are],
        ["memory of the GPU", f"{step.peak / 1e9:,.3g} GB", "tensors in float32; kernels come on top"],
        ["images", f"{images / 1e9:,.3g} GB of disk", f"{2 * len(files):,} files that are there"],
        ["cache", f"{decoded / 1e9:,.3g} GB of disk", "decoded images"],
        ["checkpoints", f"{saved * step.networks / 1e9:,.3g} GB of disk", f"{saved:,} of each network are kept"],
        ["training states", f"{KEPT_STATES * step.state / 1e9:,.3g} GB of disk", f"the newest {KEPT_STATES}"],
    ]
    costs = Table.from_rows(["cost", "amount", "what"], rows)
    return "\n\n".join([json.dumps(settings, indent=1), to_terminal(sizes), to_terminal(costs)])
