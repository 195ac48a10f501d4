from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import list_images, open_image
from skipweave.errors import SkipweaveError


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)


def test_colour_is_read_as_it_is(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = open_image(tmp_path / "a.png", in_chans=3)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), pixels.transpose(2, 0, 1))


def test_colour_becomes_grey_and_grey_colour(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    assert open_image(tmp_path / "colour.png", in_chans=1).shape == (1, 6, 4)
    assert np.array_equal(open_image(tmp_path / "grey.png", in_chans=3).numpy(), [pixels[..., 0]] * 3)


def test_exif_orientation_is_applied(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter, clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(open_image(tmp_path / "a.png", 3).numpy(), np.rot90(pixels, -1).transpose(2, 0, 1))


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    values = np.array([[0, 256], [32768, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png", 1).tolist() == [[[0, 1], [128, 255]]]


def test_thirty_two_bits_are_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(SkipweaveError, match=r"a\.tif .*32-bit pixels"):
        open_image(tmp_path / "a.tif", 1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, suffix):
    path = tmp_path / f"broken{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(SkipweaveError) as caught:
        open_image(path, 3)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with pytest.raises(SkipweaveError, match=r"not a readable image .*text\.png"):
        open_image(path, 3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SkipweaveError, match=r"no such image file: .*nothing\.png"):
        open_image(tmp_path / "nothing.png", 3)


def test_other_numbers_of_channels_are_refused(tmp_path):
    with pytest.raises(SkipweaveError, match=r"1 channel \(grey\) or 3 \(colour\), not 4"):
        open_image(tmp_path / "a.png", 4)


def test_images_are_listed_in_natural_order(tmp_path):
    names = ["img10.png", "img2.png", "IMG3.PNG", "1.jpg", "sub/a.png", "notes.txt", ".hidden.png", "b.jpeg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)]
    assert found == ["1.jpg", "b.jpeg", "img2.png", "IMG3.PNG", "img10.png", "sub/a.png"]


def test_a_file_is_its_own_list(tmp_path):
    (tmp_path / "photo").touch()
    assert list_images(tmp_path / "photo") == [tmp_path / "photo"]


def test_no_image_or_no_folder_is_told(tmp_path):
    with pytest.raises(SkipweaveError, match=r"no image in .*: expected files that end in \.jpg, \.jpeg, \.png"):
        list_images(tmp_path)
    with pytest.raises(SkipweaveError, match="no such file or folder: nowhere"):
        list_images(Path("nowhere"))
