"""Triton's convolution as a function of torch: which kernels are launched over which tiles."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.channel_sparse_operator import differentiable
from skipweave.ops.cpu.channel_sparse_calls import expect_gradient, output_shape, why_no_kernel
from skipweave.ops.triton.launch import ceil, launch, multiplied, power_of_two, shares, side

Pair = Sequence[int]
Geometry = dict[str, tuple[int, int]]

#: Outputs that a block must have for products of matrices: the least side that tensor cores multiply.
LEAST_BLOCK = 16
_PROGRAMS = 1024  # that a weight gradient is cut into, if there are pixels enough
_MOST = 2**31 - 2**10  # pixels, or weights, that the kernels can number


def channel_sparse_triton(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse_dense` by Triton's kernels: float32, bfloat16 or float16 on a GPU; arguments as there.

    Blocks of 16 outputs and more are products of matrices, in TF32 where `torch.backends.cudnn` allows it to
    convolutions; smaller blocks are sums, in float32. The input gradient of blocks takes memory for rows * k maps. Maps
    in another order than (N, C, H, W), such as channels-last ones, are copied; the result is in this order. Under
    autocast the type is autocast's. Whether the index names channels that exist is not checked: it would take a wait
    for the GPU.
    """
    if torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return _convolve(x, weight, index, bias, stride, padding, dilation)


def why_not(x: Pair, weight: Pair, index: Pair, stride: Pair, padding: Pair, dilation: Pair) -> str:
    """Say in words why the kernels cannot convolve tensors of these shapes; empty where they can."""
    if problem := why_no_kernel(x, weight, index, stride, padding, dilation):
        return problem
    padded = [size + 2 * zeros for size, zeros in zip(x[2:], padding, strict=True)]
    most = max(x[0] * prod(padded) * prod(stride), prod(weight))
    return "" if most < _MOST else "there are more pixels, or weights, than 32 bits can number"


def _forward(
    x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    shape = output_shape(x, weight, stride, padding, dilation)
    geometry = _geometry(weight.shape[2:], stride, padding, dilation)
    bias = None if bias is None else bias.contiguous()
    if _block(weight.shape, index) >= LEAST_BLOCK:
        return _block_products(x, weight, index, bias, shape, geometry)
    links = _by_output(index, weight.shape)
    starts = torch.arange(0, links.numel() + 1, links.shape[1], device=x.device)
    return _output_sums(x, weight.flatten(0, 1), links, starts, bias, shape, geometry)


def _input_gradient(
    gradient: Tensor, shape: Pair, weight: Tensor, index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """A convolution of the gradient, with inputs and outputs exchanged.

    Of blocks it has two parts: the gradient of each map that a block reads, then for each input the sum of these. So no
    two programs write to one place, and the result is the same in every run.
    """
    expect_gradient(gradient.shape, shape, weight.shape, stride, padding, dilation)
    backwards = [-zeros for zeros in padding], [-apart for apart in dilation]
    geometry = _geometry(weight.shape[2:], (1, 1), *backwards, spread=stride)
    block, (rows, fan_in) = _block(weight.shape, index), index.shape
    if block < LEAST_BLOCK:
        links, starts = _readers(_by_output(index, weight.shape), shape[1])
        return _output_sums(gradient, weight.flatten(0, 1)[links], links // fan_in, starts, None, shape, geometry)
    exchanged = weight.unflatten(0, (rows, block)).transpose(1, 2).flatten(0, 1)
    outputs = torch.arange(rows * block, device=index.device).view(rows, block)
    read = _block_products(gradient, exchanged, outputs, None, (shape[0], rows * fan_in, *shape[2:]), geometry)
    links, starts = _readers(index, shape[1])
    return _output_sums(read, read.new_ones(len(links), 1), links, starts, None, shape, _geometry((1, 1)))


def _weight_gradient(
    gradient: Tensor, x: Tensor, shape: Pair, index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Sums over shares of the pixels, then the sum of these."""
    expect_gradient(gradient.shape, x.shape, shape, stride, padding, dilation)
    geometry = _geometry(shape[2:], stride, padding, dilation)
    if _block(shape, index) >= LEAST_BLOCK:
        partial = _block_weight_products(gradient, x, shape, index, geometry)
        return partial.sum(0).permute(2, 3, 0, 1).to(gradient.dtype, memory_format=torch.contiguous_format)
    return _link_weight_sums(gradient, x, shape, _by_output(index, shape), geometry).sum(0).to(gradient.dtype)


_convolve = differentiable("skipweave::channel_sparse_triton", _forward, _input_gradient, _weight_gradient)


def _block_products(
    source: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, shape: Pair, geometry: Geometry
) -> Tensor:
    """The convolution into a map of this shape, by matrix products; weight (C_out, k, kh, kw), index (rows, k)."""
    out = source.new_empty(shape)
    by_tap = weight.permute(2, 3, 0, 1).contiguous()
    block, (rows, fan_in) = _block(weight.shape, index), index.shape
    outputs, pixels = side(block, 64), 128
    _launch(
        "block_products",
        (rows * ceil(block, outputs) * ceil(_pixels(shape), pixels),),
        (source.contiguous(), by_tap, index.contiguous(), bias, out, fan_in, block, rows, *_sizes(source.shape, shape)),
        dict(**geometry, OUTPUTS=outputs, INPUTS=side(fan_in, 32), PIXELS=pixels, **multiplied(outputs)),
    )
    return out


def _output_sums(
    source: Tensor, weight: Tensor, index: Tensor, starts: Tensor, bias: Tensor | None, shape: Pair, geometry: Geometry
) -> Tensor:
    """The convolution into a map of this shape, output by output: `output_sums` of the kernels."""
    out = source.new_empty(shape)
    pixels = 256
    _launch(
        "output_sums",
        (shape[1] * ceil(_pixels(shape), pixels),),
        (
            *(source.contiguous(), weight.contiguous(), index.contiguous(), starts, bias, out),
            *(shape[1], *_sizes(source.shape, shape)),
        ),
        dict(**geometry, PIXELS=pixels),
    )
    return out


def _block_weight_products(gradient: Tensor, x: Tensor, shape: Pair, index: Tensor, geometry: Geometry) -> Tensor:
    """The weight gradient, (shares, kh, kw, C_out, k)."""
    block, (rows, fan_in) = _block(shape, index), index.shape
    outputs, inputs, pixels = side(block, 64), side(fan_in, 64), 64
    tiles = shape[2] * shape[3] * rows * ceil(block, outputs) * ceil(fan_in, inputs)
    share, count = shares(_pixels(gradient.shape), pixels, tiles, _PROGRAMS)
    partial = gradient.new_empty(count, *shape[2:], *shape[:2], dtype=torch.float32)
    _launch(
        "block_weight_products",
        (tiles, count),
        (
            *(x.contiguous(), gradient.contiguous(), index.contiguous(), partial),
            *(fan_in, block, rows, share, *_sizes(x.shape, gradient.shape)),
        ),
        dict(**geometry, OUTPUTS=outputs, INPUTS=inputs, PIXELS=pixels, **multiplied(outputs)),
    )
    return partial


def _link_weight_sums(gradient: Tensor, x: Tensor, shape: Pair, index: Tensor, geometry: Geometry) -> Tensor:
    """The weight gradient, (shares, C_out, k, kh, kw); index (C_out, k)."""
    pixels = 128
    share, count = shares(_pixels(gradient.shape), pixels, index.numel(), _PROGRAMS)
    partial = gradient.new_empty(count, *shape, dtype=torch.float32)
    _launch(
        "link_weight_sums",
        (index.numel(), count),
        (
            *(x.contiguous(), gradient.contiguous(), index.contiguous(), partial),
            *(shape[1], shape[0], share, *_sizes(x.shape, gradient.shape)),
        ),
        dict(**geometry, TAPS=power_of_two(shape[2] * shape[3]), PIXELS=pixels),
    )
    return partial


def _launch(kernel: str, grid: tuple[int, ...], arguments: tuple[Any, ...], constants: dict[str, Any]) -> None:
    from skipweave.ops.triton import channel_sparse_kernels

    launch(getattr(channel_sparse_kernels, kernel), grid, arguments, constants)


def _geometry(
    kernel: Pair, step: Pair = (1, 1), padding: Pair = (0, 0), dilation: Pair = (1, 1), spread: Pair = (1, 1)
) -> Geometry:
    """The kernels' constants of these names."""
    named = dict(KERNEL=kernel, STEP=step, PADDING=padding, DILATION=dilation, SPREAD=spread)
    return {name: (pair[0], pair[1]) for name, pair in named.items()}


def _sizes(source: Pair, out: Pair) -> tuple[int, ...]:
    """Pixels of the output, channels and plane of the map that is read, plane of the output."""
    return _pixels(out), *source[1:], *out[2:]


def _pixels(shape: Pair) -> int:
    return shape[0] * shape[2] * shape[3]


def _block(weight_shape: Pair, index: Tensor) -> int:
    return weight_shape[0] // index.shape[0]


def _by_output(index: Tensor, weight_shape: Pair) -> Tensor:
    """The index with a row for every output."""
    return index if index.shape[0] == weight_shape[0] else index.repeat_interleave(_block(weight_shape, index), dim=0)


def _readers(index: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The links, as places in the index, by the channel that they read, and where each channel's begin."""
    read, links = index.flatten().sort(stable=True)
    bounds = torch.arange(channels + 1, dtype=read.dtype, device=read.device)
    return links, torch.searchsorted(read, bounds)
