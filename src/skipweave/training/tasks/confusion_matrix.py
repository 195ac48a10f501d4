"""Confusion matrices of segmentation, and the metrics computed from them.

Matrices are integer counts: those of batches, images or processes are added up, and metrics are computed once at the
end, so that they are exact whatever the order.
"""

import torch
from torch import Tensor


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count the pixels of each pair of true and predicted class.

    Args:
        predicted: Class indices of any shape.
        labels: The true ones, of the same shape; pixels whose label is no class, such as void, are left out.
        classes: Number of classes.

    Returns:
        int64 (classes, classes): row = true class, column = predicted class.
    """
    valid = (labels >= 0) & (labels < classes)
    pairs = torch.where(valid, labels.long() * classes + predicted.long(), classes * classes).flatten()
    # masks and bincount would wait for the device: void pixels get a bin of their own instead
    counts = torch.zeros(classes * classes + 1, dtype=torch.long, device=labels.device)
    return counts.scatter_add_(0, pairs, torch.ones_like(pairs))[:-1].view(classes, classes)


def class_iou(matrix: Tensor) -> Tensor:
    """Intersection over union of each class: I / (true + predicted - I).

    Returns:
        float64 (classes,) in [0, 1]; NaN for a class that is neither true nor predicted anywhere.
    """
    matrix = matrix.double()
    hits = matrix.diagonal()
    return hits / (matrix.sum(0) + matrix.sum(1) - hits)


def mean_iou(matrix: Tensor) -> float:
    """The mean of `class_iou` over the classes that have one; NaN if none has."""
    return class_iou(matrix).nanmean().item()


def global_accuracy(matrix: Tensor) -> float:
    """The fraction of pixels with a label that are predicted right; NaN if there are none."""
    matrix = matrix.double()
    return (matrix.trace() / matrix.sum()).item()
