from pathlib import Path

import pytest

from skipweave.data.augmentation import _IMAGES
from skipweave.data.sources.named_datasets import _READERS
from skipweave_config.data_config import IMAGE_NAMES, NAMES, DataConfig
from skipweave_config.errors import SkipweaveError
from tests.errors import assert_each_reports, assert_reports


def problems(**values):
    with pytest.raises(SkipweaveError) as caught:
        DataConfig(**values)
    return caught.value.problems


def test_every_name_has_a_reader_and_transforms():
    assert set(IMAGE_NAMES) == {*_READERS, "python"} == set(_IMAGES)


@pytest.mark.parametrize(
    ("name", "meant"), [("CIFAR-10", "cifar10"), ("minst", "mnist"), ("digit", "digits"), ("CamVidd", "camvid")]
)
def test_an_unknown_name_is_reported_with_the_nearest(name, meant):
    (problem,) = problems(name=name, root="somewhere")
    assert_reports(problem, "name", repr(name), meant)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("digits", "csv", "hub", "python")])
def test_every_dataset_but_digits_needs_a_directory(name):
    (problem,) = problems(name=name)
    assert_reports(problem, "root", None)
    assert DataConfig(name=name, root=Path("somewhere")).root == Path("somewhere")


@pytest.mark.parametrize(
    ("values", "title"),
    [
        ({"name": "cifar10", "root": Path("data")}, "CIFAR-10"),
        ({"name": "folder", "root": Path("photos/birds")}, "birds"),
        ({"name": "masks", "root": Path()}, Path().resolve().name),
        ({"name": "csv", "labels": Path("scans/labels.csv")}, "scans"),
        ({"name": "csv", "labels": Path("tables/labels.csv"), "root": Path("scans")}, "scans"),
        ({"name": "hub", "hub": "uoft-cs/cifar10"}, "uoft-cs/cifar10"),
        ({"name": "python"}, "python"),
    ],
)
def test_the_title_is_the_name_of_the_dataset_or_of_its_place(values, title):
    assert DataConfig(**values).title == title


@pytest.mark.parametrize("validation", [0, 5000, 0.0, 0.1, 0.99])
def test_validation_is_a_count_or_a_fraction(validation):
    assert DataConfig(validation=validation).validation == validation


@pytest.mark.parametrize("validation", [-1, -0.1, 1.0, 1.5, float("nan")])
def test_validation_out_of_range_is_rejected(validation):
    (problem,) = problems(validation=validation)
    assert_reports(problem, "validation", validation)


def test_a_table_needs_no_directory():
    assert DataConfig(name="csv", labels="photos/labels.csv").root is None


def test_all_mistakes_are_reported_at_once():
    found = problems(name="cifar10", validation=-1, image_size=0, workers=-2)
    assert_each_reports(found, ("root", None), ("validation", -1), ("image_size", 0), ("workers", -2))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"name": "camvid", "classes": "list.csv"}, ("classes", "camvid")),
        ({"name": "masks", "crop": 0}, ("crop", "0")),
        ({"name": "cifar10", "crop": 24}, ("crop", "24")),
        ({"name": "masks", "scale": [0.5, 2]}, ("scale", "crop")),
        ({"name": "masks", "crop": 8, "scale": [2, 0.5]}, ("scale", "[2, 0.5]")),
        ({"name": "masks", "crop": 8, "scale": [0, 2]}, ("scale[0]", "0")),
        ({"name": "masks", "crop": 8, "scale": [1, 11]}, ("scale[1]", "11")),
        ({"name": "masks", "crop": 8, "scale": [1, 2], "augment": False}, ("scale", "augment: false")),
        ({"name": "masks", "padding": "reflect"}, ("padding", "'masks'")),
        ({"name": "mnist", "padding": "black", "augment": False}, ("padding", "augment: false")),
        ({"name": "cifar10", "scale": [0.5, 2]}, ("scale", "cifar10")),
        ({"name": "folder", "mean": []}, ("mean", "[]")),
        ({"name": "folder", "channels": 3, "mean": [0.5]}, ("mean", "[0.5]")),
        ({"name": "folder", "channels": 0}, ("channels", "0")),
        ({"name": "masks", "channels": 1}, ("channels", "1")),
        ({"name": "folder", "range": [0, 9], "window": [4, 2]}, ("window", "[4, 2]")),
        ({"name": "folder", "window": [4, 0]}, ("window",)),
        ({"name": "folder", "window": "files"}, ("window",)),
        ({"name": "folder", "std": [0.5, 0, 1]}, ("std[1]", "0")),
        ({"name": "folder", "range": [3, 3]}, ("range", "[3, 3]")),
        ({"name": "camvid", "download": True}, ("download", "True")),
        ({"name": "folder", "download": True}, ("download", "True")),
        ({"name": "cifar10", "image_size": 10**9}, ("image_size", "1000000000")),
        ({"name": "mnist", "extra": True}, ("extra", "True")),
        ({"name": "digits"}, ("root", "'somewhere'")),
        ({"name": "mnist", "on_bad": "ignore"}, ("on_bad", "'ignore'")),
        ({"name": "csv"}, ("labels", None)),
        ({"name": "hub"}, ("hub", None)),
        ({"name": "folder", "hub": "uoft-cs/cifar10"}, ("hub", "'uoft-cs/cifar10'")),
        ({"name": "python"}, ("root", "'somewhere'")),
        ({"name": "csv", "labels": "labels.xlsx"}, ("labels", "'labels.xlsx'")),
        ({"name": "folder", "labels": "labels.csv"}, ("labels", "'labels.csv'")),
        ({"name": "folder", "fold": 1}, ("fold", "1")),
        ({"name": "folder", "folds": 5}, ("fold", None)),
        ({"name": "folder", "folds": 5, "fold": 6}, ("fold", "6")),
        ({"name": "folder", "folds": 5, "fold": 0}, ("fold", "0")),
        ({"name": "folder", "folds": 1, "fold": 1}, ("folds", "1")),
        ({"name": "masks", "folds": 5, "fold": 1}, ("folds", "5")),
    ],
)
def test_conflicting_values_are_rejected(values, named):
    (problem,) = problems(root="somewhere", **values)
    assert_reports(problem, *named)
