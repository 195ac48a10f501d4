"""Reading nodes in the fastest form that is at hand, forward and backward."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.aggregate import concat_read, join
from skipweave.ops.cpu import node_reading
from skipweave.ops.eager import allows_kernel, is_eager
from skipweave.ops.triton import node_table, read_launch


def concat_read_lean(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor) -> Tensor:
    """`concat_read` that saves for the backward pass the nodes alone; arguments as there."""
    if not is_eager(gain, bias, *nodes):
        return concat_read(nodes, gain, bias)
    return _Read.apply(gain, bias, *nodes)


def concat_read_fast(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`concat_read`, in one pass in C or on a GPU where that can be and no gradient is recorded.

    Args:
        nodes: As in `concat_read`.
        gain: As there.
        bias: As there.
        dtype: Of the result; by default that which torch gives it.
    """
    known = match(nodes, gain, bias)
    order = node_reading.layout(nodes, gain, bias) if known else None
    if order is not None:
        read = node_reading.read(nodes, gain, bias, order)
    elif known and node_table.are_readable(nodes, gain, bias):
        return read_launch.read(nodes, gain, bias, dtype or torch.promote_types(nodes[0].dtype, gain.dtype))
    else:
        read = concat_read(nodes, gain, bias)
    return read if dtype is None else read.to(dtype)


def concat_read_gradients(
    grad: Tensor, nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, wanted: Sequence[bool]
) -> tuple[Sequence[Tensor | None], Tensor, Tensor]:
    """Gradients of the nodes, where wanted, of gains and of biases, from that of `concat_read`.

    Where they are to be differentiated again, torch's operators compute them.
    """
    known = match(nodes, gain, bias, grad)
    order = node_reading.layout(nodes, gain, bias) if known else None
    if order is not None and grad.dtype == torch.float32:
        return node_reading.read_gradients(grad, nodes, gain, bias, wanted, order)
    if known and node_table.are_readable(nodes, gain, bias, grad):
        return read_launch.source_gradients(grad, nodes, gain, bias, None, wanted)
    joined = join(nodes)
    activated = concat_read([joined], gain, bias)
    by_affine = torch.ops.aten.threshold_backward(grad.to(activated.dtype), activated, 0)
    del activated
    by_joined, by_gain, by_bias = _affine_gradients(by_affine, joined, gain)
    return by_joined.split([node.shape[1] for node in nodes], dim=1), by_gain, by_bias


def match(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, *others: Tensor) -> bool:
    """Whether a kernel may read nodes of one size, with a gain and a bias for each channel, and others."""
    if not allows_kernel(gain, bias, *nodes, *others):
        return False
    maps = {(len(node), *node.shape[2:]) for node in nodes}
    channels = (sum(node.shape[1] for node in nodes),)
    return len(maps) == 1 and gain.shape == bias.shape == channels


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gain: Tensor, bias: Tensor, *nodes: Tensor) -> Tensor:
        ctx.save_for_backward(gain, bias, *nodes)
        return concat_read_fast(nodes, gain, bias)

    @staticmethod
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
