from dataclasses import replace

import numpy as np
import pytest

from skipweave.data import DataConfig, load
from skipweave.data.image_datasets import MemoryDataset
from skipweave.training import FitConfig, LossConfig
from skipweave.training.split_notes import class_notes, class_warnings, shown, size_note
from skipweave.training.tasks.metrics import BALANCED_ACCURACY, MACRO_F1, TOP1_ERROR
from tests.errors import assert_reports

CONFIG = FitConfig(accelerator="cpu")


def of_counts(images: MemoryDataset, counts: dict[int, int]) -> MemoryDataset:
    """The first images of each class, as many as asked for."""
    return images.subset(np.concatenate([np.flatnonzero(images.labels == c)[:n] for c, n in counts.items()]))


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig())


def with_classes(digits, counts: dict[int, int], *, val: dict[int, int] | None = None):
    """Digits with so many training and validation images of each class."""
    names = tuple(f"c{label:02}" for label in range(max(counts) + 1))
    held = of_counts(digits.train, val) if val else None
    return replace(digits, classes=names, train=of_counts(digits.train, counts), val=held, test=None)


def test_images_of_each_class_are_counted(digits):
    assert class_notes(CONFIG, with_classes(digits, {0: 2, 1: 3})) == ("training images per class: c00 2, c01 3",)
    many = with_classes(digits, dict.fromkeys(range(10), 2) | {7: 3})
    twice = replace(many, train=MemoryDataset(many.train.images, many.train.labels + 11 * (np.arange(21) % 2)))
    assert class_notes(CONFIG, replace(twice, classes=tuple(map(str, range(21)))))[0].startswith(
        "training images per class: 0 ("
    )


def test_imbalanced_classes_are_noted_unless_they_are_balanced(digits):
    data = with_classes(digits, {0: 12, 1: 2})
    counts, warning = class_notes(CONFIG, data)
    assert counts == "training images per class: c00 12, c01 2"
    assert_reports(warning, "c00", "6.0 times", "loss.class_weights balanced", "data.sampling balanced")
    weighted = replace(CONFIG, loss=LossConfig(class_weights="balanced"))
    assert class_notes(weighted, data) == class_notes(CONFIG, replace(data, balanced=True)) == (counts,)


def test_classes_without_images_of_a_split_are_named(digits):
    data = with_classes(digits, {0: 3, 2: 3, 3: 3}, val={0: 2, 1: 1, 2: 1})
    _, training, validation = class_notes(CONFIG, data)
    assert_reports(training, "training", "c01")
    assert_reports(validation, "validation", "c03")
    assert "c00" not in training + validation


def test_a_double_correction_of_imbalance_is_noted(digits):
    data = replace(with_classes(digits, {0: 12, 1: 2}), balanced=True)
    (warning,) = class_warnings(replace(CONFIG, loss=LossConfig(class_weights="balanced")), data)
    assert_reports(warning, "loss.class_weights", "data.sampling balanced")


@pytest.mark.parametrize(
    ("rare", "common", "noted"),
    [
        ("bengin", "benign", True),
        ("Benign", "benign", True),
        ("be nign", "be_nign", True),
        ("c1", "c2", False),
        ("grade 1", "grade 2", False),
        ("car", "cat", False),
        ("malignant", "benign", False),
    ],
)
def test_similar_class_names_are_noted(digits, rare, common, noted):
    data = replace(with_classes(digits, {0: 1, 1: 20}), classes=(rare, common), balanced=True)
    found = list(class_warnings(CONFIG, data))
    assert len(found) == noted
    if noted:
        assert_reports(found[0], rare, common)
    many = replace(with_classes(digits, {0: 20, 1: 20}), classes=(rare, common))
    assert bool(list(class_warnings(CONFIG, many))) == (noted and rare != "bengin")


def test_balanced_accuracy_is_as_coarse_as_an_image_of_the_smallest_class(digits):
    data = with_classes(digits, {0: 30, 1: 30, 2: 30}, val={0: 20, 1: 100, 2: 3})
    assert_reports(size_note(data, BALANCED_ACCURACY), "balanced accuracy", "validation", "11.1 %")
    enough = of_counts(digits.train, {0: 50, 1: 100})
    assert size_note(replace(data, val=enough), BALANCED_ACCURACY) == ""


def test_metrics_of_few_images_are_coarse(digits):
    data = with_classes(digits, {0: 30, 1: 30}, val={0: 20, 1: 20})
    assert_reports(size_note(data, TOP1_ERROR), "top-1 error", "2.5 % of the 40 validation images")
    assert_reports(size_note(replace(data, test=data.val, val=None), MACRO_F1), "macro F1", "40 test images")
    enough = of_counts(digits.train, {0: 50, 1: 50})
    assert size_note(replace(data, val=enough), TOP1_ERROR) == ""
    assert size_note(digits, TOP1_ERROR) == ""


def test_long_lists_are_cut():
    assert shown(["a", "b"]) == "a, b"
    assert shown(list("abcdefghijkl")) == "a, b, c, d, e, f, g, h, i, j and 2 more"
