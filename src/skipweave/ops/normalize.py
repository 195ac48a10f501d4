"""A normalization that saves its result for the backward pass, and nothing else."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops.eager import is_eager

_PIXELS = (0, 2, 3)


def normalize_lean(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float
) -> Tensor:
    """Batch norm in training, without weight and bias, that saves its result for the backward pass and not its input.

    `torch.nn.functional.batch_norm` is the definition; it saves its input. Where readers save the normalized map
    anyway, this saves nothing more.

    Args:
        x: (N, C, H, W).
        running_mean: (C,), updated; None where no statistics are kept.
        running_var: (C,), updated; None where no statistics are kept.
        momentum: Weight of this batch in the running statistics.
        eps: Added to the variance.

    Returns:
        (x - mean) / sqrt(variance + eps) with the batch's own statistics, (N, C, H, W).

    Raises:
        ValueError: A channel has a single value, which has no deviation.
    """
    if not is_eager(x) or x.numel() == x.shape[1]:  # torch's own refuses a single value
        return F.batch_norm(x, running_mean, running_var, None, None, True, momentum, eps)
    made, _ = _LeanNorm.apply(x, running_mean, running_var, momentum, eps)
    return made


class _LeanNorm(torch.autograd.Function):
    """The normalized map, and 1 / sqrt(variance + eps), which is returned so that it, too, can be differentiated."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float
    ) -> tuple[Tensor, Tensor]:
        made, _, scale = torch.native_batch_norm(x, None, None, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(made, scale)
        ctx.set_materialize_grads(False)
        return made, scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, grad_scale: Tensor | None) -> tuple[Tensor | None, ...]:
        made, scale = ctx.saved_tensors
        by_x = None if grad is None else _input_gradient(grad, made, scale)
        if grad_scale is not None:
            by_scale = made * (-(scale**2) * grad_scale * (scale.numel() / made.numel())).view(-1, 1, 1)
            by_x = by_scale if by_x is None else by_x + by_scale
        return by_x, None, None, None, None


def _input_gradient(grad: Tensor, made: Tensor, scale: Tensor) -> Tensor:
    """Gradient of the input by that of the normalized map."""
    if torch.is_grad_enabled():  # torch's operator takes mean and deviation of `made` for functions of it
        grad_mean, product_mean = grad.mean(_PIXELS, keepdim=True), (grad * made).mean(_PIXELS, keepdim=True)
        return scale.view(-1, 1, 1) * (grad - grad_mean - made * product_mean)
    # That of a batch norm with weight `scale`, whose input had mean 0 and deviation 1.
    zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)
    wanted = [True, False, False]
    by_x: Tensor
    by_x, _, _ = torch.ops.aten.native_batch_norm_backward(
        grad, made, scale, None, None, zeros, ones, True, 0.0, wanted
    )
    return by_x
