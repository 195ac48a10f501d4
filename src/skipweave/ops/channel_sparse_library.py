"""The C library's convolution as an operator of torch: with gradients, and known to `torch.compile`."""

from typing import Any

import torch
from torch import Tensor

from skipweave.ops import native_library

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
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands)
    if recorded or torch.compiler.is_compiling():
        return _convolve(x, weight, index, bias, stride, padding, dilation)
    return native_library.forward(x, weight, index, bias, stride, padding, dilation)  # spares the dispatcher's time


@torch.library.custom_op("skipweave::channel_sparse", mutates_args=(), device_types="cpu")
def _convolve(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    return native_library.forward(x, weight, index, bias, stride, padding, dilation)


@_convolve.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
) -> Tensor:
    return x.new_empty(native_library.output_shape(x, weight, stride, padding, dilation))


@torch.library.custom_op("skipweave::channel_sparse_backward", mutates_args=(), device_types="cpu")
def _differentiate(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    """Gradients of the input and of the weights, where wanted; empty tensors in place of the others."""
    options = (stride, padding, dilation)
    return (
        native_library.input_gradient(gradient, x.shape, weight, index, *options) if wanted[0] else x.new_empty(0),
        native_library.weight_gradient(gradient, x, weight.shape, index, *options) if wanted[1] else x.new_empty(0),
    )


@_differentiate.register_fake
def _(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    return (
        gradient.new_empty(x.shape) if wanted[0] else x.new_empty(0),
        gradient.new_empty(weight.shape) if wanted[1] else x.new_empty(0),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, index, _, *ctx.options = inputs
    ctx.save_for_backward(x, weight, index)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, index = ctx.saved_tensors
    for_x, for_weight, _, for_bias = ctx.needs_input_grad[:4]
    given = weighted = None
    if for_x or for_weight:
        given, weighted = _differentiate(gradient, x, weight, index, *ctx.options, [for_x, for_weight])
    return (
        given if for_x else None,
        weighted if for_weight else None,
        None,
        gradient.sum((0, 2, 3)) if for_bias else None,
        *[None] * 3,
    )


_convolve.register_autograd(_backward, setup_context=_keep)
