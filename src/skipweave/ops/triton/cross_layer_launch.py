"""The cross-layer convolution and its gradients by Triton kernels.

All functions take readable nodes (`node_table.are_readable`) of one shape and return channels-last maps.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.triton.launch import ceil, launch, side
from skipweave.ops.triton.node_table import table, vector

_TILE_ELEMENTS = 8192


def cross_sum(nodes: Sequence[Tensor], weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """`cross_layer` by a Triton kernel, with a result of this data type."""
    out = torch.empty_like(nodes[0], dtype=dtype, memory_format=torch.channels_last)
    grid, sizes, tile = _tiles(nodes[0])
    _launch(
        "cross_sum",
        grid,
        (table(nodes, nodes), nodes[0], weight.contiguous(), bias.contiguous(), out, len(nodes), *sizes),
        dict(**tile, VECTOR=vector(nodes, out), num_warps=8),
    )
    return out


def cross_gradients(
    grad_output: Tensor, nodes: Sequence[Tensor], weight: Tensor, needs_grad: Sequence[bool]
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Gradients with respect to weight, bias and the nodes (where needed)."""
    grad_output = grad_output.contiguous(memory_format=torch.channels_last)
    grad_nodes = [
        torch.empty_like(node, memory_format=torch.channels_last) if needed else None
        for node, needed in zip(nodes, needs_grad, strict=True)
    ]
    grid, sizes, tile = _tiles(nodes[0])
    parts = ceil(sizes[1], tile["PIXELS"])
    partial = weight.new_empty(parts, len(nodes) + 1, sizes[0], dtype=torch.float32)
    _launch(
        "cross_gradients",
        grid,
        (
            *(table(nodes, nodes), table(grad_nodes, nodes), nodes[0], weight.contiguous(), grad_output, partial),
            *(len(nodes), *sizes),
        ),
        dict(**tile, VECTOR=vector([*nodes, *grad_nodes], grad_output), num_warps=8),
    )
    sums = partial.sum(0).to(weight.dtype)
    return sums[:-1], sums[-1], grad_nodes


def _launch(kernel: str, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    from skipweave.ops.triton import cross_layer_kernels

    launch(getattr(cross_layer_kernels, kernel), grid, arguments, constants)


def _tiles(node: Tensor) -> tuple[tuple[int], tuple[int, int], dict[str, int]]:
    """The grid, the number of channels and pixels, and the sides of a tile."""
    images, width, rows, columns = node.shape
    channels = side(width, 128)
    pixels = _TILE_ELEMENTS // channels
    count = images * rows * columns
    return (ceil(width, channels) * ceil(count, pixels),), (width, count), dict(PIXELS=pixels, CHANNELS=channels)
