"""Normalization by batch statistics that saves its output, not its input, for the backward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops.eager_execution import is_eager

_PIXELS = (0, 2, 3)


def normalize_low_memory(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float
) -> Tensor:
    """`torch.nn.functional.batch_norm` in training without weight and bias, which saves only its output.

    Where readers save the normalized map anyway, no further memory is used.

    Args:
        x: (N, C, H, W).
        running_mean: (C,), updated in place; None without running statistics.
        running_var: (C,), updated in place; None without running statistics.
        momentum: Weight of this batch in the running statistics.
        eps: Added to the variance.

    Returns:
        (x - mean) / sqrt(variance + eps) with the statistics of the batch, (N, C, H, W).

    Raises:
        ValueError: A channel has a single value.
    """
    if not is_eager(x) or x.numel() == x.shape[1]:  # F.batch_norm raises for a single value per channel
        return F.batch_norm(x, running_mean, running_var, None, None, True, momentum, eps)
    normalized, _ = _Normalize.apply(x, running_mean, running_var, momentum, eps)
    return normalized


class _Normalize(torch.autograd.Function):
    """Returns the normalized map and 1 / sqrt(variance + eps), an output so that it is differentiable as well."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float
    ) -> tuple[Tensor, Tensor]:
        normalized, _, inverse_std = torch.native_batch_norm(
            x, None, None, running_mean, running_var, True, momentum, eps
        )
        ctx.save_for_backward(normalized, inverse_std)
        ctx.set_materialize_grads(False)
        return normalized, inverse_std

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, grad_inverse_std: Tensor | None) -> tuple[Tensor | None, ...]:
        normalized, inverse_std = ctx.saved_tensors
        grad_x = None if grad_output is None else _input_gradient(grad_output, normalized, inverse_std)
        if grad_inverse_std is not None:
            share = inverse_std.numel() / normalized.numel()
            through_std = normalized * (-(inverse_std**2) * grad_inverse_std * share).view(-1, 1, 1)
            grad_x = through_std if grad_x is None else grad_x + through_std
        return grad_x, None, None, None, None


def _input_gradient(grad_output: Tensor, normalized: Tensor, inverse_std: Tensor) -> Tensor:
    """Gradient with respect to the input, given that of the normalized map."""
    if torch.is_grad_enabled():  # the operator below treats the statistics of `normalized` as functions of it
        grad_mean = grad_output.mean(_PIXELS, keepdim=True)
        product_mean = (grad_output * normalized).mean(_PIXELS, keepdim=True)
        return inverse_std.view(-1, 1, 1) * (grad_output - grad_mean - normalized * product_mean)
    # The gradient of a batch norm with weight `inverse_std` whose input has mean 0 and standard deviation 1.
    zeros, ones = torch.zeros_like(inverse_std), torch.ones_like(inverse_std)
    grad_x: Tensor
    grad_x, _, _ = torch.ops.aten.native_batch_norm_backward(
        grad_output, normalized, inverse_std, None, None, zeros, ones, True, 0.0, [True, False, False]
    )
    return grad_x
