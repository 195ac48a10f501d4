"""Triton's reading of nodes as functions of torch: which kernels are launched over which tiles.

All take nodes that are readable (`node_table.are_readable`) and make channels-last maps.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.triton.launch import ceil, launch, multiplied, shares, side
from skipweave.ops.triton.node_table import table, vector, vector_of

_LEAST_PROGRAMS = 256  # that tiles of pixels are made smaller for
_PARTS = 256  # that a weight gradient is cut into, if there are pixels enough: each writes a tile of float32
_ELEMENTS = 4096  # of a tile that is read and written
_TILE = 256  # bytes of a tile's longer side, where tiles are multiplied: several have to fit into shared memory


def read(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """`concat_read`, of a type."""
    out = _map_like(nodes[0], len(gain), dtype)
    channels = side(len(gain), 128)
    pixels = _ELEMENTS // channels
    _launch(
        "read",
        (ceil(len(gain), channels) * ceil(_pixels(out), pixels),),
        (table(nodes, nodes), nodes[0], gain.contiguous(), bias.contiguous(), out, len(gain), _pixels(out)),
        dict(PIXELS=pixels, CHANNELS=channels, VECTOR=vector(nodes, out)),
    )
    return out


def read_product(
    nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, weight: Tensor, conv_bias: Tensor | None
) -> Tensor:
    """`read_conv` of a 1x1 kernel, in the type of its weights (C', C, 1, 1)."""
    matrix = weight.flatten(1).contiguous()
    out = _map_like(nodes[0], len(matrix), weight.dtype)
    most = _TILE // weight.element_size()
    outputs, channels = side(len(matrix), most), side(len(gain), most // 2)
    tiles = ceil(len(matrix), outputs)
    pixels = _tile_of_pixels(_pixels(out), tiles)
    _launch(
        "read_product",
        (tiles * ceil(_pixels(out), pixels),),
        (
            *(table(nodes, nodes), nodes[0], gain.contiguous(), bias.contiguous(), matrix),
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
    gradient: Tensor,
    nodes: Sequence[Tensor],
    gain: Tensor,
    bias: Tensor,
    weight: Tensor | None,
    wanted: Sequence[bool],
) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """Gradients of the nodes, where wanted, of gains and of biases.

    Args:
        gradient: That of the activated map (N, C, H, W) or, with a weight, of the convolution's result (N, C', H, W).
        nodes: As in `concat_read`.
        gain: As there.
        bias: As there.
        weight: (C', C, 1, 1), of the gradient's type, or None.
        wanted: Of which nodes.
    """
    by_nodes = [
        _map_like(node, node.shape[1], node.dtype) if want else None for node, want in zip(nodes, wanted, strict=True)
    ]
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    matrix = None if weight is None else weight.flatten(1).contiguous()
    half = _TILE // gradient.element_size() // 2
    outputs, channels = side(gradient.shape[1], half), side(len(gain), half)
    tiles = ceil(len(gain), channels)
    pixels = _tile_of_pixels(_pixels(gradient), tiles)
    partial = gain.new_empty(ceil(_pixels(gradient), pixels), 2, len(gain), dtype=torch.float32)
    _launch(
        "source_gradients",
        (tiles * len(partial),),
        (
            *(table(nodes, nodes), table(by_nodes, nodes), nodes[0], gain.contiguous(), bias.contiguous(), matrix),
            *(gradient, partial, gradient.shape[1], len(gain), _pixels(gradient)),
        ),
        dict(
            **dict(PIXELS=pixels, OUTPUTS=outputs, CHANNELS=channels),
            VECTOR=vector([*nodes, *by_nodes], gradient if matrix is None else matrix),
            OUTPUT_VECTOR=vector_of(gradient.shape[1], gradient),
            **multiplied(channels),
        ),
    )
    by_gain, by_bias = partial.sum(0)
    return by_nodes, by_gain.to(gain.dtype), by_bias.to(bias.dtype)


def weight_gradient(
    gradient: Tensor, nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, dtype: torch.dtype
) -> Tensor:
    """Gradient of the weights (C', C, 1, 1) by that of the convolution's result (N, C', H, W), of a type."""
    gradient = gradient.contiguous(memory_format=torch.channels_last)
    most, pixels = _TILE // gradient.element_size(), 64
    outputs, channels = side(gradient.shape[1], most), side(len(gain), most // 2)
    tiles = ceil(gradient.shape[1], outputs) * ceil(len(gain), channels)
    share, count = shares(_pixels(gradient), pixels, tiles, _PARTS)
    partial = gradient.new_empty(count, gradient.shape[1], len(gain), dtype=torch.float32)
    _launch(
        "weight_products",
        (tiles, count),
        (
            *(table(nodes, nodes), nodes[0], gain.contiguous(), bias.contiguous(), gradient, partial),
            *(gradient.shape[1], len(gain), share, _pixels(gradient)),
        ),
        dict(
            **dict(PIXELS=pixels, OUTPUTS=outputs, CHANNELS=channels),
            **dict(VECTOR=vector(nodes, partial), OUTPUT_VECTOR=vector_of(gradient.shape[1], gradient)),
            **multiplied(outputs),
        ),
    )
    return partial.sum(0).to(dtype)[:, :, None, None]


def _launch(kernel: str, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    from skipweave.ops.triton import read_kernels

    launch(getattr(read_kernels, kernel), grid, arguments, constants)


def _map_like(node: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """A channels-last map of other channels and type."""
    shape = node.shape[0], channels, *node.shape[2:]
    return torch.empty(shape, dtype=dtype, device=node.device, memory_format=torch.channels_last)


def _pixels(x: Tensor) -> int:
    return x.shape[0] * x.shape[2] * x.shape[3]


def _tile_of_pixels(pixels: int, others: int) -> int:
    """Side of a tile of pixels: small where there would be few programs."""
    return next((tile for tile in (128, 64) if others * ceil(pixels, tile) >= _LEAST_PROGRAMS), 32)
