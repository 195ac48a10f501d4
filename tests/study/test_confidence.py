"""Calibration of predictions, and the most confident mistakes."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from skipweave.study.confidence import Mistake, calibration_error_of, most_confident_mistakes
from skipweave.training.tasks.predictions import Predictions

LABELS = np.array([0, 1, 2, 0])
FIRST = Predictions(LABELS, np.array([1, 1, 0, 2]), np.array([0.5, 0.9, 0.8, 0.6]))
SECOND = Predictions(LABELS, np.array([2, 1, 2, 1]), np.array([0.7, 0.4, 0.9, 0.6]))


def test_mistakes_of_all_seeds_are_ordered_by_confidence():
    expected = (Mistake(2, 2, 0, 0.8, 1), Mistake(0, 0, 2, 0.7, 2), Mistake(3, 0, 2, 0.6, 2))
    assert most_confident_mistakes((FIRST, SECOND), 5) == expected
    assert most_confident_mistakes((FIRST, SECOND), 2) == expected[:2]
    assert [mistake.image for mistake in most_confident_mistakes((SECOND,), 9)] == [0, 3]


def test_without_confidences_or_with_other_images_there_are_none():
    unknown, other = Predictions(LABELS, LABELS[::-1]), Predictions(LABELS[1:], LABELS[1:], np.ones(3))
    assert most_confident_mistakes((), 3) == most_confident_mistakes((FIRST, unknown), 3) == ()
    assert most_confident_mistakes((FIRST, other), 3) == ()


def test_calibration_is_that_of_torchmetrics_with_all_probabilities():
    torch.manual_seed(0)
    probabilities, labels = torch.randn(200, 5).mul(2).softmax(1), torch.randint(5, (200,))
    confidences, predicted = probabilities.max(1)
    found = Predictions(labels.numpy(), predicted.numpy(), confidences.double().numpy())
    expected = 100 * multiclass_calibration_error(probabilities, labels, 5).item()
    assert calibration_error_of(found) == pytest.approx(expected, rel=1e-5)


def test_calibration_is_unknown_without_all_confidences():
    broken = Predictions(LABELS, np.array([0, -1, 0, 0]), np.array([0.5, 0.0, 0.5, 0.5]))
    assert [calibration_error_of(each) for each in (None, Predictions(LABELS, LABELS), broken)] == [None] * 3
