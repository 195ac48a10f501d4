"""Normalization of each image in groups of channels that saves its output, not its input, for the backward pass."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops.eager_execution import is_eager


def normalize_groups(x: Tensor, groups: int, eps: float) -> Tensor:
    """`torch.nn.functional.group_norm` without weight and bias, in the data type of x: the reference definition.

    Args:
        x: (N, C, H, W).
        groups: Number of groups, a divisor of C.
        eps: Added to the variance.

    Returns:
        (x - mean) / sqrt(variance + eps) with the statistics of each image and group, (N, C, H, W).
    """
    return F.group_norm(x, groups, eps=eps).to(x.dtype)  # autocast on a GPU returns float32


def normalize_groups_low_memory(x: Tensor, groups: int, eps: float) -> Tensor:
    """`normalize_groups` that saves only its output for the backward pass; same arguments.

    Where readers save the normalized map anyway, no further memory is used.
    """
    if not is_eager(x):
        return normalize_groups(x, groups, eps)
    normalized, _ = _NormalizeGroups.apply(x, groups, eps)
    return normalized


class _NormalizeGroups(torch.autograd.Function):
    """Returns the normalized map and 1 / sqrt(variance + eps) (N, groups), an output to be differentiable as well."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
        images, channels = x.shape[:2]
        x = x.contiguous(memory_format=torch.contiguous_format if x.is_cuda else _layout(x))  # as F.group_norm
        normalized, _, inverse_std = torch.native_group_norm(
            x, None, None, images, channels, x.shape[2:].numel(), groups, eps
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
            through_std = normalized * _per_channel(-(inverse_std**2) * grad_inverse_std * share, normalized)
            grad_x = through_std if grad_x is None else grad_x + through_std
        return grad_x, None, None


def _input_gradient(grad_output: Tensor, normalized: Tensor, inverse_std: Tensor) -> Tensor:
    """Gradient with respect to the input, given that of the normalized map."""
    groups = inverse_std.shape[1]
    if torch.is_grad_enabled():  # the operator below treats the statistics of `normalized` as functions of it
        grad_mean, product_mean = (
            _per_channel(values.unflatten(1, (groups, -1)).mean((2, 3, 4)), normalized)
            for values in (grad_output, grad_output * normalized)
        )
        return _per_channel(inverse_std, normalized) * (grad_output - grad_mean - normalized * product_mean)
    # The gradient of a group norm whose input has mean 0 and standard deviation 1, divided by the actual one.
    images, channels = normalized.shape[:2]
    zeros, ones = torch.zeros_like(inverse_std), torch.ones_like(inverse_std)
    grad_x: Tensor
    grad_x, _, _ = torch.ops.aten.native_group_norm_backward(
        grad_output.contiguous(memory_format=_layout(normalized)),
        normalized,
        zeros,
        ones,
        None,
        images,
        channels,
        normalized.shape[2:].numel(),
        groups,
        [True, False, False],
    )
    return grad_x.mul_(_per_channel(inverse_std, normalized))


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Repeat values of images and groups (N, groups) for each channel of x, (N, C, 1, 1) in its data type."""
    return values.repeat_interleave(x.shape[1] // values.shape[1], dim=1)[..., None, None].to(x.dtype)


def _layout(x: Tensor) -> torch.memory_format:
    channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if channels_last else torch.contiguous_format
