"""Values of more than 8 bits are decoded exactly, or the file raises."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from skipweave.data import open_image
from skipweave.data.images.decoding import have_high_bit_depth, read_pixel_type
from skipweave.data.images.high_bit_depth import LARGEST
from tests.data.high_bit_depth_files import chunk, png, ppm, tiff
from tests.errors import raises

PIXELS = np.random.default_rng(0).integers(0, 1 << 16, (7, 5, 4)).astype(np.uint16)
TWELVE = PIXELS % 4096
GRAY, RGB = PIXELS[..., :1], PIXELS[..., :3]
SIGNED = (PIXELS.astype(np.int32) - 32768).astype(np.int16)[..., :1]
FLOAT = PIXELS[..., :1].astype(np.float32) / 7 - 1000


def saved(pixels, **options):
    def write(path):
        Image.fromarray(pixels[..., 0]).save(path, **options)

    return write


# file: what writes it, the values, the kind
FILES = {
    "gray.png": (png(GRAY), GRAY, "16-bit gray"),
    "gray with alpha.png": (png(PIXELS[..., :2]), GRAY, "16-bit gray with alpha"),
    "rgb.png": (png(RGB), RGB, "16-bit RGB"),
    "rgba.png": (png(PIXELS), RGB, "16-bit RGB with alpha"),
    "gray.pgm": (ppm(GRAY, 65535), GRAY, "16-bit gray"),
    "twelve bits.pgm": (ppm(TWELVE[..., :1], 4095), TWELVE[..., :1], "12-bit gray"),
    "twelve bits.ppm": (ppm(TWELVE[..., :3], 4095), TWELVE[..., :3], "12-bit RGB"),
    "plain.pgm": (b"P2 2 1 4095\n7 4095\n", np.array([[[7], [4095]]]), "12-bit gray"),
    "float.pfm": (saved(FLOAT), FLOAT, "32-bit float gray"),
    **{
        f"{name}{order}.tif": (tiff(pixels, order, strips), wanted, kind)
        for order in "<>"
        for name, pixels, strips, wanted, kind in (
            ("gray", GRAY, 1, GRAY, "16-bit gray"),
            ("signed", SIGNED, 2, SIGNED, "16-bit gray"),
            ("rgb", RGB, 1, RGB, "16-bit RGB"),
            ("strips", RGB, 4, RGB, "16-bit RGB"),
            ("rgba", PIXELS, 3, RGB, "16-bit RGB with alpha"),
            ("float", FLOAT, 1, FLOAT, "32-bit float gray"),
            ("int32", GRAY.astype(np.int32) - 9, 1, GRAY.astype(np.int32) - 9, "32-bit gray"),
        )
    },
    "uint32.tif": (tiff(GRAY.astype(np.uint32) * 256), GRAY.astype(np.int64) * 256, "32-bit gray"),
    **{
        f"{packing}.tif": (saved(GRAY, compression=packing), GRAY, "16-bit gray")
        for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
    },
}


@pytest.mark.parametrize("name", FILES)
def test_values_are_not_scaled(tmp_path, name):
    content, wanted, kind = FILES[name]
    path = tmp_path / name
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    assert str(read_pixel_type(path)) == kind
    image = open_image(path, 3)
    assert image.dtype == torch.float32
    channels = wanted.transpose(2, 0, 1).astype(np.float32)
    assert np.array_equal(image.numpy(), np.broadcast_to(channels, (3, *channels.shape[1:])))
    gray = open_image(path, 1)
    if len(channels) == 1:
        assert np.array_equal(gray.numpy(), channels)
    else:
        weights = np.array([0.299, 0.587, 0.114])[:, None, None]
        assert np.allclose(gray.numpy(), (weights * channels).sum(0), rtol=1e-6)


def test_every_level_of_a_channel_is_kept(tmp_path):
    levels = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256, 1)
    for name, content in (("a.png", png(levels.repeat(3, 2))), ("a.tif", tiff(levels)), ("a.pgm", ppm(levels, 65535))):
        (tmp_path / name).write_bytes(content)
        assert open_image(tmp_path / name, 3)[1].unique().tolist() == list(range(1 << 16))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = Image.fromarray((RGB >> 8).astype(np.uint8))
    small.save(tmp_path / "small.png", exif=exif)
    (tmp_path / "deep.png").write_bytes(png((RGB >> 8) * 257, chunk(b"eXIf", exif.tobytes()[6:])))
    with Image.open(tmp_path / "small.png") as image:
        wanted = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1).astype(np.float32) * 257
    assert np.array_equal(open_image(tmp_path / "deep.png", 3).numpy(), wanted)


BROKEN = {
    "nan.tif": (tiff(np.where(FLOAT > 0, FLOAT, np.nan)), "NaN"),
    "infinite.tif": (tiff(np.where(FLOAT > 0, FLOAT, -np.inf)), "NaN"),
    "too large.tif": (tiff(np.full((2, 2, 1), LARGEST + 1, np.int32)), "16,777,216"),
    "wraps.tif": (tiff(np.full((2, 2, 1), (1 << 32) - 1, np.uint32)), "16,777,216"),
    "packed.ppm": (b"P3 1 1 4095\n1 2 4095\n", "8 bits"),
    "planes.tif": (tiff(RGB, planar=2), "planes.tif"),
    "doubles.tif": (tiff(FLOAT.astype(np.float64)), "TIFF"),
    "signed bytes.tif": (tiff(SIGNED.astype(np.int8)), "8-bit"),
    "cut.tif": (tiff(RGB)[:-20], "truncated"),
    "cut.ppm": (ppm(TWELVE[..., :3], 4095)[:-20], "cut.ppm"),
    "cut.png": (png(RGB)[:-20], "cut.png"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_cannot_be_decoded_exactly_raise(tmp_path, name):
    content, reason = BROKEN[name]
    (tmp_path / name).write_bytes(content)
    with raises(tmp_path / name, reason):
        open_image(tmp_path / name, 3)


def test_a_compressed_color_tiff_raises(tmp_path):
    content = bytearray(tiff(RGB, packing=8))  # deflate, by its tag
    (tmp_path / "a.tif").write_bytes(content)
    with raises(tmp_path / "a.tif"):
        open_image(tmp_path / "a.tif", 3)


def test_an_image_of_another_bit_depth_raises(tmp_path):
    (tmp_path / "deep.png").write_bytes(png(RGB))
    Image.new("RGB", (4, 4)).save(tmp_path / "bytes.png")
    assert open_image(tmp_path / "deep.png", 3, high_bit_depth=True).dtype == torch.float32
    assert open_image(tmp_path / "bytes.png", 3, high_bit_depth=False).dtype == torch.uint8
    with raises(tmp_path / "deep.png", "16-bit RGB"):
        open_image(tmp_path / "deep.png", 3, high_bit_depth=False)
    with raises(tmp_path / "bytes.png", "8-bit RGB"):
        open_image(tmp_path / "bytes.png", 3, high_bit_depth=True)


def test_the_first_readable_header_sets_the_bit_depth(tmp_path):
    (tmp_path / "none.png").write_bytes(b"no image")
    (tmp_path / "deep.png").write_bytes(png(RGB))
    Image.new("RGB", (4, 4)).save(tmp_path / "bytes.png")
    names = [tmp_path / name for name in ("none.png", "deep.png", "bytes.png")]
    assert have_high_bit_depth(names)
    assert not have_high_bit_depth(names[::2])
    assert not have_high_bit_depth([])
