"""Networks that are differentiated twice, as the gradient penalty does with a critic, without needless work."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode


class ForSecondDerivative(TorchFunctionMode):
    """Context manager in which to run a network whose gradient by its input will itself be differentiated.

    The derivatives are the same. PyTorch sends the second derivative of ReLU and LeakyReLU, zero, through the whole
    network once more; here it is left out. In float32 convolutions have derivatives of their own, which round
    differently: PyTorch's take the batch for channels, which oneDNN, on CPUs, does at half speed.

    The first derivative, taken with `create_graph`, is by the input alone: convolutions give none by their weights.
    Not for use under autocast.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return _REPLACED.get(function, function)(*args, **(kwargs or {}))


def _relu(features: Tensor, inplace: bool = False) -> Tensor:
    return _leaky_relu(features, 0.0)


def _leaky_relu(features: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    one = features.new_ones(())  # two plain numbers would give a float32 slope
    return features * torch.where(features.detach() > 0, one, negative_slope)


def _conv2d(input, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    if input.dtype != torch.float32 or input.dim() != 4 or isinstance(padding, str):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return _Conv2d.apply(input, weight, bias, *map(_pair, (stride, padding, dilation)), groups)


_REPLACED = {F.relu: _relu, F.leaky_relu: _leaky_relu, F.conv2d: _conv2d}


class _Conv2d(torch.autograd.Function):
    """Convolution; its derivative, if it is to be differentiated, is `_InputGradient`, else PyTorch's."""

    @staticmethod
    def forward(ctx, images: Tensor, weight: Tensor, bias: Tensor | None, *shape) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.shape = shape
        return F.conv2d(images, weight, bias, *shape)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        none = [None] * len(ctx.shape)
        if torch.is_grad_enabled():  # the gradient is to be differentiated
            return _InputGradient.apply(grad, weight, images.detach(), *ctx.shape), None, None, *none
        return *_conv2d_backward(grad, images, weight, ctx.shape, ctx.needs_input_grad[:3]), *none


class _InputGradient(torch.autograd.Function):
    """Gradient of a convolution by its input: linear in the convolution's own gradient and in the weights."""

    @staticmethod
    def forward(ctx, grad: Tensor, weight: Tensor, images: Tensor, *shape) -> Tensor:
        ctx.save_for_backward(grad, weight)
        ctx.shape = shape
        return _conv2d_backward(grad, images, weight, shape, (True, False, False))[0]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_images: Tensor) -> tuple[Tensor | None, ...]:
        grad, weight = ctx.saved_tensors
        by_grad = by_weight = None
        if ctx.needs_input_grad[0]:
            by_grad = F.conv2d(grad_images, weight, None, *ctx.shape)
        if ctx.needs_input_grad[1]:
            _, by_weight, _ = _conv2d_backward(grad, grad_images, weight, ctx.shape, (False, True, False))
        return by_grad, by_weight, None, *[None] * len(ctx.shape)


def _conv2d_backward(grad: Tensor, images: Tensor, weight: Tensor, shape: tuple, wanted: Sequence[bool]):
    """Gradients of a convolution by its images, weight and bias, None where not wanted."""
    stride, padding, dilation, groups = shape
    not_transposed = False, [0, 0]
    return torch.ops.aten.convolution_backward(
        grad, images, weight, [len(weight)], stride, padding, dilation, *not_transposed, groups, list(wanted)
    )
