"""Triton kernels of reading: scale, shift and ReLU of concatenated nodes, optionally fused with a 1x1 convolution.

The concatenation and, with a convolution, the activated map are never written to memory. `node_kernels.py` describes
the memory layout.
"""

import triton
import triton.language as tl

from skipweave.ops.triton.node_kernels import affine, below, own_places, places, rectified

# Arguments on which kernels are not specialized: no recompilation for other sizes.
SIZES = ["outputs", "channels", "pixels", "chunk_size"]


@triton.jit(do_not_specialize=SIZES)
def read(
    table,
    sample,
    scale,
    shift,
    out,
    channels,
    pixels,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Write a tile of the activated map."""
    tiles = tl.cdiv(channels, CHANNELS)
    channel = tl.program_id(0) % tiles * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tl.program_id(0) // tiles * PIXELS + tl.arange(0, PIXELS)
    exists = below(channel, channels, VECTOR)
    mask = (pixel < pixels)[:, None] & exists[None, :]
    x = tl.load(places(table, sample, channel, exists, channels, pixel, VECTOR), mask=mask, other=0.0)
    values = affine(x, scale, shift, channel, exists)
    tl.store(own_places(out, channel, channels, pixel, VECTOR), rectified(values, values), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def read_product(
    table,
    sample,
    scale,
    shift,
    weight,
    conv_bias,
    out,
    outputs,
    channels,
    pixels,
    PIXELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VECTOR: tl.constexpr,
    OUTPUT_VECTOR: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Convolve a tile of pixels into a tile of outputs; weight (outputs, channels).

    Tiles of outputs are the fastest index, so that concurrent programs read the same pixels.
    """
    tiles = tl.cdiv(outputs, OUTPUTS)
    output = tl.program_id(0) % tiles * OUTPUTS + tl.arange(0, OUTPUTS)
    made = below(output, outputs, OUTPUT_VECTOR)
    pixel = tl.program_id(0) // tiles * PIXELS + tl.arange(0, PIXELS)
    sums = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        exists = below(channel, channels, VECTOR)
        mask = (pixel < pixels)[:, None] & exists[None, :]
        x = tl.load(places(table, sample, channel, exists, channels, pixel, VECTOR), mask=mask, other=0.0)
        values = affine(x, scale, shift, channel, exists)
        weights = tl.load(
            own_places(weight, channel, channels, output, VECTOR),
            mask=made[:, None] & exists[None, :],
            other=0.0,
        )
        activated = rectified(values, values).to(weights.dtype)
        sums = tl.dot(activated, tl.trans(weights), sums, input_precision=PRECISION)
    if conv_bias is not None:
        sums += tl.load(conv_bias + output, mask=made, other=0.0).to(tl.float32)[None, :]
    mask = (pixel < pixels)[:, None] & made[None, :]
    tl.store(own_places(out, output, outputs, pixel, OUTPUT_VECTOR), sums, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def source_gradients(
    table,
    targets,
    sample,
    scale,
    shift,
    weight,
    grad_output,
    partial,
    outputs,
    channels,
    pixels,
    PIXELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VECTOR: tl.constexpr,
    OUTPUT_VECTOR: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write the gradients of a tile of nodes, and those of scale and shift over its pixels.

    The latter are written to partial (tiles, 2, channels). `grad_output` is the gradient of the activated map or, with
    a weight (outputs, channels), of the convolution's result. `targets` is a table like that of the nodes, with address
    0 for gradients that are not needed. Tiles of channels are the fastest index, so that concurrent programs read the
    same gradients.
    """
    tiles = tl.cdiv(channels, CHANNELS)
    tile = tl.program_id(0) // tiles
    channel = tl.program_id(0) % tiles * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    exists = below(channel, channels, VECTOR)
    mask = (pixel < pixels)[:, None] & exists[None, :]
    if weight is None:
        grad_map = tl.load(own_places(grad_output, channel, channels, pixel, VECTOR), mask=mask, other=0.0).to(
            tl.float32
        )
    else:
        grad_map = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for start in range(0, outputs, OUTPUTS):
            output = start + tl.arange(0, OUTPUTS)
            made = below(output, outputs, OUTPUT_VECTOR)
            upstream = tl.load(
                own_places(grad_output, output, outputs, pixel, OUTPUT_VECTOR),
                mask=(pixel < pixels)[:, None] & made[None, :],
                other=0.0,
            )
            weights = tl.load(
                own_places(weight, channel, channels, output, VECTOR),
                mask=made[:, None] & exists[None, :],
                other=0.0,
            )
            grad_map = tl.dot(upstream, weights, grad_map, input_precision=PRECISION)
    x = tl.load(places(table, sample, channel, exists, channels, pixel, VECTOR), mask=mask, other=0.0).to(tl.float32)
    grad_affine = rectified(grad_map, affine(x, scale, shift, channel, exists))
    line = partial + tile.to(tl.int64) * 2 * channels + channel
    tl.store(line, tl.sum(grad_affine * x, axis=0), mask=exists)
    tl.store(line + channels, tl.sum(grad_affine, axis=0), mask=exists)
    scales = tl.load(scale + channel, mask=exists, other=0.0).to(tl.float32)
    wanted = tl.max_constancy(tl.load(targets + channel, mask=exists, other=0) != 0, VECTOR)
    tl.store(
        places(targets, sample, channel, exists, channels, pixel, VECTOR),
        grad_affine * scales[None, :],
        mask=mask & wanted[None, :],
    )


@triton.jit(do_not_specialize=SIZES)
def weight_products(
    table,
    sample,
    scale,
    shift,
    grad_output,
    partial,
    outputs,
    channels,
    chunk_size,
    pixels,
    PIXELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VECTOR: tl.constexpr,
    OUTPUT_VECTOR: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Weight grad_output of a tile of outputs and channels over a chunk_size of the pixels.

    Into partial (chunks, outputs, channels).
    """
    tiles = tl.cdiv(outputs, OUTPUTS)
    output = tl.program_id(0) % tiles * OUTPUTS + tl.arange(0, OUTPUTS)
    made = below(output, outputs, OUTPUT_VECTOR)
    channel = tl.program_id(0) // tiles * CHANNELS + tl.arange(0, CHANNELS)
    exists = below(channel, channels, VECTOR)
    sums = tl.zeros((OUTPUTS, CHANNELS), tl.float32)
    first = tl.program_id(1) * chunk_size
    for start in range(first, tl.minimum(first + chunk_size, pixels), PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        upstream = tl.load(
            own_places(grad_output, output, outputs, pixel, OUTPUT_VECTOR),
            mask=(pixel < pixels)[:, None] & made[None, :],
            other=0.0,
        )
        mask = (pixel < pixels)[:, None] & exists[None, :]
        x = tl.load(places(table, sample, channel, exists, channels, pixel, VECTOR), mask=mask, other=0.0)
        values = affine(x, scale, shift, channel, exists)
        activated = rectified(values, values).to(upstream.dtype)
        sums = tl.dot(tl.trans(upstream), activated, sums, input_precision=PRECISION)
    line = (tl.program_id(1) * outputs + output).to(tl.int64)
    tl.store(
        own_places(partial, channel, channels, line, VECTOR),
        sums,
        mask=made[:, None] & exists[None, :],
    )
