"""A second device made of the CPU, for tests without a GPU: tensors on it do not mix with those on the CPU.

PyTorch calls it "meta", the one device beside the CPU whose backward passes need no hardware. Unlike PyTorch's own meta
tensors these have values: forward and backward passes, optimisers and decisions by value give the CPU's numbers. The
rules are CUDA's: an operation on tensors of both devices is an error, except for copies, indices on the CPU, and single
numbers on the CPU in element-wise operations; NumPy does not see the values. What asks for "cuda" by its name is not
covered: kernels, autocast, TF32, pinned memory, NCCL.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")
aten = torch.ops.aten
COPIES = (aten.copy_, aten._to_copy)
INDEXINGS = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index)
TAKE_NUMBERS = (*INDEXINGS, aten.fill, aten.fill_, aten.where, aten.masked_fill, aten.masked_fill_)


class StandIn(Tensor):
    """A tensor on the second device; `values` are on the CPU."""

    __slots__ = ("values",)
    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "StandIn":
        """Wrap values."""
        layout = {"strides": values.stride(), "storage_offset": values.storage_offset()}
        made = Tensor._make_wrapper_subclass(cls, values.shape, dtype=values.dtype, device=DEVICE, **layout)
        made.values = values
        return made

    def __repr__(self, **how: Any) -> str:
        """Describe the values."""
        return f"StandIn({self.values})"

    def as_subclass(self, cls: type) -> Any:
        """Stay what it is where a plain tensor is asked for."""
        return self if cls in (Tensor, StandIn) else super().as_subclass(cls)

    def tolist(self) -> Any:
        """Return the values, which PyTorch's own method refuses for subclasses."""
        return self.values.tolist()

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute on the CPU what belongs to one device."""
        given = dict(kwargs or {})
        tensors = [one for one in tree_flatten((args, given))[0] if isinstance(one, Tensor)]
        assert all(isinstance(one, StandIn) for one in tensors if one.is_meta), f"{function}: values have got lost"
        is_there = any(isinstance(one, StandIn) for one in tensors)
        if is_there:
            _require_one_device(function, tensors, args)
        if given.get("device") is not None:
            is_there = torch.device(given["device"]) == DEVICE
            given |= {"device": torch.device("cpu"), "pin_memory": False}
        plain_args, plain_kwargs = tree_map_only(StandIn, lambda one: one.values, (args, given))
        made = function(*plain_args, **plain_kwargs)
        if not is_there:
            return made
        return return_and_correct_aliasing(function, args, given, tree_map_only(Tensor, StandIn, made))


def _require_one_device(function: Any, tensors: list[Tensor], args: Any) -> None:
    packet, elsewhere = function.overloadpacket, [one for one in tensors if not isinstance(one, StandIn)]
    if packet in COPIES or (packet in INDEXINGS and isinstance(args[0], StandIn)):
        return
    takes_numbers = torch.Tag.pointwise in function.tags or packet in TAKE_NUMBERS
    if takes_numbers and (isinstance(args[0], StandIn) or not function._schema.is_mutable):
        elsewhere = [one for one in elsewhere if one.ndim]
    if elsewhere:
        shapes = ", ".join(str(tuple(one.shape)) for one in elsewhere)
        raise RuntimeError(f"expected all tensors to be on the same device: {function} has some on the CPU, {shapes}")


class SecondDevice(TorchDispatchMode):
    """Context manager in which tensors can be made on the second device, or moved to it."""

    def __enter__(self) -> "SecondDevice":
        """Begin."""
        self._from_values = _FromValues()
        self._from_values.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        """End."""
        super().__exit__(*exception)
        self._from_values.__exit__(*exception)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute as `StandIn`."""
        return StandIn.__torch_dispatch__(function, types, args, kwargs)


class _FromValues(TorchFunctionMode):
    """Keep the values of numbers and of lists of indices, which PyTorch drops for "meta" before it dispatches."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and given.get("device") is not None:
            device, wanted = given.pop("device"), given.pop("requires_grad", False)
            made = function(*args, **given, device="cpu").to(device)
            return made.requires_grad_() if wanted else made
        if function in (Tensor.__getitem__, Tensor.__setitem__) and isinstance(args[0], StandIn):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(one) if isinstance(one, list) else one for one in index)
            args = (args[0], index, *args[2:])
        return function(*args, **given)
