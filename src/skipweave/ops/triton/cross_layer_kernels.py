"""Triton kernels of the cross-layer convolution: one pass over all nodes.

`node_kernels.py` describes the memory layout. The table of the nodes is that of their concatenation: channel c of node
s is channel s * channels + c.
"""

import triton
import triton.language as tl

from skipweave.ops.triton.node_kernels import below, own_places, places

# Arguments on which kernels are not specialized: no recompilation for other sizes.
SIZES = ["nodes", "channels", "pixels"]


@triton.jit(do_not_specialize=SIZES)
def cross_sum(
    table,
    sample,
    weight,
    bias,
    out,
    nodes,
    channels,
    pixels,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Write a tile of the sum; weight (nodes, channels)."""
    tiles = tl.cdiv(channels, CHANNELS)
    channel = tl.program_id(0) % tiles * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) // tiles * PIXELS + tl.arange(0, PIXELS)
    exists = below(channel, channels, VECTOR)
    mask = (pixel < pixels)[:, None] & exists[None, :]
    sums = tl.zeros((PIXELS, CHANNELS), tl.float32)
    sums += tl.load(bias + channel, mask=exists, other=0.0).to(tl.float32)[None, :]
    for node in range(nodes):
        place = node * channels + channel
        x = tl.load(places(table, sample, place, exists, nodes * channels, pixel, VECTOR), mask=mask, other=0.0)
        sums += x.to(tl.float32) * tl.load(weight + place, mask=exists, other=0.0).to(tl.float32)[None, :]
    tl.store(own_places(out, channel, channels, pixel, VECTOR), sums, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def cross_gradients(
    table,
    targets,
    sample,
    weight,
    grad_output,
    partial,
    nodes,
    channels,
    pixels,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Write the gradients of a tile of each node, and those of weight and bias over its pixels.

    The latter are written to partial (tiles, nodes + 1, channels), the bias last. `targets` is a table like that of the
    nodes, with address 0 for gradients that are not needed.
    """
    tiles = tl.cdiv(channels, CHANNELS)
    tile = tl.program_id(0) // tiles
    channel = tl.program_id(0) % tiles * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    exists = below(channel, channels, VECTOR)
    mask = (pixel < pixels)[:, None] & exists[None, :]
    upstream = tl.load(own_places(grad_output, channel, channels, pixel, VECTOR), mask=mask, other=0.0).to(tl.float32)
    line = partial + tile.to(tl.int64) * (nodes + 1) * channels
    for node in range(nodes):
        place = node * channels + channel
        x = tl.load(places(table, sample, place, exists, nodes * channels, pixel, VECTOR), mask=mask, other=0.0)
        tl.store(line + place, tl.sum(upstream * x.to(tl.float32), axis=0), mask=exists)
        weights = tl.load(weight + place, mask=exists, other=0.0).to(tl.float32)
        wanted = tl.max_constancy(tl.load(targets + place, mask=exists, other=0) != 0, VECTOR)
        tl.store(
            places(targets, sample, place, exists, nodes * channels, pixel, VECTOR),
            upstream * weights[None, :],
            mask=mask & wanted[None, :],
        )
    tl.store(line + nodes * channels + channel, tl.sum(upstream, axis=0), mask=exists)
