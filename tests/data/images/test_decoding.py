import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from skipweave.data import open_image
from skipweave.data.images import decoding
from skipweave.data.images.decoding import read_header
from skipweave_config.errors import SkipweaveError
from tests.errors import raises


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def test_color_is_read_as_it_is(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png", in_chans=3)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), pixels.transpose(2, 0, 1))


def test_color_becomes_gray_and_gray_color(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "color.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    assert open_image(tmp_path / "color.png", in_chans=1).shape == (1, 6, 4)
    assert np.array_equal(open_image(tmp_path / "gray.png", in_chans=3).numpy(), [pixels[..., 0]] * 3)


def test_exif_orientation_is_applied(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(open_image(tmp_path / "a.png", 3).numpy(), np.rot90(pixels, -1).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with raises(path):
        open_image(path, 3)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_not_an_image_is_named(tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with raises(path):
        open_image(path, 3)


def test_a_missing_file_is_named(tmp_path):
    with raises(tmp_path / "nothing.png"):
        open_image(tmp_path / "nothing.png", 3)


def test_other_numbers_of_channels_raise(tmp_path):
    for number in (0, 2000):
        with raises("in_chans", number):
            open_image(tmp_path / "a.png", number)


def saved(path, *frames, **options):
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_several_images_in_a_file_raise_and_one_is_decoded(tmp_path, pixels, suffix):
    frames = [Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())]
    with raises(tmp_path / f"two{suffix}", "2 images"):
        open_image(saved(tmp_path / f"two{suffix}", *frames), 3)
    assert open_image(saved(tmp_path / f"one{suffix}", frames[0]), 3).shape == (3, 6, 4)


def test_the_first_image_of_an_mpo_file_is_decoded(tmp_path, pixels):
    path = saved(tmp_path / "a.jpg", Image.fromarray(pixels), Image.new("RGB", (9, 9)), format="MPO")
    assert open_image(path, 3).shape == (3, 6, 4)


def test_transparent_pixels_have_the_colors_of_the_file(tmp_path, pixels):
    clear = np.dstack([pixels, np.zeros((6, 4), dtype=np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert np.array_equal(open_image(tmp_path / "clear.png", 3).numpy(), pixels.transpose(2, 0, 1))
    palette = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 100, 255]))
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(open_image(tmp_path / "palette.png", 3).numpy(), expected)


def test_cmyk_is_converted_to_rgb(tmp_path):
    Image.new("CMYK", (4, 6), (0, 0, 0, 0)).save(tmp_path / "white.jpg")
    assert open_image(tmp_path / "white.jpg", 3).unique().tolist() == [255]


def test_the_format_does_not_depend_on_the_name(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(open_image(tmp_path / "a.jpg", 3).numpy(), pixels.transpose(2, 0, 1))
    assert read_header(tmp_path / "a.jpg") == (4, 6, "PNG")


def test_formats_that_run_external_programs_raise(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n")
    with raises(tmp_path / "a.png", "JPEG, PNG"):
        open_image(tmp_path / "a.png", 3)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def test_a_header_with_too_many_pixels_raises(tmp_path):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    with raises(tmp_path / "bomb.png"):
        open_image(tmp_path / "bomb.png", 3)


def test_the_limit_of_pixels_is_inclusive(tmp_path, pixels, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "MOST_PIXELS", 24)
    assert open_image(tmp_path / "a.png", 3).shape == (3, 6, 4)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 23)
    with raises(tmp_path / "a.png", "4 x 6", 23):
        open_image(tmp_path / "a.png", 3)


def test_a_jpeg_with_too_many_scans_raises(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.jpg", progressive=True)
    content = (tmp_path / "a.jpg").read_bytes()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:last] + content[last:-2] * 200 + content[-2:])
    with raises(tmp_path / "a.jpg", "scans", 100):
        open_image(tmp_path / "a.jpg", 3)


def test_a_wrong_checksum_raises_although_the_pixels_are_complete(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[-13] ^= 1  # the last byte of the checksum before the last chunk
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(SkipweaveError, match=r"a\.png .*[Cc]hecksum"):
        open_image(tmp_path / "a.png", 3)


def test_a_tiff_with_a_truncated_directory_raises(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    where = struct.unpack("<I", content[4:8])[0]
    tags = struct.unpack("<H", content[where : where + 2])[0]
    moved = content[:4] + struct.pack("<I", len(content)) + content[8:] + content[where : where + 2 + 12 * tags]
    (tmp_path / "a.tif").write_bytes(moved)  # all tags, but not the four bytes that end them
    with raises(tmp_path / "a.tif"):
        open_image(tmp_path / "a.tif", 3)


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "device"])
def test_anything_but_a_regular_file_raises_without_blocking(tmp_path, kind):
    path = tmp_path / "a.png"
    {
        "folder": lambda: path.mkdir(),
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "device": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    for read in (read_header, lambda path: open_image(path, 3)):
        with raises(path):
            read(path)


def test_an_empty_file_raises(tmp_path):
    (tmp_path / "a.png").touch()
    with raises(tmp_path / "a.png", "empty"):
        open_image(tmp_path / "a.png", 3)


def test_truncated_images_must_not_be_enabled_in_pillow(tmp_path, pixels, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with raises("LOAD_TRUNCATED_IMAGES", True):
        open_image(tmp_path / "a.png", 3)
