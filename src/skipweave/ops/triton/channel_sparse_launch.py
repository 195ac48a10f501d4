"""The channel-sparse convolution by Triton kernels, as a differentiable function."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from skipweave.ops.channel_sparse_operator import differentiable
from skipweave.ops.cpu.channel_sparse_calls import empty_or_invalid, expect_gradient, output_shape
from skipweave.ops.triton.launch import ceil, chunks, launch, multiplied, power_of_two, side

Pair = Sequence[int]
Geometry = dict[str, tuple[int, int]]

#: Minimum number of outputs per block for matrix products, the smallest side of tensor-core tiles.
MIN_BLOCK = 16
_PROGRAMS = 1024  # target number of programs of a weight gradient
_MAX_INDEX = 2**31 - 2**10  # of pixels and weights in the kernels


def channel_sparse_triton(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse_dense` by Triton kernels, for float32, bfloat16 or float16 on a GPU; same arguments.

    Blocks of at least 16 outputs are matrix products, in TF32 if `torch.backends.cudnn` allows it for convolutions;
    smaller blocks are sums in float32. The input gradient of blocks needs memory for rows * k maps. Inputs that are not
    contiguous, such as channels-last maps, are copied; the result is contiguous. Under autocast, autocast's data type
    is used. The index is not checked, which would synchronize with the GPU.
    """
    if torch.is_autocast_enabled("cuda"):
        dtype = torch.get_autocast_dtype("cuda")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return _convolve(x, weight, index, bias, stride, padding, dilation)


def unsupported(x: Pair, weight: Pair, index: Pair, stride: Pair, padding: Pair, dilation: Pair) -> str:
    """Reason why the kernels do not support tensors of these shapes; empty if they do."""
    if problem := empty_or_invalid(x, weight, index, stride, padding, dilation):
        return problem
    padded = [size + 2 * zeros for size, zeros in zip(x[2:], padding, strict=True)]
    largest = max(x[0] * prod(padded) * prod(stride), prod(weight))
    return "" if largest < _MAX_INDEX else "there are too many pixels or weights for 32-bit indices"


def _forward(
    x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    shape = output_shape(x, weight, stride, padding, dilation)
    geometry = _geometry(weight.shape[2:], stride, padding, dilation)
    bias = None if bias is None else bias.contiguous()
    if _block(weight.shape, index) >= MIN_BLOCK:
        return _block_products(x, weight, index, bias, shape, geometry)
    links = _by_output(index, weight.shape)
    starts = torch.arange(0, links.numel() + 1, links.shape[1], device=x.device)
    return _output_sums(x, weight.flatten(0, 1), links, starts, bias, shape, geometry)


def _input_gradient(
    gradient: Tensor, shape: Pair, weight: Tensor, index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """A convolution of the output gradient, with inputs and outputs exchanged.

    For blocks it has two steps: the gradient of each map that a block reads, then the sum of these per input. No two
    programs write to the same address, so the result is deterministic.
    """
    expect_gradient(gradient.shape, shape, weight.shape, stride, padding, dilation)
    backwards = [-zeros for zeros in padding], [-apart for apart in dilation]
    geometry = _geometry(weight.shape[2:], (1, 1), *backwards, spread=stride)
    block, (rows, fan_in) = _block(weight.shape, index), index.shape
    if block < MIN_BLOCK:
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
    """Partial sums over chunks of the pixels, then their total."""
    expect_gradient(gradient.shape, x.shape, shape, stride, padding, dilation)
    geometry = _geometry(shape[2:], stride, padding, dilation)
    if _block(shape, index) >= MIN_BLOCK:
        partial = _block_weight_products(gradient, x, shape, index, geometry)
        return partial.sum(0).permute(2, 3, 0, 1).to(gradient.dtype, memory_format=torch.contiguous_format)
    return _link_weight_sums(gradient, x, shape, _by_output(index, shape), geometry).sum(0).to(gradient.dtype)


_convolve = differentiable("skipweave::channel_sparse_triton", _forward, _input_gradient, _weight_gradient)


def _block_products(
    source: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, shape: Pair, geometry: Geometry
) -> Tensor:
    """Convolve into a map of this shape by matrix products; weight (C_out, k, kh, kw), index (rows, k)."""
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
    """Convolve into a map of this shape, each output separately (kernel `output_sums`)."""
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
    """Partial weight gradients, (chunks, kh, kw, C_out, k)."""
    block, (rows, fan_in) = _block(shape, index), index.shape
    outputs, inputs, pixels = side(block, 64), side(fan_in, 64), 64
    tiles = shape[2] * shape[3] * rows * ceil(block, outputs) * ceil(fan_in, inputs)
    chunk, count = chunks(_pixels(gradient.shape), pixels, tiles, _PROGRAMS)
    partial = gradient.new_empty(count, *shape[2:], *shape[:2], dtype=torch.float32)
    _launch(
        "block_weight_products",
        (tiles, count),
        (
            *(x.contiguous(), gradient.contiguous(), index.contiguous(), partial),
            *(fan_in, block, rows, chunk, *_sizes(x.shape, gradient.shape)),
        ),
        dict(**geometry, OUTPUTS=outputs, INPUTS=inputs, PIXELS=pixels, **multiplied(outputs)),
    )
    return partial


def _link_weight_sums(gradient: Tensor, x: Tensor, shape: Pair, index: Tensor, geometry: Geometry) -> Tensor:
    """Partial weight gradients, (chunks, C_out, k, kh, kw); index (C_out, k)."""
    pixels = 128
    chunk, count = chunks(_pixels(gradient.shape), pixels, index.numel(), _PROGRAMS)
    partial = gradient.new_empty(count, *shape, dtype=torch.float32)
    _launch(
        "link_weight_sums",
        (index.numel(), count),
        (
            *(x.contiguous(), gradient.contiguous(), index.contiguous(), partial),
            *(shape[1], shape[0], chunk, *_sizes(x.shape, gradient.shape)),
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
    """The constants that describe a convolution to the kernels."""
    named = dict(KERNEL=kernel, STEP=step, PADDING=padding, DILATION=dilation, SPREAD=spread)
    return {name: (pair[0], pair[1]) for name, pair in named.items()}


def _sizes(source: Pair, out: Pair) -> tuple[int, ...]:
    """Number of output pixels, channels and size of the input, size of the output."""
    return _pixels(out), *source[1:], *out[2:]


def _pixels(shape: Pair) -> int:
    return shape[0] * shape[2] * shape[3]


def _block(weight_shape: Pair, index: Tensor) -> int:
    return weight_shape[0] // index.shape[0]


def _by_output(index: Tensor, weight_shape: Pair) -> Tensor:
    """The index with one row per output."""
    return index if index.shape[0] == weight_shape[0] else index.repeat_interleave(_block(weight_shape, index), dim=0)


def _readers(index: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The links (positions in the index) sorted by the channel that they read, and the first link of each channel."""
    read, links = index.flatten().sort(stable=True)
    bounds = torch.arange(channels + 1, dtype=read.dtype, device=read.device)
    return links, torch.searchsorted(read, bounds)
