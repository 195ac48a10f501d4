"""Rates of classes against scikit-learn, with absent classes."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, precision_recall_fscore_support

from skipweave.training.tasks.class_counts import ClassCounts
from skipweave.training.tasks.confusion_matrix import confusion


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("seed", range(4))
def test_rates_equal_scikit_learn_and_are_nan_where_undefined(seed: int):
    """Class 3 is never predicted, class 4 never true, class 5 neither."""
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(0, 4, 50), rng.choice([0, 1, 2, 4], 50)
    counts = ClassCounts.of(confusion(torch.from_numpy(predicted), torch.from_numpy(truth), 6))
    expected = precision_recall_fscore_support(truth, predicted, labels=range(6), zero_division=np.nan)
    for ours, theirs in zip((counts.precision, counts.recall, counts.f1, counts.true), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)
    ious = jaccard_score(truth, predicted, labels=range(6), average=None, zero_division=0)
    np.testing.assert_allclose(counts.iou[:5], ious[:5])
    assert math.isnan(counts.iou[5])
    assert counts.accuracy == pytest.approx((truth == predicted).mean())
