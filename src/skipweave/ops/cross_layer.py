"""The cross-layer depthwise convolution of DelugeNets."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.autocast import convolution_dtype
from skipweave.ops.cpu import node_reading
from skipweave.ops.eager_execution import allows_kernel, is_eager
from skipweave.ops.triton import cross_layer_launch, node_table


def cross_layer(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """Compute each channel's weighted sum over nodes (DelugeNet, Equation 1): the reference definition.

    Args:
        nodes: Maps of one shape (N, C, H, W).
        weight: (L, C), one row per node.
        bias: (C,).

    Returns:
        sum over s of weight[s] * nodes[s], plus bias, (N, C, H, W).
    """
    total = bias.view(-1, 1, 1).expand_as(nodes[0])
    for at, node in enumerate(nodes):
        total = total + weight[at].view(-1, 1, 1) * node
    return total


def cross_layer_fast(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """`cross_layer` that accumulates in place, in one pass by the C library or a Triton kernel where available.

    Only the nodes and the weight are saved for the backward pass, so that all readers of a node share what they save.
    Under autocast the result has autocast's data type.
    """
    if not isinstance(nodes[0], Tensor):  # torch.fx traces with proxies, which have no data type
        return cross_layer(nodes, weight, bias)
    if not is_eager(weight, bias, *nodes):
        return cross_layer(nodes, weight, bias).to(_result_dtype(nodes, weight))
    return _CrossLayer.apply(weight, bias, *nodes)


class _CrossLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, *nodes: Tensor) -> Tensor:
        ctx.save_for_backward(weight, *nodes)
        dtype = _result_dtype(nodes, weight)
        if dtype == nodes[0].dtype and (layout := _cpu_layout(nodes, weight, bias)):
            return node_reading.cross_sum(nodes, weight, bias, layout)
        if _on_gpu(nodes, weight, bias):
            return cross_layer_launch.cross_sum(nodes, weight, bias, dtype)
        rows = weight.view(*weight.shape, 1, 1)
        total = torch.addcmul(bias.view(-1, 1, 1), nodes[0], rows[0])
        for node, row in zip(nodes[1:], rows[1:], strict=True):
            total.addcmul_(node, row)
        return total.to(dtype)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        weight, *nodes = ctx.saved_tensors
        needs_weight, needs_bias, *needs_nodes = ctx.needs_input_grad
        if grad_output.dtype == nodes[0].dtype and (layout := _cpu_layout(nodes, weight, grad_output)):
            grad_weight, grad_bias, grad_nodes = node_reading.cross_gradients(
                grad_output, nodes, weight, needs_nodes, layout
            )
            return grad_weight, grad_bias, *grad_nodes
        if _on_gpu(nodes, weight, grad_output):
            grad_weight, grad_bias, grad_nodes = cross_layer_launch.cross_gradients(
                grad_output, nodes, weight, needs_nodes
            )
            return grad_weight, grad_bias, *grad_nodes
        rows = weight.view(*weight.shape, 1, 1)
        over_pixels = partial(torch.sum, dim=(0, 2, 3), dtype=weight.dtype)
        return (
            torch.stack([over_pixels(grad_output * node) for node in nodes]) if needs_weight else None,
            over_pixels(grad_output) if needs_bias else None,
            *(grad_output * row if needed else None for row, needed in zip(rows, needs_nodes, strict=True)),
        )


def _result_dtype(nodes: Sequence[Tensor], weight: Tensor) -> torch.dtype:
    return convolution_dtype(torch.promote_types(nodes[0].dtype, weight.dtype), weight.device)


def _cpu_layout(nodes: Sequence[Tensor], weight: Tensor, other: Tensor) -> torch.memory_format | None:
    """Memory format in which the C library reads these; None if it cannot. `other` is bias or output gradient."""
    shape, channels = nodes[0].shape, nodes[0].shape[1:2]
    fits = (
        allows_kernel(weight, other, *nodes)
        and len(shape) == 4
        and weight.shape == (len(nodes), *channels)
        and other.shape in (channels, shape)
    )
    parameters = (weight, other) if other.shape == channels else (weight,)
    return node_reading.layout(nodes, *parameters) if fits and len({node.shape for node in nodes}) == 1 else None


def _on_gpu(nodes: Sequence[Tensor], weight: Tensor, other: Tensor) -> bool:
    """Whether the Triton kernels can read these; `other` is bias or output gradient."""
    same = allows_kernel(weight, other, *nodes) and len({node.shape for node in nodes}) == 1
    return same and node_table.are_readable(nodes, weight, other)
