"""Confusion matrices.

They are integer counts: those of batches, images or processes are added up, and metrics are computed once at the end
(`ClassCounts`), so that they are exact whatever the order.
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
