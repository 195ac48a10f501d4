"""A convolution from outside torch as operators of torch: with gradients of any order, and known to `torch.compile`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef

from skipweave.ops.cpu.channel_sparse_calls import output_shape
from skipweave.ops.eager import allows_kernel

Function = Callable[..., Tensor]
Gradients = tuple[Tensor | None, ...]

_NOTHING = (None, None, None)  # the gradients of stride, padding and dilation


def differentiable(
    name: str,
    forward: Function,
    input_gradient: Function,
    weight_gradient: Function,
    device_types: str | None = None,
) -> Function:
    """Register a convolution and its two gradients as operators, each with gradients by the other two.

    A convolution is linear in its input and in its weights, so gradients of its gradients are the same three functions
    of other arguments.

    Args:
        name: The operators', as "skipweave::channel_sparse": it, `{name}_input_gradient` and `{name}_weight_gradient`.
        forward: Takes the arguments of `channel_sparse_dense`.
        input_gradient: Takes the output's gradient, the input's shape, weight, index, stride, padding, dilation.
        weight_gradient: Takes the output's gradient, the input, the weights' shape, index, stride, padding, dilation.
        device_types: Devices that it is for; None is all.

    Returns:
        The convolution, with the arguments of `channel_sparse_dense`.
    """
    operators = _operators(name, forward, input_gradient, weight_gradient, device_types)
    convolve, by_input, by_weight = map(_direct, (forward, input_gradient, weight_gradient), operators)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save the first two tensors and the index; stride, padding and dilation."""
        tensors = [part for part in inputs[:4] if isinstance(part, Tensor)]
        ctx.save_for_backward(*tensors[:3])
        ctx.geometry = inputs[4:]

    def gradients(ctx: Any, gradient: Tensor) -> Gradients:
        x, weight, index = ctx.saved_tensors
        for_x, for_weight, _, for_bias, *_ = ctx.needs_input_grad
        return (
            by_input(gradient, list(x.shape), weight, index, *ctx.geometry) if for_x else None,
            by_weight(gradient, x, list(weight.shape), index, *ctx.geometry) if for_weight else None,
            None,
            gradient.sum((0, 2, 3)) if for_bias else None,
            *_NOTHING,
        )

    def gradients_by_input(ctx: Any, of_input: Tensor) -> Gradients:
        """Gradients of the gradient by the input, which has the input's shape."""
        gradient, weight, index = ctx.saved_tensors
        for_gradient, _, for_weight, *_ = ctx.needs_input_grad
        return (
            convolve(of_input, weight, index, None, *ctx.geometry) if for_gradient else None,
            None,
            by_weight(gradient, of_input, list(weight.shape), index, *ctx.geometry) if for_weight else None,
            None,
            *_NOTHING,
        )

    def gradients_by_weight(ctx: Any, of_weight: Tensor) -> Gradients:
        """Gradients of the gradient by the weights, which has the weights' shape."""
        gradient, x, index = ctx.saved_tensors
        for_gradient, for_x, *_ = ctx.needs_input_grad
        return (
            convolve(x, of_weight, index, None, *ctx.geometry) if for_gradient else None,
            by_input(gradient, list(x.shape), of_weight, index, *ctx.geometry) if for_x else None,
            None,
            None,
            *_NOTHING,
        )

    for operator, backward in zip(operators, (gradients, gradients_by_input, gradients_by_weight), strict=True):
        operator.register_autograd(backward, setup_context=save)
    return convolve


def _direct(function: Function, operator: Function) -> Function:
    """Call a kernel itself where nobody looks on, which spares the dispatcher's time; elsewhere the operator."""

    def call(*args: Any) -> Tensor:
        plain = allows_kernel(*(part for part in args if isinstance(part, Tensor)))
        return function(*args) if plain else operator(*args)

    return call


def _operators(
    name: str, forward: Function, input_gradient: Function, weight_gradient: Function, device_types: str | None
) -> tuple[CustomOpDef, CustomOpDef, CustomOpDef]:
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
