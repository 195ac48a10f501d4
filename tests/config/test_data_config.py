from pathlib import Path

import pytest

from skipweave.data.augmentation import _IMAGES
from skipweave.data.named_datasets import _READERS
from skipweave_config.data_config import IMAGE_NAMES, NAMES, DataConfig
from skipweave_config.errors import SkipweaveError


def problems(**values):
    with pytest.raises(SkipweaveError) as caught:
        DataConfig(**values)
    return caught.value.problems


def test_every_name_has_a_reader_and_transforms():
    assert set(IMAGE_NAMES) == set(_READERS) == set(_IMAGES)


@pytest.mark.parametrize(
    ("name", "meant"), [("CIFAR-10", "cifar10"), ("minst", "mnist"), ("digit", "digits"), ("CamVidd", "camvid")]
)
def test_an_unknown_name_is_reported_with_the_nearest(name, meant):
    (problem,) = problems(name=name, root="somewhere")
    assert problem.startswith(f"name is {name!r}: did you mean {meant}?")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_every_dataset_but_digits_needs_a_directory(name):
    (problem,) = problems(name=name)
    assert problem.startswith("root is None: ")
    assert DataConfig(name=name, root=Path("somewhere")).root == Path("somewhere")


@pytest.mark.parametrize("validation", [0, 5000, 0.0, 0.1, 0.99])
def test_validation_is_a_count_or_a_fraction(validation):
    assert DataConfig(validation=validation).validation == validation


@pytest.mark.parametrize("validation", [-1, -0.1, 1.0, 1.5, float("nan")])
def test_validation_out_of_range_is_rejected(validation):
    (problem,) = problems(validation=validation)
    assert problem.startswith(f"validation is {validation}: ")


def test_all_mistakes_are_reported_at_once():
    found = problems(name="cifar10", validation=-1, image_size=0, workers=-2)
    assert [problem.partition(":")[0] for problem in found] == [
        "root is None",
        "validation is -1",
        "image_size is 0",
        "workers is -2",
    ]


@pytest.mark.parametrize(
    ("values", "begin"),
    [
        ({"name": "camvid", "classes": "list.csv"}, "classes is "),
        ({"name": "masks", "crop": 0}, "crop is 0: "),
        ({"name": "cifar10", "crop": 24}, "crop is 24: "),
        ({"name": "folder", "mean": [0.5]}, "mean is [0.5]: "),
        ({"name": "folder", "std": [0.5, 0, 1]}, "std[1] is 0: "),
        ({"name": "folder", "range": [3, 3]}, "range is [3, 3]: "),
        ({"name": "camvid", "download": True}, "download is True: "),
        ({"name": "folder", "download": True}, "download is True: "),
        ({"name": "cifar10", "image_size": 10**9}, "image_size is 1000000000: "),
        ({"name": "mnist", "extra": True}, "extra is True: "),
        ({"name": "digits"}, "root is 'somewhere': "),
        ({"name": "mnist", "on_bad": "ignore"}, "on_bad is 'ignore': "),
    ],
)
def test_what_does_not_go_together_is_rejected(values, begin):
    (problem,) = problems(root="somewhere", **values)
    assert problem.startswith(begin)
