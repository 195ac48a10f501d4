import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import Preprocessing, epoch_loader
from skipweave.data.segmentation.class_list import ClassEntry, ClassList
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset, pair_folders
from skipweave.data.segmentation.joint_transforms import JointEvalTransform
from tests.errors import raises

CLASSES = ClassList((ClassEntry("ground", 0), ClassEntry("road", 1), ClassEntry("void", 2)), "list.csv")


def test_files_are_paired_by_name_for_any_suffix(tmp_path, make_pairs):
    make_pairs(tmp_path, ["img10", "img2"])
    (tmp_path / "images" / "img2.png").rename(tmp_path / "images" / "img2.PNG")
    for folder in ("images", "masks"):
        (tmp_path / folder / "sub").mkdir()
        (tmp_path / folder / "img10.png").rename(tmp_path / folder / "sub" / "img10.png")
    pairs = pair_folders(tmp_path / "images", tmp_path / "masks")
    assert [image.name for image, _ in pairs] == ["img2.PNG", "img10.png"]
    assert [labels.name for _, labels in pairs] == ["img2.png", "img10.png"]


def test_all_unpaired_files_are_reported(tmp_path, make_pairs):
    make_pairs(tmp_path, ["a", "b", "c", "d"])
    (tmp_path / "masks" / "a.png").unlink()
    (tmp_path / "images" / "b.png").unlink()
    Image.new("L", (7, 5)).save(tmp_path / "masks" / "c.png")
    Image.new("RGB", (10, 12)).save(tmp_path / "images" / "d.jpg")
    names = ("images/a.png", "masks/b.png", "masks/c.png", "images/c.png", "images/d.jpg", "images/d.png")
    with raises(4, "7 x 5", "10 x 12", *(tmp_path / name for name in names)):
        pair_folders(tmp_path / "images", tmp_path / "masks")


def test_at_most_ten_unpaired_files_are_named(tmp_path, make_pairs):
    make_pairs(tmp_path, [str(number) for number in range(30)])
    for number in range(25):
        (tmp_path / "masks" / f"{number}.png").unlink()
    with raises(25, 15, tmp_path / "images" / "9.png") as caught:
        pair_folders(tmp_path / "images", tmp_path / "masks")
    assert str(caught.value).count(".png") == 10


def test_missing_empty_and_damaged_folders_raise(tmp_path, make_pairs):
    with raises(tmp_path / "images"):
        pair_folders(tmp_path / "images", tmp_path / "masks")
    make_pairs(tmp_path, [])
    with raises(tmp_path / "images"):
        pair_folders(tmp_path / "images", tmp_path / "masks")
    make_pairs(tmp_path, ["a"])
    (tmp_path / "masks" / "a.png").write_bytes(b"no image")
    with raises(tmp_path / "masks" / "a.png"):
        pair_folders(tmp_path / "images", tmp_path / "masks")


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    Image.fromarray(np.zeros((10, 12, 3), dtype=np.uint8)).save(path, exif=exif)


def test_a_rotated_image_fits_its_upright_mask(tmp_path, make_pairs):
    make_pairs(tmp_path, ["a"], size=(12, 10))
    turned(tmp_path / "images" / "a.png")
    images = SegmentationDataset(pair_folders(tmp_path / "images", tmp_path / "masks"), CLASSES)
    image, labels = images[0]
    assert image.shape == (3, 12, 10)
    assert labels.shape == (12, 10)


def test_a_rotated_image_does_not_fit_a_rotated_mask(tmp_path, make_pairs):
    make_pairs(tmp_path, ["a"], size=(10, 12))
    turned(tmp_path / "images" / "a.png")
    images = SegmentationDataset(pair_folders(tmp_path / "images", tmp_path / "masks"), CLASSES)
    with raises(tmp_path / "masks" / "a.png", "12 x 10", tmp_path / "images" / "a.png", "10 x 12"):
        images[0]


def test_items_are_the_unscaled_bytes_of_the_files(tmp_path, make_pairs):
    make_pairs(tmp_path, ["a", "b"])
    images = SegmentationDataset(pair_folders(tmp_path / "images", tmp_path / "masks"), CLASSES)
    image, labels = images[1]
    assert image.dtype == labels.dtype == torch.uint8
    assert np.array_equal(image.permute(1, 2, 0), Image.open(tmp_path / "images" / "b.png"))
    assert np.array_equal(labels, Image.open(tmp_path / "masks" / "b.png"))
    assert torch.equal(images.mask(1), labels)
    subset = images.subset(np.array([1]))
    assert len(subset) == 1
    assert torch.equal(subset[0][0], image)


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_different_sizes_in_a_batch_raise(tmp_path, make_pairs, workers):
    make_pairs(tmp_path, ["a"], size=(12, 10))
    make_pairs(tmp_path, ["b"], size=(8, 10))
    images = SegmentationDataset(pair_folders(tmp_path / "images", tmp_path / "masks"), CLASSES)
    transform = JointEvalTransform(Preprocessing(channels=3, resize=None, mean=(0, 0, 0), std=(1, 1, 1)))
    options = {"seed": 0, "epoch": 0, "shuffle": False, "workers": workers}
    singles = list(epoch_loader(images, transform, batch_size=1, **options))
    assert [labels.shape for _, labels in singles] == [(1, 12, 10), (1, 8, 10)]
    with raises("8 x 10", "12 x 10"):
        list(epoch_loader(images, transform, batch_size=2, **options))
