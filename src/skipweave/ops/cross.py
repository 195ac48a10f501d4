"""The cross-layer depthwise convolution of DelugeNets."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skipweave.ops import cross_triton, node_table


def cross_layer(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Filter each channel across nodes (DelugeNet, Equation 1): the definition.

    Args:
        nodes: Maps of one shape (N, C, H, W).
        weight: (L, C), a row a node.
        bias: (C,).

    Returns:
        sum over s of weight[s] * nodes[s], plus bias, (N, C, H, W).
    """
    total = bias.view(-1, 1, 1).expand_as(nodes[0])
    for node, row in zip(nodes, weight, strict=True):
        total = total + row.view(-1, 1, 1) * node
    return total


def cross_layer_fast(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """`cross_layer` with the sum made in place: one map of its own, one operation a node.

    Channels-last nodes on a GPU are read, and their gradients written, in one pass over all of them.
    For the backward pass the nodes themselves are kept and nothing else, so readers of a node share what they keep. The
    result can be differentiated once. A compiler is given the definition, of which it makes one kernel by itself.
    """
    if torch.compiler.is_compiling():
        return cross_layer(nodes, weight, bias)
    return _CrossLayer.apply(weight, bias, *nodes)


class _CrossLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, *nodes: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *nodes)
        if _in_one_pass(nodes, weight, bias):
            return cross_triton.cross_sum(nodes, weight, bias)
        rows = weight.view(*weight.shape, 1, 1)
        total = torch.addcmul(bias.view(-1, 1, 1), nodes[0], rows[0])
        for node, row in zip(nodes[1:], rows[1:], strict=True):
            total.addcmul_(node, row)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *nodes = ctx.saved_tensors
        for_weight, for_bias, *for_nodes = ctx.needs_input_grad
        if _in_one_pass(nodes, weight, grad):
            by_weight, by_bias, by_nodes = cross_triton.cross_gradients(grad, nodes, weight, for_nodes)
            return by_weight, by_bias, *by_nodes
        rows = weight.view(*weight.shape, 1, 1)
        pixels = (0, 2, 3)
        return (
            torch.stack([(grad * node).sum(pixels) for node in nodes]) if for_weight else None,
            grad.sum(pixels) if for_bias else None,
            *(grad * row if needed else None for row, needed in zip(rows, for_nodes, strict=True)),
        )


def _in_one_pass(nodes: Sequence[Tensor], weight: Tensor, other: Tensor) -> bool:
    """Whether a GPU's kernels take these; `other` is the bias, or the result's gradient."""
    return len({node.shape for node in nodes}) == 1 and node_table.are_readable(nodes, weight, other)
