import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data.segmentation.class_list import ClassEntry, ClassList
from skipweave.data.segmentation.mask_files import open_mask
from tests.errors import raises

CLASSES = ClassList(
    (ClassEntry("ground", 0, (10, 20, 30)), ClassEntry("cell", 7, (200, 0, 100)), ClassEntry("void", 255, (0, 0, 0))),
    "list.csv",
)
LABELS = np.array([[0, 1, 2], [1, 1, 0]], dtype=np.uint8)
VALUES = np.array([0, 7, 255], dtype=np.uint8)[LABELS]
COLORS = np.array(CLASSES.palette, dtype=np.uint8)[LABELS]


def save(tmp_path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    image.save(tmp_path / "mask.png", **options)
    return tmp_path / "mask.png"


def palette_image(values, colors):
    image = Image.frombytes("P", values.shape[::-1], values.tobytes())
    flat = np.zeros((256, 3), dtype=np.uint8)
    for value, color in colors.items():
        flat[value] = color
    image.putpalette(flat.tobytes())
    return image


@pytest.mark.parametrize("pixels", [VALUES, VALUES.astype(np.uint16), COLORS])
def test_values_and_colors_become_labels(tmp_path, pixels):
    labels = open_mask(save(tmp_path, pixels), CLASSES)
    assert labels.dtype == torch.uint8
    assert labels.tolist() == LABELS.tolist()


def test_alpha_is_ignored(tmp_path):
    assert open_mask(save(tmp_path, COLORS, "RGBA"), CLASSES).tolist() == LABELS.tolist()


def test_one_bit_is_a_value(tmp_path):
    binary = ClassList((ClassEntry("ground", 0), ClassEntry("cell", 1)), "list.csv")
    path = save(tmp_path, np.array([[0, 255], [255, 0]], dtype=np.uint8), "1")
    assert open_mask(path, binary).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("colors", [{}, {0: (10, 20, 30), 7: (200, 0, 100), 255: (0, 0, 0)}, {7: (255, 255, 255)}])
def test_palette_images_are_decoded_by_index(tmp_path, colors):
    palette_image(VALUES, colors).save(tmp_path / "mask.png")
    assert open_mask(tmp_path / "mask.png", CLASSES).tolist() == LABELS.tolist()


@pytest.mark.parametrize("others", [{0: (200, 0, 100), 7: (10, 20, 30)}, {0: (200, 0, 100), 1: (10, 20, 30)}])
def test_a_palette_of_other_classes_than_the_values_raises(tmp_path, others):
    """As in a color image saved with a palette: its values are numbered in order of occurrence."""
    palette_image(np.array([list(others)], dtype=np.uint8), others).save(tmp_path / "mask.png")
    with raises(tmp_path / "mask.png", "palette"):
        open_mask(tmp_path / "mask.png", CLASSES)


def test_unknown_values_are_named_most_frequent_first(tmp_path):
    values = np.array([[0, 9, 9, 3], [0, 7, 9, 3]], dtype=np.uint8)
    with raises(tmp_path / "mask.png", "9, 3", 5, 8, "0, 7, 255", "list.csv"):
        open_mask(save(tmp_path, values), CLASSES)


def test_of_many_unknown_values_some_are_named(tmp_path):
    values = np.arange(100, 120, dtype=np.uint8)[None]
    with raises("100, 101, 102, 103", 16, 20):
        open_mask(save(tmp_path, values), CLASSES)


def test_unknown_colors_are_named(tmp_path):
    pixels = COLORS.copy()
    pixels[0, 0] = (1, 2, 3)
    with raises((1, 2, 3), 1, 6, (0, 0, 0), (10, 20, 30)):
        open_mask(save(tmp_path, pixels), CLASSES)


def test_colors_that_are_not_in_the_class_list_raise(tmp_path):
    plain = ClassList((ClassEntry("ground", 0), ClassEntry("cell", 1)), "list.csv")
    with raises((200, 0, 100), "r,g,b", "list.csv"):
        open_mask(save(tmp_path, COLORS), plain)


@pytest.mark.parametrize("name", ["mask.dcm", "mask.png"])
def test_a_dicom_mask_raises(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(128) + b"DICM" + bytes(99))
    with raises(name, "DICOM", "PNG"):
        open_mask(tmp_path / name, CLASSES)


def test_a_jpeg_mask_raises(tmp_path):
    Image.fromarray(np.repeat(np.repeat(COLORS, 9, 0), 9, 1)).save(tmp_path / "mask.jpg")
    with raises("JPEG", "PNG"):
        open_mask(tmp_path / "mask.jpg", CLASSES)


def test_floating_point_and_damaged_masks_raise(tmp_path):
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "mask.tif")
    with raises(tmp_path / "mask.tif"):
        open_mask(tmp_path / "mask.tif", CLASSES)
    (tmp_path / "mask.png").write_bytes(b"no image")
    with raises(tmp_path / "mask.png"):
        open_mask(tmp_path / "mask.png", CLASSES)
