"""Completeness of PNG data: Pillow leaves missing rows black where checksums are valid."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_WHOLE = ((0, 0, 1, 1),)
# First column and row, and steps between columns and rows, of each pass of an interlaced file (Adam7).
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20


def has_all_rows(path: str | Path) -> bool:
    """Whether the data of a PNG file decompresses to as many bytes as its size requires."""
    with open(path, "rb") as file:
        file.seek(16)  # within the first chunk, the image header
        width, height, depth, colors, _, _, interlaced = struct.unpack(">IIBBBBB", file.read(13))
        bits = depth * _CHANNELS[colors]
        missing = sum(
            _rows(height, y, dy) * (1 + (_rows(width, x, dx) * bits + 7) // 8) * bool(_rows(width, x, dx))
            for x, y, dx, dy in (_PASSES if interlaced else _WHOLE)
        )
        inflater = zlib.decompressobj()
        for compressed in _data(file):
            while compressed and missing > 0:
                missing -= len(inflater.decompress(compressed, _PIECE))
                compressed = inflater.unconsumed_tail
        return missing <= 0


def _rows(size: int, first: int, step: int) -> int:
    """Number of rows, or columns, of a pass."""
    return max(0, -(-(size - first) // step))


def _data(file: BinaryIO) -> Iterator[bytes]:
    """Yield the compressed data, chunk by chunk."""
    file.seek(8)
    name = b""
    while name != b"IEND":
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IDAT":
            yield file.read(length)
        else:
            file.seek(length, 1)
        file.seek(4, 1)  # checksum
