"""Recall, confusion matrix and counts of classes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, recall_score

from skipweave.data import DataConfig, load
from skipweave.study.class_results import (
    AVERAGE_PRECISION,
    IOU,
    RECALL,
    class_counts_of,
    class_metric_for,
    confusion_of,
    mean_values,
    named_values,
    recalls,
)
from skipweave.training.tasks.predictions import Predictions

CLASSES = 4
PAIRS = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=30)


@given(PAIRS)
def test_they_are_those_of_scikit_learn(pairs: list[tuple[int, int]]):
    labels, predicted = np.array(pairs).T
    found = Predictions(labels, predicted)
    assert confusion_of(found, CLASSES).tolist() == confusion_matrix(labels, predicted, labels=range(CLASSES)).tolist()
    expected = recall_score(labels, predicted, labels=range(CLASSES), average=None, zero_division=np.nan)
    assert recalls(found, CLASSES) == pytest.approx([None if np.isnan(v) else 100 * v for v in expected])


def test_a_non_finite_logit_is_wrong_and_of_no_class():
    found = Predictions(np.array([0, 0, 1]), np.array([0, -1, 1]))
    assert recalls(found, 2) == (50.0, 100.0)
    assert confusion_of(found, 2).tolist() == [[1, 0], [0, 1]]


def test_values_of_classes_are_found_by_name():
    metrics = {"mean_iou": 1.0, "iou_road": 2.0, "ap_sky": 3.0}
    assert named_values(metrics, IOU, ("sky", "road")) == (None, 2.0)
    assert named_values(metrics, AVERAGE_PRECISION, ("sky", "road")) == (3.0, None)
    assert named_values(metrics, RECALL, ("sky", "road")) == ()


def test_the_mean_is_over_the_runs_that_have_a_value():
    assert mean_values([(1.0, None, None), (3.0, 5.0, None)]) == (2.0, 5.0, None)
    assert mean_values([(1.0,), ()]) == mean_values([]) == ()


def test_images_are_counted_in_every_split():
    data = load(DataConfig())
    counts = class_counts_of(data, ())
    assert class_metric_for(data) is RECALL
    assert list(counts) == ["train", "validation", "test"]
    assert {name: sum(counts[name]) for name in counts} == {name: len(split) for name, split in data.splits.items()}
    assert counts["test"] == tuple((data.test.labels == label).sum() for label in range(10))


def test_pixels_of_masks_are_those_of_a_run(make_pairs, class_list, tmp_path):
    make_pairs(tmp_path, [f"picture{number}" for number in range(8)])
    class_list(tmp_path)
    data = load(DataConfig(name="masks", root=tmp_path, crop=8, validation=2))
    assert class_metric_for(data) is IOU
    assert class_counts_of(data, (None, np.array([[1, 2], [3, 4]]))) == {"test": (3, 7)}
    assert class_counts_of(data, (None,)) == {}
