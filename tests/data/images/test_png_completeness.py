import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from skipweave.data import open_image
from skipweave.data.images.png_completeness import has_all_rows
from tests.errors import raises

PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
GRAY, COLOR, PALETTE, GRAY_ALPHA, COLOR_ALPHA = 0, 2, 3, 4, 6


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def write(path, width, height, data, *, bits=8, colors=COLOR, interlaced=0, pieces=1):
    packed = zlib.compress(data)
    cuts = np.linspace(0, len(packed), pieces + 1).astype(int)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colors, 0, 0, interlaced))
    if colors == PALETTE:
        content += chunk(b"PLTE", bytes(3 << bits))
    content += b"".join(chunk(b"IDAT", packed[start:end]) for start, end in pairwise(cuts))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 9)])
def test_pillows_own_files_have_all_rows(tmp_path, mode, size):
    Image.new(mode, size).save(tmp_path / "a.png")
    assert has_all_rows(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("colors", "channels"), [(GRAY, 1), (COLOR, 3), (PALETTE, 1), (GRAY_ALPHA, 2), (COLOR_ALPHA, 4)]
)
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("pieces", [1, 3])
def test_one_byte_decides(tmp_path, colors, channels, bits, pieces):
    size = 5 * (1 + -(-13 * bits * channels // 8))
    for data, whole in ((bytes(size), True), (bytes(size - 1), False), (bytes(size + 1), True)):
        write(tmp_path / "a.png", 13, 5, data, bits=bits, colors=colors, pieces=pieces)
        assert has_all_rows(tmp_path / "a.png") is whole


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (9, 5), (13, 21)])
def test_interlaced_files_have_the_rows_of_seven_passes(tmp_path, size):
    image = np.zeros(size[::-1])
    parts = [image[y::dy, x::dx] for x, y, dx, dy in PASSES]
    total = sum(part.shape[0] * (1 + 3 * part.shape[1]) for part in parts if part.size)
    for data, whole in ((bytes(total), True), (bytes(total - 1), False)):
        write(tmp_path / "a.png", *size, data, interlaced=1)
        assert has_all_rows(tmp_path / "a.png") is whole


def test_missing_rows_raise_although_the_checksums_are_correct(tmp_path):
    row = b"\0" + bytes(range(1, 31))
    write(tmp_path / "whole.png", 10, 8, row * 8)
    assert open_image(tmp_path / "whole.png", 3).shape == (3, 8, 10)
    write(tmp_path / "dark.png", 10, 8, row * 7 + bytes(31))
    assert open_image(tmp_path / "dark.png", 3)[:, -1].max() == 0
    write(tmp_path / "short.png", 10, 8, row * 7)
    write(tmp_path / "woven.png", 10, 8, bytes(200), interlaced=1)
    for name in ("short.png", "woven.png"):
        with raises(tmp_path / name):
            open_image(tmp_path / name, 3)
