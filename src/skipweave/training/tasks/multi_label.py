"""Metrics of images with any number of labels: average precision per class, its mean, and F1.

Average precision ranks images by their logits. To be a sum over batches and processes, logits are rounded down to
multiples of 1/8 within [-16, 16), and images of each class are counted by level: equal levels are ties.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from skipweave.training.tasks.class_counts import ClassCounts
from skipweave.training.tasks.metrics import MACRO_F1, MEAN_AP, Metric, Metrics, sums_of_batch
from skipweave_config.errors import SkipweaveError

LEVELS = 256
_PER_UNIT = 8
_ZERO = LEVELS // 2  # level of logits from 0 to 1/8, of probabilities from one half


class MultiLabelMetrics(Metrics):
    """Metrics of images with any number of labels, from counts by class, label and level of the logit.

    Args:
        classes: Names of the classes.
        metric: The metric to choose checkpoints and to compare networks by.
    """

    def __init__(self, classes: Sequence[str], metric: Metric = MEAN_AP) -> None:
        super().__init__(len(classes) * 2 * LEVELS, metric)
        self.classes = tuple(classes)

    @property
    def counts(self) -> Tensor:
        """Images, float64 (2, classes, levels): without and with the label."""
        return self.counted.view(2, len(self.classes), LEVELS)

    @property
    def class_counts(self) -> ClassCounts:
        """Labels by class; those of a probability of at least one half are predicted."""
        predicted = self.counts[..., _ZERO:].sum(-1)
        return ClassCounts(predicted[1], predicted.sum(0), self.counts[1].sum(-1))

    def of_counts(self) -> dict[str, float]:
        """Mean average precision of the classes that occur, and mean F1 of those that occur or were predicted.

        Raises:
            SkipweaveError: No image has a label.
        """
        if not self.counts[1].any():
            raise SkipweaveError(f"none of the {self.images} images scored has a label: average precision needs some")
        return {
            MEAN_AP.name: 100 * average_precision(self.counts).nanmean().item(),
            MACRO_F1.name: 100 * self.class_counts.f1.nanmean().item(),
        }

    def per_class(self) -> dict[str, float]:
        """`ap_CLASS` of each class that occurs."""
        values = zip(self.classes, average_precision(self.counts).tolist(), strict=True)
        return {f"ap_{name}": 100 * value for name, value in values if not math.isnan(value)}


def multi_label_sums(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Count one batch as `MultiLabelMetrics` adds it up.

    Args:
        logits: (N, classes).
        labels: 0 and 1, (N, classes).
        loss: Mean over the batch.
    """
    classes = logits.shape[1]
    level = (logits.detach().float().nan_to_num() * _PER_UNIT).floor().clamp(-_ZERO, _ZERO - 1).long() + _ZERO
    place = (labels.long() * classes + torch.arange(classes, device=logits.device)) * LEVELS + level
    counts = torch.zeros(2 * classes * LEVELS, dtype=torch.long, device=logits.device)
    counts.scatter_add_(0, place.flatten(), torch.ones_like(place).flatten())
    return sums_of_batch(loss, labels, counts)


def average_precision(counts: Tensor) -> Tensor:
    """Average precision of each class: sum over levels of precision times increase of recall, the highest first.

    Args:
        counts: Images without and with the label by level of the logit, float64 (2, classes, levels).

    Returns:
        (classes,); NaN for a class that does not occur.
    """
    negatives, positives = counts.flip(-1)
    precision = positives.cumsum(-1) / (positives + negatives).cumsum(-1).clamp(min=1)
    return (precision * positives).sum(-1) / positives.sum(-1)
