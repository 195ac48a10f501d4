"""The cross-layer depthwise convolution of DelugeNets."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.cpu import node_reading
from skipweave.ops.eager import allows_kernel, is_eager
from skipweave.ops.triton import cross_layer_launch, node_table


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
    for at, node in enumerate(nodes):
        total = total + weight[at].view(-1, 1, 1) * node
    return total


def cross_layer_fast(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """`cross_layer` with the sum made in place, in one pass over all nodes where that can be.

    That is in C on the CPU, and by Triton for channels-last nodes on a GPU; in as many passes backward.
    For the backward pass the nodes themselves are saved and nothing else, so readers of a node share what they save.
    """
    if not is_eager(weight, bias, *nodes):
        return cross_layer(nodes, weight, bias)
    return _CrossLayer.apply(weight, bias, *nodes)


class _CrossLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, *nodes: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *nodes)
        if order := _native_order(nodes, weight, bias):
            return node_reading.cross_sum(nodes, weight, bias, order)
        if _on_gpu(nodes, weight, bias):
            return cross_layer_launch.cross_sum(nodes, weight, bias)
        rows = weight.view(*weight.shape, 1, 1)
        total = torch.addcmul(bias.view(-1, 1, 1), nodes[0], rows[0])
        for node, row in zip(nodes[1:], rows[1:], strict=True):
            total.addcmul_(node, row)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *nodes = ctx.saved_tensors
        for_weight, for_bias, *for_nodes = ctx.needs_input_grad
        if order := _native_order(nodes, weight, grad):
            by_weight, by_bias, by_nodes = node_reading.cross_gradients(grad, nodes, weight, for_nodes, order)
            return by_weight, by_bias, *by_nodes
        if _on_gpu(nodes, weight, grad):
            by_weight, by_bias, by_nodes = cross_layer_launch.cross_gradients(grad, nodes, weight, for_nodes)
            return by_weight, by_bias, *by_nodes
        rows = weight.view(*weight.shape, 1, 1)
        pixels = (0, 2, 3)
        return (
            torch.stack([(grad * node).sum(pixels) for node in nodes]) if for_weight else None,
            grad.sum(pixels) if for_bias else None,
            *(grad * row if needed else None for row, needed in zip(rows, for_nodes, strict=True)),
        )


def _native_order(nodes: Sequence[Tensor], weight: Tensor, other: Tensor) -> torch.memory_format | None:
    """The order in which C reads these; None where torch does. `other` is the bias, or the result's gradient."""
    shape, channels = nodes[0].shape, nodes[0].shape[1:2]
    fits = (
        allows_kernel(weight, other, *nodes)
        and len(shape) == 4
        and weight.shape == (len(nodes), *channels)
        and other.shape in (channels, shape)
    )
    return node_reading.layout(nodes, weight, other) if fits and len({node.shape for node in nodes}) == 1 else None


def _on_gpu(nodes: Sequence[Tensor], weight: Tensor, other: Tensor) -> bool:
    """Whether a GPU's kernels take these; `other` is the bias, or the result's gradient."""
    same = allows_kernel(weight, other, *nodes) and len({node.shape for node in nodes}) == 1
    return same and node_table.are_readable(nodes, weight, other)
