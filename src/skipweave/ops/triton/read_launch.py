"""Reading of nodes, optionally fused with a 1x1 convolution, and its gradients by Triton kernels.

All functions take readable nodes (`node_table.are_readable`) and return channels-last maps.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.triton.launch import ceil, chunks, launch, multiplied, side
from skipweave.ops.triton.node_table import table, vector, vector_of

_MIN_PROGRAMS = 256  # with fewer, tiles of pixels are made smaller
_MAX_CHUNKS = 256  # of a weight gradient; each writes a float32 tile
_TILE_ELEMENTS = 4096  # of element-wise kernels
_TILE_BYTES = 256  # of the longer side of a matrix product's tile: several tiles must fit into shared memory


def read(nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """`concat_read` with a result of this data type."""
    out = _map_like(nodes[0], len(scale), dtype)
    channels = side(len(scale), 128)
    pixels = _TILE_ELEMENTS // channels
    _launch(
        "read",
        (ceil(len(scale), channels) * ceil(_pixels(out), pixels),),
        (table(nodes, nodes), nodes[0], scale.contiguous(), shift.contiguous(), out, len(scale), _pixels(out)),
        dict(PIXELS=pixels, CHANNELS=channels, VECTOR=vector(nodes, out)),
    )
    return out


def read_product(
    nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, weight: Tensor, conv_bias: Tensor | None
) -> Tensor:
    """`read_conv` for a 1x1 kernel, in the data type of the weight (C', C, 1, 1)."""
    matrix = weight.flatten(1).contiguous()
    out = _map_like(nodes[0], len(matrix), weight.dtype)
    most = _TILE_BYTES // weight.element_size()
    outputs, channels = side(len(matrix), most), side(len(scale), most // 2)
    tiles = ceil(len(matrix), outputs)
    pixels = _tile_of_pixels(_pixels(out), tiles)
    _launch(
        "read_product",
        (tiles * ceil(_pixels(out), pixels),),
        (
            *(table(nodes, nodes), nodes[0], scale.contiguous(), shift.contiguous(), matrix),
            *(None if conv_bias is None else conv_bias.contiguous(), out),
            *(*matrix.shape, _pixels(out)),
        ),
        dict(
            **dict(PIXELS=pixels, OUTPUTS=outputs, CHANNELS=channels),
            **dict(VECTOR=vector(nodes, matrix), OUTPUT_VECTOR=vector_of(len(matrix), out)),
            **multiplied(outputs),
        ),
    )
    return out


def source_gradients(
    grad_output: Tensor,
    nodes: Sequence[Tensor],
    scale: Tensor,
    shift: Tensor,
    weight: Tensor | None,
    needs_grad: Sequence[bool],
) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """Gradients with respect to the nodes (where needed), scale and shift.

    Args:
        grad_output: Gradient of the activated map (N, C, H, W) or, with a weight, of the convolution's result
            (N, C', H, W).
        nodes: As in `concat_read`.
        scale: As in `concat_read`.
        shift: As in `concat_read`.
        weight: (C', C, 1, 1) with the data type of grad_output, or None.
        needs_grad: Whether each node needs its gradient.
    """
    grad_nodes = [
        _map_like(node, node.shape[1], node.dtype) if needed else None
        for node, needed in zip(nodes, needs_grad, strict=True)
    ]
    grad_output = grad_output.contiguous(memory_format=torch.channels_last)
    matrix = None if weight is None else weight.flatten(1).contiguous()
    half = _TILE_BYTES // grad_output.element_size() // 2
    outputs, channels = side(grad_output.shape[1], half), side(len(scale), half)
    tiles = ceil(len(scale), channels)
    pixels = _tile_of_pixels(_pixels(grad_output), tiles)
    partial = scale.new_empty(ceil(_pixels(grad_output), pixels), 2, len(scale), dtype=torch.float32)
    _launch(
        "source_gradients",
        (tiles * len(partial),),
        (
            *(table(nodes, nodes), table(grad_nodes, nodes), nodes[0], scale.contiguous(), shift.contiguous(), matrix),
            *(grad_output, partial, grad_output.shape[1], len(scale), _pixels(grad_output)),
        ),
        dict(
            **dict(PIXELS=pixels, OUTPUTS=outputs, CHANNELS=channels),
            VECTOR=vector([*nodes, *grad_nodes], grad_output if matrix is None else matrix),
            OUTPUT_VECTOR=vector_of(grad_output.shape[1], grad_output),
            **multiplied(channels),
        ),
    )
    grad_scale, grad_shift = partial.sum(0)
    return grad_nodes, grad_scale.to(scale.dtype), grad_shift.to(shift.dtype)


def weight_gradient(
    grad_output: Tensor, nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, dtype: torch.dtype
) -> Tensor:
    """Gradient of the weight (C', C, 1, 1), of this data type, given that of the convolution's result (N, C', H, W)."""
    grad_output = grad_output.contiguous(memory_format=torch.channels_last)
    most, pixels = _TILE_BYTES // grad_output.element_size(), 64
    outputs, channels = side(grad_output.shape[1], most), side(len(scale), most // 2)
    tiles = ceil(grad_output.shape[1], outputs) * ceil(len(scale), channels)
    chunk, count = chunks(_pixels(grad_output), pixels, tiles, _MAX_CHUNKS)
    partial = grad_output.new_empty(count, grad_output.shape[1], len(scale), dtype=torch.float32)
    _launch(
        "weight_products",
        (tiles, count),
        (
            *(table(nodes, nodes), nodes[0], scale.contiguous(), shift.contiguous(), grad_output, partial),
            *(grad_output.shape[1], len(scale), chunk, _pixels(grad_output)),
        ),
        dict(
            **dict(PIXELS=pixels, OUTPUTS=outputs, CHANNELS=channels),
            **dict(VECTOR=vector(nodes, partial), OUTPUT_VECTOR=vector_of(grad_output.shape[1], grad_output)),
            **multiplied(outputs),
        ),
    )
    return partial.sum(0).to(dtype)[:, :, None, None]


def _launch(kernel: str, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    from skipweave.ops.triton import read_kernels

    launch(getattr(read_kernels, kernel), grid, arguments, constants)


def _map_like(node: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """An empty channels-last map with another number of channels and data type."""
    shape = node.shape[0], channels, *node.shape[2:]
    return torch.empty(shape, dtype=dtype, device=node.device, memory_format=torch.channels_last)


def _pixels(x: Tensor) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


def _tile_of_pixels(pixels: int, others: int) -> int:
    """Number of pixels per tile: smaller if there would be few programs."""
    return next((tile for tile in (128, 64) if others * ceil(pixels, tile) >= _MIN_PROGRAMS), 32)
