"""A normalisation whose result is all that it keeps."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def normalise_lean(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float
) -> Tensor:
    """Batch norm in training, without gains and biases, that keeps its result for the backward pass and not its input.

    `torch.nn.functional.batch_norm` is the definition; it keeps its input. Where readers keep the normalised map
    anyway, this keeps nothing more. The result can be differentiated once.

    Args:
        x: (N, C, H, W).
        running_mean: (C,), updated; None where no statistics are kept.
        running_var: (C,), updated; None where no statistics are kept.
        momentum: Weight of this batch in the running statistics.
        eps: Added to the variance.

    Returns:
        (x - mean) / sqrt(variance + eps) with the batch's own statistics, (N, C, H, W).
    """
    return _LeanNorm.apply(x, running_mean, running_var, momentum, eps)


class _LeanNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float, eps: float
    ) -> Tensor:
        made, _, scale = torch.native_batch_norm(x, None, None, running_mean, running_var, True, momentum, eps)
        ctx.save_for_backward(made, scale)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Torch's own backward pass of a batch norm with gains `scale`, whose input had mean 0 and deviation 1."""
        made, scale = ctx.saved_tensors
        zeros, ones = torch.zeros_like(scale), torch.ones_like(scale)
        wanted = [True, False, False]
        given, _, _ = torch.ops.aten.native_batch_norm_backward(
            grad, made, scale, None, None, zeros, ones, True, 0.0, wanted
        )
        return given, None, None, None, None
