"""Calibration of predicted probabilities."""

from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

BINS = 15


def calibration_error(confidences: Tensor, hits: Tensor) -> float:
    """Expected calibration error in 15 bins of equal width, in percent.

    It is the mean distance between the mean probability of the predictions of a bin and how often they are right.

    Args:
        confidences: Probability of each prediction, in any shape.
        hits: Whether it is right, of the same shape.
    """
    return 100 * binary_calibration_error(confidences.float().flatten(), hits.long().flatten(), n_bins=BINS).item()
