"""What Triton's kernels over nodes have in common: how tiles of a concatenation are read that nobody made.

Maps are channels-last: a matrix of pixels and channels. Pixels of a batch are numbered image by image and row by row. A
table (2, C) of 64-bit numbers says for each channel of the concatenation where its first pixel lies in memory, and how
many elements further the next pixel does (`node_table.py`). Sums are of float32.

This module, `read_kernels.py` and `cross_kernels.py` import triton, and are imported only where a kernel is called.
"""

import triton
import triton.language as tl


@triton.jit
def below(channel, channels, VECTOR: tl.constexpr):
    """Which channels there are. As all widths, their number is a multiple of VECTOR."""
    return tl.max_constancy(channel < channels, VECTOR)


@triton.jit
def places(table, sample, channel, there, channels, pixel, VECTOR: tl.constexpr):
    """Addresses of a tile of pixels and channels, of `sample`'s type; VECTOR channels are neighbors in memory.

    Channels that are not there, and those of address 0, have addresses that must not be used.
    """
    first = tl.load(table + channel, mask=there, other=0).to(sample.dtype)
    step = tl.load(table + channels + channel, mask=there, other=0)
    found = first[None, :] + pixel.to(tl.int64)[:, None] * step[None, :]
    size: tl.constexpr = sample.dtype.element_ty.primitive_bitwidth // 8
    return tl.multiple_of(tl.max_contiguous(found, (1, VECTOR)), (1, VECTOR * size))


@triton.jit
def own_places(base, channel, channels, pixel, VECTOR: tl.constexpr):
    """Addresses of a tile of pixels and channels in one map of its own."""
    found = base + pixel.to(tl.int64)[:, None] * channels + channel[None, :]
    size: tl.constexpr = base.dtype.element_ty.primitive_bitwidth // 8
    return tl.multiple_of(tl.max_contiguous(found, (1, VECTOR)), (1, VECTOR * size))


@triton.jit
def affine(x, gain, bias, channel, there):
    """Apply a tile's gains and biases, in float32."""
    gains = tl.load(gain + channel, mask=there, other=0.0).to(tl.float32)
    biases = tl.load(bias + channel, mask=there, other=0.0).to(tl.float32)
    return x.to(tl.float32) * gains[None, :] + biases[None, :]


@triton.jit
def rectified(by, values):
    """Where `values` are positive or no numbers, `by`; else 0. As in torch, what is no number stays visible."""
    return tl.where(values <= 0, 0.0, by)
