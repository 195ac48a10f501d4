"""Expected calibration error."""

import pytest
import torch

from skipweave.training.tasks.calibration import calibration_error


def test_it_is_the_mean_distance_between_confidence_and_accuracy_of_the_bins():
    # bins of a fifteenth: 0.9 and 0.92 (one of two right), 0.5 (right), 0.3 (wrong)
    confidences, hits = torch.tensor([0.9, 0.92, 0.5, 0.3]), torch.tensor([True, False, True, False])
    expected = 100 * (2 * abs(0.91 - 0.5) + abs(0.5 - 1) + abs(0.3 - 0)) / 4
    assert calibration_error(confidences, hits) == pytest.approx(expected, rel=1e-5)
    assert calibration_error(confidences.view(2, 2), hits.view(2, 2)) == pytest.approx(expected, rel=1e-5)


def test_certain_and_right_is_calibrated():
    assert calibration_error(torch.ones(3), torch.ones(3)) == 0
    assert calibration_error(torch.ones(3), torch.zeros(3)) == 100
