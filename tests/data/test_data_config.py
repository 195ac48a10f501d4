from pathlib import Path

import pytest

from skipweave.data import NAMES, DataConfig
from skipweave.data.augmentation import _IMAGES
from skipweave.data.data_config import IMAGE_NAMES
from skipweave.data.named_datasets import _READERS
from skipweave.errors import SkipweaveError


def test_every_name_has_a_reader_and_transforms():
    assert set(IMAGE_NAMES) == set(_READERS) == set(_IMAGES)


@pytest.mark.parametrize(("name", "meant"), [("CIFAR-10", "cifar10"), ("minst", "mnist"), ("digit", "digits")])
def test_an_unknown_name_meets_the_nearest_one(name, meant):
    with pytest.raises(SkipweaveError, match=rf"unknown data set '{name}': did you mean '{meant}'\? valid names: dig"):
        DataConfig(name=name)


def test_an_unknown_name_like_no_other_meets_the_list():
    with pytest.raises(SkipweaveError, match=r"unknown data set 'qqq': valid names: digits, mnist"):
        DataConfig(name="qqq")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_every_set_but_digits_needs_a_root(name):
    with pytest.raises(SkipweaveError, match=f"data set '{name}' needs root"):
        DataConfig(name=name)
    DataConfig(name=name, root=Path("somewhere"))


@pytest.mark.parametrize("validation", [0, 5000, 0.0, 0.1, 0.99])
def test_validation_is_a_count_or_a_fraction(validation):
    assert DataConfig(validation=validation).validation == validation


@pytest.mark.parametrize("validation", [-1, -0.1, 1.0, 1.5, float("nan")])
def test_validation_out_of_range_is_refused(validation):
    with pytest.raises(SkipweaveError, match=f"validation is {validation}: expected"):
        DataConfig(validation=validation)


def test_all_problems_are_told_at_once():
    with pytest.raises(SkipweaveError) as caught:
        DataConfig(name="cifar10", validation=-1, image_size=0, workers=-2)
    message = str(caught.value)
    assert "\n" not in message
    for part in ("needs root", "validation is -1", "image_size is 0", "workers is -2"):
        assert part in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "CamVidd"}, "unknown data set 'CamVidd': did you mean 'camvid'"),
        ({"name": "camvid", "classes": "list.csv"}, "'camvid' has its own classes"),
        ({"name": "masks", "crop": 0, "image_size": -1}, "image_size is -1: .*; crop is 0: expected"),
        ({"name": "cifar10", "crop": 24}, "crop is for images with label maps"),
        ({"name": "camvid", "download": True}, "'camvid' cannot be downloaded"),
        ({"name": "folder", "download": True}, "'folder' cannot be downloaded"),
        ({"name": "cifar10", "image_size": 10**9}, "image_size is 1000000000: expected a side of 1 to 14336 pixels"),
        ({"name": "mnist", "extra": True}, "extra is for svhn"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(SkipweaveError, match=message):
        DataConfig(root="somewhere", **options)


def test_a_root_that_would_not_be_read_is_refused_on_the_command_line():
    DataConfig().check()
    with pytest.raises(SkipweaveError, match="root is somewhere, but name is digits, which come with scikit-learn"):
        DataConfig(root=Path("somewhere")).check()
