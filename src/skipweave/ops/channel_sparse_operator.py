"""Registration of a custom convolution as torch operators, with gradients of any order and `torch.compile` support."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.library import CustomOpDef

from skipweave.ops.cpu.channel_sparse_calls import output_shape
from skipweave.ops.eager_execution import allows_kernel

Pair = tuple[int, int]
Function = Callable[..., Tensor]
Gradients = tuple[Tensor | None, ...]

_NO_GRADIENTS = (None, None, None)  # of stride, padding and dilation


def differentiable(
    name: str,
    forward: Function,
    input_gradient: Function,
    weight_gradient: Function,
    device_types: str | None = None,
) -> Function:
    """Register a convolution and its two gradients as operators that are each other's gradients.

    A convolution is linear in its input and in its weight, so gradients of its gradients are the same three functions
    with other arguments.

    Args:
        name: Operator name such as "skipweave::channel_sparse"; the gradients are registered as
            `{name}_input_gradient` and `{name}_weight_gradient`.
        forward: Function with the arguments of `channel_sparse_dense`.
        input_gradient: Function of output gradient, input shape, weight, index, stride, padding and dilation.
        weight_gradient: Function of output gradient, input, weight shape, index, stride, padding and dilation.
        device_types: Supported device types; None is all.

    Returns:
        The differentiable convolution, with the arguments of `channel_sparse_dense`.
    """
    operators = _operators(name, forward, input_gradient, weight_gradient, device_types)
    convolve, by_input, by_weight = map(_direct, (forward, input_gradient, weight_gradient), operators)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Save the two operands, the index, and stride, padding and dilation."""
        tensors = [part for part in inputs[:4] if isinstance(part, Tensor)]
        ctx.save_for_backward(*tensors[:3])
        ctx.geometry = inputs[4:]

    def gradients(ctx: Any, gradient: Tensor) -> Gradients:
        x, weight, index = ctx.saved_tensors
        needs_x, needs_weight, _, needs_bias, *_ = ctx.needs_input_grad
        return (
            by_input(gradient, list(x.shape), weight, index, *ctx.geometry) if needs_x else None,
            by_weight(gradient, x, list(weight.shape), index, *ctx.geometry) if needs_weight else None,
            None,
            gradient.sum((0, 2, 3)) if needs_bias else None,
            *_NO_GRADIENTS,
        )

    def gradients_by_input(ctx: Any, grad_input_gradient: Tensor) -> Gradients:
        """Gradients of the input gradient."""
        gradient, weight, index = ctx.saved_tensors
        needs_gradient, _, needs_weight, *_ = ctx.needs_input_grad
        return (
            convolve(grad_input_gradient, weight, index, None, *ctx.geometry) if needs_gradient else None,
            None,
            by_weight(gradient, grad_input_gradient, list(weight.shape), index, *ctx.geometry)
            if needs_weight
            else None,
            None,
            *_NO_GRADIENTS,
        )

    def gradients_by_weight(ctx: Any, grad_weight_gradient: Tensor) -> Gradients:
        """Gradients of the weight gradient."""
        gradient, x, index = ctx.saved_tensors
        needs_gradient, needs_x, *_ = ctx.needs_input_grad
        return (
            convolve(x, grad_weight_gradient, index, None, *ctx.geometry) if needs_gradient else None,
            by_input(gradient, list(x.shape), grad_weight_gradient, index, *ctx.geometry) if needs_x else None,
            None,
            None,
            *_NO_GRADIENTS,
        )

    for operator, backward in zip(operators, (gradients, gradients_by_input, gradients_by_weight), strict=True):
        operator.register_autograd(backward, setup_context=save)

    def convolution(
        x: Tensor,
        weight: Tensor,
        index: Tensor,
        bias: Tensor | None = None,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
    ) -> Tensor:
        return convolve(x, weight, index, bias, stride, padding, dilation)

    return convolution


def _direct(function: Function, operator: Function) -> Function:
    """Call the function directly in plain eager execution, which avoids dispatcher overhead; else the operator."""

    def call(*args: Any) -> Tensor:
        plain = allows_kernel(*(part for part in args if isinstance(part, Tensor)))
        return function(*args) if plain else operator(*args)

    return call


def _operators(
    name: str, forward: Function, input_gradient: Function, weight_gradient: Function, device_types: str | None
) -> tuple[CustomOpDef, CustomOpDef, CustomOpDef]:
    """Register the operators."""

    def register(suffix: str, function: Function, operands: str, fake: Function) -> CustomOpDef:
        schema = f"({operands}, int[] stride, int[] padding, int[] dilation) -> Tensor"
        operator = torch.library.custom_op(
            name + suffix, function, mutates_args=(), device_types=device_types, schema=schema
        )
        operator.register_fake(fake)
        return operator

    return (
        register(
            "",
            forward,
            "Tensor x, Tensor weight, Tensor index, Tensor? bias",
            lambda x, weight, index, bias, *geometry: x.new_empty(output_shape(x, weight, *geometry)),
        ),
        register(
            "_input_gradient",
            input_gradient,
            "Tensor gradient, int[] shape, Tensor weight, Tensor index",
            lambda gradient, shape, *_: gradient.new_empty(shape),
        ),
        register(
            "_weight_gradient",
            weight_gradient,
            "Tensor gradient, Tensor x, int[] shape, Tensor index",
            lambda gradient, x, shape, *_: gradient.new_empty(shape),
        ),
    )
