"""A channel-sparse convolution from outside torch as an operator: with gradients, and known to `torch.compile`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.native_library import output_shape


def make_operator(
    name: str,
    forward: Callable[..., Tensor],
    input_gradient: Callable[..., Tensor],
    weight_gradient: Callable[..., Tensor],
    device_types: str | None = None,
) -> Callable[..., Tensor]:
    """Register a convolution, and its gradients as `{name}_backward`.

    Args:
        name: The operator's, as "skipweave::channel_sparse".
        forward: Takes the arguments of `channel_sparse_dense`.
        input_gradient: Takes the output's gradient, the input's shape, weight, index, stride, padding, dilation.
        weight_gradient: Takes the output's gradient, the input, the weights' shape, index, stride, padding, dilation.
        device_types: Devices that it is for; None is all.

    Returns:
        The operator, with the arguments of `channel_sparse_dense`. Its gradients can be differentiated no further.
    """

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

    @torch.library.custom_op(f"{name}_backward", mutates_args=(), device_types=device_types)
    def differentiate(
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
            input_gradient(gradient, x.shape, weight, index, *options) if wanted[0] else x.new_empty(0),
            weight_gradient(gradient, x, weight.shape, index, *options) if wanted[1] else x.new_empty(0),
        )

    @differentiate.register_fake
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

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, index, _, *ctx.options = inputs
        ctx.save_for_backward(x, weight, index)

    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, index = ctx.saved_tensors
        for_x, for_weight, _, for_bias = ctx.needs_input_grad[:4]
        given = weighted = None
        if for_x or for_weight:
            given, weighted = differentiate(gradient, x, weight, index, *ctx.options, [for_x, for_weight])
        return (
            given if for_x else None,
            weighted if for_weight else None,
            None,
            gradient.sum((0, 2, 3)) if for_bias else None,
            *[None] * 3,
        )

    convolve.register_autograd(backward, setup_context=keep)
    return convolve
