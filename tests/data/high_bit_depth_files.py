"""Image files of more than 8 bits per channel, built byte by byte: Pillow writes only gray ones."""

import struct
import zlib

import numpy as np


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, *more: bytes) -> bytes:
    """A PNG file of 16 bits: (H, W, 1 to 4) are gray, gray with alpha, RGB, RGB with alpha."""
    height, width, channels = pixels.shape
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    parts = [chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def ppm(pixels: np.ndarray, largest: int) -> bytes:
    """A binary PGM file of (H, W, 1), or a PPM file of (H, W, 3)."""
    height, width, channels = pixels.shape
    return f"P{ {1: 5, 3: 6}[channels] } {width} {height} {largest}\n".encode() + pixels.astype(">u2").tobytes()


def tiff(pixels: np.ndarray, order: str = "<", strips: int = 1, packing: int = 1, planar: int = 1) -> bytes:
    """An uncompressed TIFF file of (H, W, C) of any type, in either byte order, of several strips."""
    height, width, channels = pixels.shape
    bits, kind = pixels.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    rows = -(-height // strips)
    ordered = pixels.astype(pixels.dtype.newbyteorder(order))
    data = [ordered[top : top + rows].tobytes() for top in range(0, height, rows)]
    tags = [
        (256, 3, [width]),
        (257, 3, [height]),
        (258, 3, [bits] * channels),
        (259, 3, [packing]),
        (262, 3, [2 if channels > 2 else 1]),
        (273, 4, [0] * len(data)),
        (277, 3, [channels]),
        (278, 3, [rows]),
        (279, 4, [len(part) for part in data]),
        (284, 3, [planar]),
        (339, 3, [kind] * channels),
        *([(338, 3, [2])] if channels == 4 else []),
    ]
    tags.sort()
    start = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    first = start + sum(size for _, type_, values in tags if (size := len(values) * (2, 4)[type_ - 3]) > 4)
    entries = b""
    for tag, type_, values in tags:
        if tag == 273:
            values = [first + sum(map(len, data[:place])) for place in range(len(data))]
        packed = struct.pack(f"{order}{len(values)}{'HI'[type_ - 3]}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(f"{order}I", start + len(extra)), extra + packed
        entries += struct.pack(f"{order}HHI", tag, type_, len(values)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + extra + b"".join(data)
