"""Triton kernels of the channel-sparse convolution: matrix products for blocks of outputs, sums for single outputs.

All maps (N, C, H, W) are contiguous. The pixels of a batch are numbered image by image and row by row; a program
processes a tile of them. Inputs are gathered tap by tap (implicit im2col). Accumulation is in float32.

A convolution and its input gradient chunk_size one geometry: at output row h, tap t reads the input row
h * STEP + t * DILATION - PADDING, where the input has SPREAD - 1 rows of zeros inserted between its rows; likewise for
columns. A convolution has SPREAD 1; its input gradient has STEP 1, the stride as SPREAD, and negated padding and
dilation.

Imports triton, so it is imported only where a kernel is called.
"""

import triton
import triton.language as tl

# Arguments on which kernels are not specialized: no recompilation for other sizes.
SIZES = ["rows", "outputs", "chunk_size", "pixels", "channels", "height", "width", "out_height", "out_width"]


@triton.jit
def _place(
    pixel,
    tap,
    height,
    width,
    out_height,
    out_width,
    KERNEL: tl.constexpr,
    STEP: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    SPREAD: tl.constexpr,
):
    """Offset in a channel's plane of the input pixel under a tap, and whether the pixel exists."""
    row = pixel // out_width % out_height * STEP[0] + tap // KERNEL[1] * DILATION[0] - PADDING[0]
    column = pixel % out_width * STEP[1] + tap % KERNEL[1] * DILATION[1] - PADDING[1]
    met = (row >= 0) & (row < height * SPREAD[0]) & (column >= 0) & (column < width * SPREAD[1])
    if SPREAD[0] > 1:
        met = met & (row % SPREAD[0] == 0)
        row = row // SPREAD[0]
    if SPREAD[1] > 1:
        met = met & (column % SPREAD[1] == 0)
        column = column // SPREAD[1]
    return row * width + column, met


@triton.jit
def _image(pixel, channels, height, width, out_height, out_width):
    """Offset of a pixel's image in a map, in 64 bits: a batch may have more than 2^31 elements."""
    return (pixel // (out_height * out_width)).to(tl.int64) * channels * height * width


@triton.jit(do_not_specialize=SIZES)
def block_products(
    source,
    weight,
    index,
    bias,
    out,
    fan_in,
    block,
    rows,
    pixels,
    channels,
    height,
    width,
    out_height,
    out_width,
    KERNEL: tl.constexpr,
    STEP: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    SPREAD: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    PIXELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Convolve for a tile of one block's outputs and a tile of pixels; weight (taps, rows * block, fan_in).

    Blocks are the fastest index, so that concurrent programs read the same pixels.
    """
    tiles = tl.cdiv(block, OUTPUTS)
    program = tl.program_id(0)
    row = program % (rows * tiles) // tiles
    within = program % tiles * OUTPUTS + tl.arange(0, OUTPUTS)
    output = row * block + within
    pixel = program // (rows * tiles) * PIXELS + tl.arange(0, PIXELS)
    image = _image(pixel, channels, height, width, out_height, out_width)
    chunks = tl.cdiv(fan_in, INPUTS)
    sums = tl.zeros((OUTPUTS, PIXELS), tl.float32)
    for step in range(KERNEL[0] * KERNEL[1] * chunks):
        tap = step // chunks
        place, met = _place(pixel, tap, height, width, out_height, out_width, KERNEL, STEP, PADDING, DILATION, SPREAD)
        met = met & (pixel < pixels)
        read = step % chunks * INPUTS + tl.arange(0, INPUTS)
        channel = tl.load(index + row * fan_in + read, mask=read < fan_in, other=0).to(tl.int64)
        gathered = tl.load(
            source + (channel * height * width)[:, None] + (image + place)[None, :],
            mask=(read < fan_in)[:, None] & met[None, :],
            other=0.0,
        )
        weights = tl.load(
            weight + (tap * rows * block + output)[:, None] * fan_in + read[None, :],
            mask=(within < block)[:, None] & (read < fan_in)[None, :],
            other=0.0,
        )
        sums = tl.dot(weights, gathered, sums, input_precision=PRECISION)
    if bias is not None:
        sums += tl.load(bias + output, mask=within < block, other=0.0).to(tl.float32)[:, None]
    plane = out_height * out_width
    begin = _image(pixel, rows * block, out_height, out_width, out_height, out_width) + pixel % plane
    tl.store(
        out + output.to(tl.int64)[:, None] * plane + begin[None, :],
        sums,
        mask=(within < block)[:, None] & (pixel < pixels)[None, :],
    )


@triton.jit(do_not_specialize=SIZES)
def output_sums(
    source,
    weight,
    index,
    starts,
    bias,
    out,
    outputs,
    pixels,
    channels,
    height,
    width,
    out_height,
    out_width,
    KERNEL: tl.constexpr,
    STEP: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    SPREAD: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Convolve for one output and a tile of pixels.

    The links of an output are starts[output] to starts[output + 1]; weight (links, taps), index (links,).
    """
    program = tl.program_id(0)
    output = program % outputs
    pixel = program // outputs * PIXELS + tl.arange(0, PIXELS)
    image = _image(pixel, channels, height, width, out_height, out_width)
    sums = tl.zeros((PIXELS,), tl.float32)
    for link in range(tl.load(starts + output), tl.load(starts + output + 1)):
        channel = tl.load(index + link).to(tl.int64)
        for tap in tl.static_range(KERNEL[0] * KERNEL[1]):
            place, met = _place(
                pixel, tap, height, width, out_height, out_width, KERNEL, STEP, PADDING, DILATION, SPREAD
            )
            met = met & (pixel < pixels)
            gathered = tl.load(source + channel * height * width + image + place, mask=met, other=0.0)
            sums += gathered.to(tl.float32) * tl.load(weight + link * (KERNEL[0] * KERNEL[1]) + tap).to(tl.float32)
    if bias is not None:
        sums += tl.load(bias + output).to(tl.float32)
    plane = out_height * out_width
    begin = _image(pixel, outputs, out_height, out_width, out_height, out_width) + pixel % plane
    tl.store(out + output.to(tl.int64) * plane + begin, sums, mask=pixel < pixels)


@triton.jit(do_not_specialize=SIZES)
def block_weight_products(
    source,
    gradient,
    index,
    partial,
    fan_in,
    block,
    rows,
    chunk_size,
    pixels,
    channels,
    height,
    width,
    out_height,
    out_width,
    KERNEL: tl.constexpr,
    STEP: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    SPREAD: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    PIXELS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Weight gradient of a tile of one block's outputs and inputs at one tap, over a chunk of the pixels.

    Written to partial (chunks, taps, rows * block, fan_in).
    """
    output_tiles, chunks = tl.cdiv(block, OUTPUTS), tl.cdiv(fan_in, INPUTS)
    program = tl.program_id(0)
    within = program % output_tiles * OUTPUTS + tl.arange(0, OUTPUTS)
    read = program // output_tiles % chunks * INPUTS + tl.arange(0, INPUTS)
    row = program // (output_tiles * chunks) % rows
    tap = program // (output_tiles * chunks * rows)
    output = row * block + within
    channel = tl.load(index + row * fan_in + read, mask=read < fan_in, other=0).to(tl.int64)
    plane = out_height * out_width
    sums = tl.zeros((OUTPUTS, INPUTS), tl.float32)
    first = tl.program_id(1) * chunk_size
    for start in range(first, tl.minimum(first + chunk_size, pixels), PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        there = pixel < pixels
        begin = _image(pixel, rows * block, out_height, out_width, out_height, out_width) + pixel % plane
        upstream = tl.load(
            gradient + output.to(tl.int64)[:, None] * plane + begin[None, :],
            mask=(within < block)[:, None] & there[None, :],
            other=0.0,
        )
        place, met = _place(pixel, tap, height, width, out_height, out_width, KERNEL, STEP, PADDING, DILATION, SPREAD)
        image = _image(pixel, channels, height, width, out_height, out_width)
        gathered = tl.load(
            source + (channel * height * width)[:, None] + (image + place)[None, :],
            mask=(read < fan_in)[:, None] & (there & met)[None, :],
            other=0.0,
        )
        sums = tl.dot(upstream, tl.trans(gathered), sums, input_precision=PRECISION)
    taps = KERNEL[0] * KERNEL[1]
    line = ((tl.program_id(1) * taps + tap).to(tl.int64) * rows * block + output) * fan_in
    mask = (within < block)[:, None] & (read < fan_in)[None, :]
    tl.store(partial + line[:, None] + read[None, :], sums, mask=mask)


@triton.jit(do_not_specialize=SIZES)
def link_weight_sums(
    source,
    gradient,
    index,
    partial,
    fan_in,
    outputs,
    chunk_size,
    pixels,
    channels,
    height,
    width,
    out_height,
    out_width,
    KERNEL: tl.constexpr,
    STEP: tl.constexpr,
    PADDING: tl.constexpr,
    DILATION: tl.constexpr,
    SPREAD: tl.constexpr,
    TAPS: tl.constexpr,
    PIXELS: tl.constexpr,
):
    """Weight gradient of one link over a chunk of the pixels, written to partial (chunks, links, taps)."""
    link = tl.program_id(0)
    channel = tl.load(index + link).to(tl.int64)
    tap = tl.arange(0, TAPS)[:, None]
    plane = out_height * out_width
    sums = tl.zeros((TAPS, PIXELS), tl.float32)
    first = tl.program_id(1) * chunk_size
    for start in range(first, tl.minimum(first + chunk_size, pixels), PIXELS):
        pixel = start + tl.arange(0, PIXELS)[None, :]
        there = pixel < pixels
        begin = _image(pixel, outputs, out_height, out_width, out_height, out_width) + pixel % plane
        upstream = tl.load(gradient + (link // fan_in).to(tl.int64) * plane + begin, mask=there, other=0.0)
        place, met = _place(pixel, tap, height, width, out_height, out_width, KERNEL, STEP, PADDING, DILATION, SPREAD)
        met = met & there & (tap < KERNEL[0] * KERNEL[1])
        image = _image(pixel, channels, height, width, out_height, out_width)
        gathered = tl.load(source + channel * height * width + (image + place), mask=met, other=0.0)
        sums += gathered.to(tl.float32) * upstream.to(tl.float32)
    taps = KERNEL[0] * KERNEL[1]
    line = (tl.program_id(1) * outputs * fan_in + link).to(tl.int64) * taps
    tap = tl.arange(0, TAPS)
    tl.store(partial + line + tap, tl.sum(sums, axis=1), mask=tap < taps)
