"""Reading nodes in the fastest form that is at hand, forward and backward."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skipweave.ops import native_reading
from skipweave.ops.aggregate import concat_read, join


def concat_read_lean(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor) -> Tensor:
    """`concat_read` that keeps for the backward pass the nodes alone; arguments as there.

    The result can be differentiated once.
    """
    return _Read.apply(gain, bias, *nodes)


def concat_read_fast(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor) -> Tensor:
    """`concat_read`, in one pass in C where that can be and no gradient is recorded; arguments as there."""
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (gain, bias, *nodes))
    order = None if recorded else native_reading.layout(nodes, gain, bias)
    return concat_read(nodes, gain, bias) if order is None else native_reading.read(nodes, gain, bias, order)


def concat_read_gradients(
    grad: Tensor, nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, wanted: Sequence[bool]
) -> tuple[Sequence[Tensor | None], Tensor, Tensor]:
    """Gradients of the nodes, where wanted, of gains and of biases, from that of `concat_read`."""
    order = native_reading.layout(nodes, gain, bias)
    if order is not None and grad.dtype == torch.float32:
        return native_reading.read_gradients(grad, nodes, gain, bias, wanted, order)
    joined = join(nodes)
    activated = concat_read([joined], gain, bias)
    by_affine = torch.ops.aten.threshold_backward(grad.to(activated.dtype), activated, 0)
    del activated
    by_joined, by_gain, by_bias = _affine_gradients(by_affine, joined, gain)
    return by_joined.split([node.shape[1] for node in nodes], dim=1), by_gain, by_bias


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gain: Tensor, bias: Tensor, *nodes: Tensor) -> Tensor:
        ctx.save_for_backward(gain, bias, *nodes)
        return concat_read_fast(nodes, gain, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gain, bias, *nodes = ctx.saved_tensors
        by_nodes, by_gain, by_bias = concat_read_gradients(grad, nodes, gain, bias, ctx.needs_input_grad[2:])
        return by_gain, by_bias, *by_nodes


def _affine_gradients(grad: Tensor, x: Tensor, gain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of gain * x + bias by x, gain and bias: those of a batch norm whose statistics are 0 and 1."""
    zeros, ones = torch.zeros_like(gain), torch.ones_like(gain)
    x = x.to(grad.dtype)
    by_all: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        grad, x, gain, zeros, ones, None, None, False, 0.0, [True, True, True]
    )
    return by_all
