"""A convolution from outside torch as a function of torch: with gradients, and known to `torch.compile`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skipweave.ops.native_convolution import output_shape

Pair = tuple[int, int]
Function = Callable[..., Tensor]


def differentiable(
    name: str,
    forward: Function,
    input_gradient: Function,
    weight_gradient: Function,
    device_types: str | None = None,
) -> Function:
    """Make one function of a convolution and its gradients, which are registered as operators of torch.

    Args:
        name: The operators', as "skipweave::channel_sparse": it, `{name}_input_gradient` and `{name}_weight_gradient`.
        forward: Takes the arguments of `channel_sparse_dense`.
        input_gradient: Takes the output's gradient, the input's shape, weight, index, stride, padding, dilation.
        weight_gradient: Takes the output's gradient, the input, the weights' shape, index, stride, padding, dilation.
        device_types: Devices that it is for; None is all.

    Returns:
        The function, with the arguments of `channel_sparse_dense`. Its gradients can be differentiated no further.
    """
    operators = _operators(name, forward, input_gradient, weight_gradient, device_types)
    convolve, for_input, for_weight = map(_eager, (forward, input_gradient, weight_gradient), operators)

    class Convolution(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, options: tuple[Pair, Pair, Pair]
        ) -> Tensor:
            ctx.save_for_backward(x, weight, index)
            ctx.options = options
            return convolve(x, weight, index, bias, *options)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
            x, weight, index = ctx.saved_tensors
            x_wanted, weight_wanted, _, bias_wanted, _ = ctx.needs_input_grad
            return (
                for_input(gradient, list(x.shape), weight, index, *ctx.options) if x_wanted else None,
                for_weight(gradient, x, list(weight.shape), index, *ctx.options) if weight_wanted else None,
                None,
                gradient.sum((0, 2, 3)) if bias_wanted else None,
                None,
            )

    def function(
        x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
    ) -> Tensor:
        operands = [x, weight] if bias is None else [x, weight, bias]
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in operands):
            return Convolution.apply(x, weight, index, bias, (stride, padding, dilation))
        return convolve(x, weight, index, bias, stride, padding, dilation)

    return function


def _eager(function: Function, operator: Function) -> Function:
    """Call the function itself, which spares the dispatcher's time, or under a compiler the operator that it knows."""

    def call(*args: Any) -> Tensor:
        return operator(*args) if torch.compiler.is_compiling() else function(*args)

    return call


def _operators(
    name: str, forward: Function, input_gradient: Function, weight_gradient: Function, device_types: str | None
) -> tuple[Function, Function, Function]:
    """Register the operators."""

    @torch.library.custom_op(name, mutates_args=(), device_types=device_types)
    def convolve(
        x: Tensor,
        weight: Tensor,
        index: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> Tensor:
        return forward(x, weight, index, bias, stride, padding, dilation)

    @convolve.register_fake
    def _(
        x: Tensor,
        weight: Tensor,
        index: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> Tensor:
        return x.new_empty(output_shape(x, weight, stride, padding, dilation))

    @torch.library.custom_op(f"{name}_input_gradient", mutates_args=(), device_types=device_types)
    def for_input(
        gradient: Tensor,
        shape: list[int],
        weight: Tensor,
        index: Tensor,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> Tensor:
        return input_gradient(gradient, shape, weight, index, stride, padding, dilation)

    @for_input.register_fake
    def _(gradient: Tensor, shape: list[int], *_: Any) -> Tensor:
        return gradient.new_empty(shape)

    @torch.library.custom_op(f"{name}_weight_gradient", mutates_args=(), device_types=device_types)
    def for_weight(
        gradient: Tensor,
        x: Tensor,
        shape: list[int],
        index: Tensor,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> Tensor:
        return weight_gradient(gradient, x, shape, index, stride, padding, dilation)

    @for_weight.register_fake
    def _(gradient: Tensor, x: Tensor, shape: list[int], *_: Any) -> Tensor:
        return gradient.new_empty(shape)

    return convolve, for_input, for_weight
