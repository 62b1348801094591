"""Layers that several networks share, and their initial weights."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

MAX_CHANNELS = 512  # where the widths of NCNet and of the critics stop doubling (published)
INIT_TYPES = ("normal", "xavier", "kaiming", "orthogonal")
AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")
REDUCED = ("tf32", "bf16")  # formats of float32's factors in torch.backends
ACT_MODES = ("R", "L", "BR", "BL", "IR", "IL")  # KAIR's letters: B/I batch/instance norm, R ReLU, L leaky ReLU


def activation(act_mode: str, channels: int) -> list[nn.Module]:
    """Make the layers that follow a convolution, by the letters of `ACT_MODES`.

    LeakyReLU has slope 0.2, BatchNorm momentum 0.9 and epsilon 1e-4 (published). Raises ValueError for other letters.
    """
    if act_mode not in ACT_MODES:
        raise ValueError(f"activation mode {act_mode!r}, expected one of {', '.join(ACT_MODES)}")
    layers = {
        "B": lambda: nn.BatchNorm2d(channels, momentum=0.9, eps=1e-4),
        "I": lambda: nn.InstanceNorm2d(channels, affine=True),
        "R": lambda: nn.ReLU(inplace=True),
        "L": lambda: nn.LeakyReLU(0.2, inplace=True),
    }
    return [layers[letter]() for letter in act_mode]


def conv(in_nc: int, out_nc: int, kernel: int, stride: int = 1, **options: Any) -> nn.Conv2d:
    """Make a convolution whose padding keeps the size, or halves it with stride 2: 3 for 7x7, 1 for 3x3 and 4x4."""
    return nn.Conv2d(in_nc, out_nc, kernel, stride, padding=(kernel - 1) // 2, **options)


@contextmanager
def exact_convolutions(device: torch.device | None = None) -> Iterator[None]:
    """Compute convolutions in full precision, whatever autocast and `torch.backends` say, and leave these as they are.

    With TF32, cuDNN's default, or in a caller's autocast, noise would differ from what the same seed gives on the CPU.
    `device` is where they are computed; on the CPU they are faster when it says so.
    """
    with ExitStack() as stack:
        for kind in AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(_cpu_precision)
        if device is None or device.type != "cpu":
            stack.enter_context(_OwnSwitches())
        yield


class _OwnSwitches(TorchFunctionMode):
    """Hand convolutions their switches one by one: no search for algorithms, deterministic, cuDNN, no TF32.

    The switches of `torch.backends` belong to the process: other threads use them, and their old and new names for
    TF32 exclude each other. Padding by a word stays with them.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in CONVOLUTIONS:
            return func(*args, **(kwargs or {}))
        values = dict(zip(CONVOLUTIONS[func], args)) | (kwargs or {})
        if isinstance(values.get("padding"), str):
            return func(*args, **(kwargs or {}))
        weight = values["weight"]
        stride, padding, dilation, output_padding = (
            [value] * (weight.ndim - 2) if isinstance(value, int) else list(value)
            for value in map(values.get, ("stride", "padding", "dilation", "output_padding"), (1, 0, 1, 0))
        )
        layer = (values["input"], weight, values.get("bias"), stride, padding, dilation)
        transposed = "output_padding" in CONVOLUTIONS[func]
        return torch._convolution(*layer, transposed, output_padding, values.get("groups", 1), False, True, True, False)


_BEGIN = ("input", "weight", "bias", "stride", "padding")
CONVOLUTIONS = dict.fromkeys(
    (torch.conv1d, torch.conv2d, torch.conv3d), (*_BEGIN, "dilation", "groups")
) | dict.fromkeys(
    (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d),
    (*_BEGIN, "output_padding", "groups", "dilation"),
)


class _CpuPrecision:
    """Full precision for convolutions on CPUs with matrix units, which know the process's switches alone.

    While any thread is in this context these are "ieee"; the last one restores what the first one found.
    """

    def __init__(self) -> None:
        self._lock, self._threads = threading.Lock(), 0
        self._changed: list[tuple[Any, str]] = []  # switches and what they were
        self._word = ""  # before PyTorch 2.9: what they all were

    def __enter__(self) -> None:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                onednn = torch.backends.mkldnn
                switches = [getattr(onednn, name, None) for name in ("conv", "matmul")]  # since PyTorch 2.9
                found = [(switch, switch.fp32_precision) for switch in switches if switch]
                self._changed = [(switch, value) for switch, value in found if value in REDUCED]
                for switch, _ in self._changed:
                    switch.fp32_precision = "ieee"
                self._word = "" if any(switches) else torch.get_float32_matmul_precision()
                if self._word:
                    torch.set_float32_matmul_precision("highest")

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._threads -= 1
            for switch, value in self._changed if self._threads == 0 else ():
                switch.fp32_precision = "none"  # inherits from torch.backends.fp32_precision
                if switch.fp32_precision != value:
                    switch.fp32_precision = value
            if self._threads == 0 and self._word:
                torch.set_float32_matmul_precision(self._word)


_cpu_precision = _CpuPrecision()


def initialise(network: nn.Module, init_type: str = "normal") -> nn.Module:
    """Fill a network's weights in place and return it.

    Convolution and linear weights: `normal` N(0, 0.02) (published), `xavier` normal with gain 0.02, `kaiming` normal
    over fan_in, `orthogonal` with gain 0.02; biases 0. BatchNorm: weight N(1, 0.02), bias 0;
    InstanceNorm stays at weight 1, bias 0 (published).
    Raises ValueError for another name.
    """
    fill = {
        "normal": lambda weight: nn.init.normal_(weight, 0.0, 0.02),
        "xavier": lambda weight: nn.init.xavier_normal_(weight, gain=0.02),
        "kaiming": lambda weight: nn.init.kaiming_normal_(weight, mode="fan_in"),
        "orthogonal": lambda weight: nn.init.orthogonal_(weight, gain=0.02),
    }
    if init_type not in fill:
        raise ValueError(f"initial weights {init_type!r}, expected one of {', '.join(INIT_TYPES)}")
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            fill[init_type](module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
    return network
