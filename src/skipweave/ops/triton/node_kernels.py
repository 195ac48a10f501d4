"""Common parts of the Triton kernels over nodes, which read tiles of a concatenation without materializing it.

Maps are channels-last, that is, matrices of pixels and channels. The pixels of a batch are numbered image by image and
row by row. A table (2, C) of 64-bit integers holds, for each channel of the concatenation, the address of its first
pixel and the stride from pixel to pixel in elements (`node_table.py`). Accumulation is in float32.

This module, `read_kernels.py` and `cross_layer_kernels.py` import triton, so they are imported only where a kernel is
called.
"""

import triton
import triton.language as tl


@triton.jit
def below(channel, channels, VECTOR: tl.constexpr):
    """Mask of existing channels. Their number, like all widths, is a multiple of VECTOR."""
    return tl.max_constancy(channel < channels, VECTOR)


@triton.jit
def places(table, sample, channel, exists, channels, pixel, VECTOR: tl.constexpr):
    """Addresses of a tile of pixels and channels, with the type of `sample`; VECTOR channels are adjacent in memory.

    The addresses of nonexistent channels, and of channels with address 0 in the table, are invalid.
    """
    first = tl.load(table + channel, mask=exists, other=0).to(sample.dtype)
    step = tl.load(table + channels + channel, mask=exists, other=0)
    found = first[None, :] + pixel.to(tl.int64)[:, None] * step[None, :]
    size: tl.constexpr = sample.dtype.element_ty.primitive_bitwidth // 8
    return tl.multiple_of(tl.max_contiguous(found, (1, VECTOR)), (1, VECTOR * size))


@triton.jit
def own_places(base, channel, channels, pixel, VECTOR: tl.constexpr):
    """Addresses of a tile of pixels and channels in a single map."""
    found = base + pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    size: tl.constexpr = base.dtype.element_ty.primitive_bitwidth // 8
    return tl.multiple_of(tl.max_contiguous(found, (1, VECTOR)), (1, VECTOR * size))


@triton.jit
def affine(x, scale, shift, channel, exists):
    """Apply scale and shift to a tile, in float32."""
    scales = tl.load(scale + channel, mask=exists, other=0.0).to(tl.float32)
    shifts = tl.load(shift + channel, mask=exists, other=0.0).to(tl.float32)
    return x.to(tl.float32) * scales[None, :] + shifts[None, :]


@triton.jit
def rectified(by, values):
    """`by` where `values` are positive or NaN, else 0: NaN propagates, as in torch."""
    return tl.where(values <= 0, 0.0, by)
