import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import Preprocessing, epoch_loader
from skipweave.data.segmentation.class_list import ClassEntry, ClassList
from skipweave.data.segmentation.image_mask_pairs import SegmentationDataset, pair_folders
from skipweave.data.segmentation.joint_transforms import JointEvalTransform
from skipweave_config.errors import SkipweaveError

CLASSES = ClassList((ClassEntry("ground", 0), ClassEntry("road", 1), ClassEntry("void", 2)), "list.csv")


def test_files_are_paired_by_name_whatever_their_suffix(tmp_path, make_pairs):
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
    with pytest.raises(SkipweaveError) as caught:
        pair_folders(tmp_path / "images", tmp_path / "masks")
    message = str(caught.value)
    assert message.startswith("4 file(s)")
    assert f"{tmp_path}/images/a.png has no mask in {tmp_path}/masks" in message
    assert f"{tmp_path}/masks/b.png has no image in {tmp_path}/images" in message
    assert f"masks/c.png is 7 x 5 pixels, its image {tmp_path}/images/c.png 10 x 12" in message
    assert f"images/d.jpg has the same name as {tmp_path}/images/d.png" in message
    assert "\n" not in message


def test_at_most_ten_unpaired_files_are_named(tmp_path, make_pairs):
    make_pairs(tmp_path, [str(number) for number in range(30)])
    for number in range(25):
        (tmp_path / "masks" / f"{number}.png").unlink()
    with pytest.raises(
        SkipweaveError,
        match=r"^25 file.*9\.png has no mask in [^;]*; and 15 more;",
    ):
        pair_folders(tmp_path / "images", tmp_path / "masks")


def test_missing_empty_and_damaged_folders_raise(tmp_path, make_pairs):
    with pytest.raises(SkipweaveError, match=r"no such file or folder: .*images"):
        pair_folders(tmp_path / "images", tmp_path / "masks")
    make_pairs(tmp_path, [])
    with pytest.raises(SkipweaveError, match=r"no image in .*images"):
        pair_folders(tmp_path / "images", tmp_path / "masks")
    make_pairs(tmp_path, ["a"])
    (tmp_path / "masks" / "a.png").write_bytes(b"no image")
    with pytest.raises(SkipweaveError, match=r"masks/a\.png"):
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
    with pytest.raises(SkipweaveError, match=r"masks/a\.png is 12 x 10 pixels, its image .*images/a\.png 10 x 12"):
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
    with pytest.raises(SkipweaveError, match=r"8 x 10, 12 x 10"):
        list(epoch_loader(images, transform, batch_size=2, **options))
