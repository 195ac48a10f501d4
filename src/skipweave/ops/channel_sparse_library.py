"""The C library's convolution as an operator of torch: with gradients, and known to `torch.compile`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skipweave.ops import native_convolution

Pair = tuple[int, int]


def channel_sparse_library(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse_dense` by the C library: float32 tensors on the CPU, strides up to 2; arguments as there."""
    operands = [x, weight] if bias is None else [x, weight, bias]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands):
        return _Convolution.apply(x, weight, index, bias, (stride, padding, dilation))
    return _forward(x, weight, index, bias, stride, padding, dilation)


class _Convolution(torch.autograd.Function):
    """The operators below with their gradients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, options: tuple[Pair, Pair, Pair]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, index)
        ctx.options = options
        return _forward(x, weight, index, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, index = ctx.saved_tensors
        for_x, for_weight, _, for_bias, _ = ctx.needs_input_grad
        return (
            _input_gradient(gradient, list(x.shape), weight, index, *ctx.options) if for_x else None,
            _weight_gradient(gradient, x, list(weight.shape), index, *ctx.options) if for_weight else None,
            None,
            gradient.sum((0, 2, 3)) if for_bias else None,
            None,
        )


def _eager(function: Callable[..., Tensor], operator: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Call the function itself, which spares the dispatcher's time, or under a compiler the operator that it knows."""

    def call(*args: Any) -> Tensor:
        return operator(*args) if torch.compiler.is_compiling() else function(*args)

    return call


@torch.library.custom_op("skipweave::channel_sparse", mutates_args=(), device_types="cpu")
def _forward_operator(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    return native_convolution.forward(x, weight, index, bias, stride, padding, dilation)


@_forward_operator.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    return x.new_empty(native_convolution.output_shape(x, weight, stride, padding, dilation))


@torch.library.custom_op("skipweave::channel_sparse_input_gradient", mutates_args=(), device_types="cpu")
def _input_gradient_operator(
    gradient: Tensor,
    shape: list[int],
    weight: Tensor,
    index: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    return native_convolution.input_gradient(gradient, shape, weight, index, stride, padding, dilation)


@_input_gradient_operator.register_fake
def _(gradient: Tensor, shape: list[int], *_: Any) -> Tensor:
    return gradient.new_empty(shape)


@torch.library.custom_op("skipweave::channel_sparse_weight_gradient", mutates_args=(), device_types="cpu")
def _weight_gradient_operator(
    gradient: Tensor,
    x: Tensor,
    shape: list[int],
    index: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    return native_convolution.weight_gradient(gradient, x, shape, index, stride, padding, dilation)


@_weight_gradient_operator.register_fake
def _(gradient: Tensor, x: Tensor, shape: list[int], *_: Any) -> Tensor:
    return gradient.new_empty(shape)


_forward = _eager(native_convolution.forward, _forward_operator)
_input_gradient = _eager(native_convolution.input_gradient, _input_gradient_operator)
_weight_gradient = _eager(native_convolution.weight_gradient, _weight_gradient_operator)
