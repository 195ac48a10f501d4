"""Triton's kernels of reading: nodes, gains, biases and ReLU into a map, or at once into a 1x1 convolution.

Neither the concatenation nor, for a convolution, the activated map is ever written. `node_kernels.py` says how maps lie
in memory.
"""

import triton
import triton.language as tl

from skipweave.ops.triton.node_kernels import affine, below, own_places, places, rectified

# A kernel is not compiled anew for other sizes of maps.
SIZES = ["outputs", "channels", "pixels", "share"]


@triton.jit(do_not_specialize=SIZES)
def read(
    table,
    sample,
    gain,
    bias,
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
    there = below(channel, channels, VECTOR)
    mask = (pixel < pixels)[:, None] & there[None, :]
    x = tl.load(places(table, sample, channel, there, channels, pixel, VECTOR), mask=mask, other=0.0)
    values = affine(x, gain, bias, channel, there)
    tl.store(own_places(out, channel, channels, pixel, VECTOR), rectified(values, values), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def read_product(
    table,
    sample,
    gain,
    bias,
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

    Tiles of outputs are numbered fastest: programs that run at once read the same pixels.
    """
    tiles = tl.cdiv(outputs, OUTPUTS)
    output = tl.program_id(0) % tiles * OUTPUTS + tl.arange(0, OUTPUTS)
    made = below(output, outputs, OUTPUT_VECTOR)
    pixel = tl.program_id(0) // tiles * PIXELS + tl.arange(0, PIXELS)
    sums = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        there = below(channel, channels, VECTOR)
        mask = (pixel < pixels)[:, None] & there[None, :]
        x = tl.load(places(table, sample, channel, there, channels, pixel, VECTOR), mask=mask, other=0.0)
        values = affine(x, gain, bias, channel, there)
        weights = tl.load(
            own_places(weight, channel, channels, output, VECTOR),
            mask=made[:, None] & there[None, :],
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
    gain,
    bias,
    weight,
    gradient,
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
    """Write the gradients of a tile of nodes, and those of gains and biases over its pixels.

    The latter into partial (tiles, 2, channels). `gradient` is that of the activated map or, with a weight (outputs,
    channels), that of the convolution's result. `targets` is a table as that of the nodes, with the address 0 for
    gradients that nobody wants. Tiles of channels are numbered fastest: programs that run at once read the same
    gradient.
    """
    tiles = tl.cdiv(channels, CHANNELS)
    tile = tl.program_id(0) // tiles
    channel = tl.program_id(0) % tiles * CHANNELS + tl.arange(0, CHANNELS)
    pixel = tile * PIXELS + tl.arange(0, PIXELS)
    there = below(channel, channels, VECTOR)
    mask = (pixel < pixels)[:, None] & there[None, :]
    if weight is None:
        by_map = tl.load(own_places(gradient, channel, channels, pixel, VECTOR), mask=mask, other=0.0).to(tl.float32)
    else:
        by_map = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for start in range(0, outputs, OUTPUTS):
            output = start + tl.arange(0, OUTPUTS)
            made = below(output, outputs, OUTPUT_VECTOR)
            upstream = tl.load(
                own_places(gradient, output, outputs, pixel, OUTPUT_VECTOR),
                mask=(pixel < pixels)[:, None] & made[None, :],
                other=0.0,
            )
            weights = tl.load(
                own_places(weight, channel, channels, output, VECTOR),
                mask=made[:, None] & there[None, :],
                other=0.0,
            )
            by_map = tl.dot(upstream, weights, by_map, input_precision=PRECISION)
    x = tl.load(places(table, sample, channel, there, channels, pixel, VECTOR), mask=mask, other=0.0).to(tl.float32)
    by_affine = rectified(by_map, affine(x, gain, bias, channel, there))
    line = partial + tile.to(tl.int64) * 2 * channels + channel
    tl.store(line, tl.sum(by_affine * x, axis=0), mask=there)
    tl.store(line + channels, tl.sum(by_affine, axis=0), mask=there)
    gains = tl.load(gain + channel, mask=there, other=0.0).to(tl.float32)
    wanted = tl.max_constancy(tl.load(targets + channel, mask=there, other=0) != 0, VECTOR)
    tl.store(
        places(targets, sample, channel, there, channels, pixel, VECTOR),
        by_affine * gains[None, :],
        mask=mask & wanted[None, :],
    )


@triton.jit(do_not_specialize=SIZES)
def weight_products(
    table,
    sample,
    gain,
    bias,
    gradient,
    partial,
    outputs,
    channels,
    share,
    pixels,
    PIXELS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    VECTOR: tl.constexpr,
    OUTPUT_VECTOR: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Weight gradient of a tile of outputs and channels over a share of the pixels.

    Into partial (shares, outputs, channels).
    """
    tiles = tl.cdiv(outputs, OUTPUTS)
    output = tl.program_id(0) % tiles * OUTPUTS + tl.arange(0, OUTPUTS)
    made = below(output, outputs, OUTPUT_VECTOR)
    channel = tl.program_id(0) // tiles * CHANNELS + tl.arange(0, CHANNELS)
    there = below(channel, channels, VECTOR)
    sums = tl.zeros((OUTPUTS, CHANNELS), tl.float32)
    first = tl.program_id(1) * share
    for start in range(first, tl.minimum(first + share, pixels), PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        upstream = tl.load(
            own_places(gradient, output, outputs, pixel, OUTPUT_VECTOR),
            mask=(pixel < pixels)[:, None] & made[None, :],
            other=0.0,
        )
        mask = (pixel < pixels)[:, None] & there[None, :]
        x = tl.load(places(table, sample, channel, there, channels, pixel, VECTOR), mask=mask, other=0.0)
        values = affine(x, gain, bias, channel, there)
        activated = rectified(values, values).to(upstream.dtype)
        sums = tl.dot(tl.trans(upstream), activated, sums, input_precision=PRECISION)
    line = (tl.program_id(1) * outputs + output).to(tl.int64)
    tl.store(
        own_places(partial, channel, channels, line, VECTOR),
        sums,
        mask=made[:, None] & there[None, :],
    )
