"""Masks as other programs save them: binary without a class list, gray as RGB, and names with a suffix."""

import numpy as np
import pytest
import torch
from PIL import Image

from skipweave.data import DataConfig, load
from skipweave.data.validation.check_dataset import check_dataset
from skipweave_config.errors import SkipweaveError


def write(root, masks, suffix="", mode="L"):
    """Write an image for each mask."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, mask in enumerate(masks):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), np.uint8)).save(
            root / "images" / f"{number}.jpg"
        )
        Image.fromarray(mask).convert(mode).save(root / "masks" / f"{number}{suffix}.png")
    return DataConfig(name="masks", root=root, crop=4, validation=0, mask_suffix=suffix)


def squares(top, count=6):
    """Masks of 8 x 8 pixels with a growing square of a value; the first is empty."""
    masks = np.zeros((count, 8, 8), np.uint8)
    for number in range(count):
        masks[number, :number, :number] = top
    return masks


@pytest.mark.parametrize("top", [1, 255])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_masks_of_two_values_need_no_class_list(tmp_path, top, mode):
    config = write(tmp_path, squares(top), mode=mode)
    data = load(config)
    assert (data.classes, data.values) == (("background", "foreground"), (0, top))
    for index in range(len(data.train)):
        number = int(data.train.pairs[index][1].stem)
        assert torch.equal(data.train[index][1], torch.from_numpy((squares(top)[number] > 0).astype(np.uint8)))
    assert check_dataset(config).bad == 0


@pytest.mark.parametrize("values", [(0, 7), (0, 1, 2), (0, 1, 255)])
def test_masks_of_other_values_need_one(tmp_path, values):
    masks = squares(1)
    masks[1:, :1, : len(values)] = values
    with pytest.raises(SkipweaveError, match=r"no class list at .*classes\.csv"):
        load(write(tmp_path, masks))


def test_a_later_mask_of_another_value_is_named(tmp_path):
    masks = squares(255)
    masks[4, 0, 0] = 3
    findings = [finding for finding in check_dataset(write(tmp_path, masks)).findings if finding.bad]
    assert [finding.place.rpartition("/")[2] for finding in findings] == ["4.png"]
    assert "3" in findings[0].problem


def test_gray_masks_saved_as_rgb_have_the_values_of_the_list(tmp_path):
    config = write(tmp_path, squares(9), mode="RGB")
    (tmp_path / "classes.csv").write_text("name,value\nground,0\nroad,9\n")
    assert load(config).values == (0, 9)
    assert max(load(config).train[index][1].max().item() for index in range(4)) == 1
    (tmp_path / "classes.csv").write_text("name,value,r,g,b\nground,0,0,0,0\nroad,1,9,9,9\n")
    assert max(load(config).train[index][1].max().item() for index in range(4)) == 1


def test_masks_may_have_a_suffix(tmp_path):
    config = write(tmp_path, squares(255), suffix="_mask")
    pairs = load(config).train.pairs
    assert all(mask.name == f"{image.stem}_mask.png" for image, mask in pairs)
    (tmp_path / "masks" / "0_mask.png").rename(tmp_path / "masks" / "0.png")
    with pytest.raises(SkipweaveError, match=r"0\.jpg has no mask 0_mask"):
        load(config)
    with pytest.raises(SkipweaveError, match="mask_suffix is '_mask'"):
        DataConfig(name="folder", root=tmp_path, mask_suffix="_mask")
