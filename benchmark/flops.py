"""Floating-point operations of convolutions and matrix products, counted as they are executed."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopCount(TorchDispatchMode):
    """Context manager that counts in `total`, backward and double backward included.

    A multiplication and an addition are two. PyTorch's own FlopCounterMode has the same formulas, but its record of
    modules cannot pass a gradient penalty (torch 2.15).
    """

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def count_flops(work: Callable[[], Any]) -> int:
    with FlopCount() as counted:
        work()
    return counted.total
