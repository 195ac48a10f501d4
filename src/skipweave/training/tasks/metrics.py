"""Metrics, counted exactly: sums over images, whatever the batches and processes they came in."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from skipweave.training.tasks.confusion_matrix import class_iou, global_accuracy, mean_iou
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Attributes:
        name: Name in files and columns.
        label: Name in text and on axes.
        higher_is_better: Whether networks with higher values are better.
        unit: Unit of the values.
    """

    name: str
    label: str
    higher_is_better: bool = False
    unit: str = "%"

    @property
    def axis_label(self) -> str:
        """Label and unit."""
        return f"{self.label} [{self.unit}]"

    def text(self, value: float) -> str:
        """A value with its unit, as `1.39 %`."""
        return f"{value:.2f} {self.unit}"

    def rank(self, value: float) -> float:
        """Key to sort values by, best first."""
        return -value if self.higher_is_better else value


TOP1_ERROR = Metric("top1_error", "top-1 error")
TOP1_ACCURACY = Metric("top1_accuracy", "top-1 accuracy", higher_is_better=True)
TOP5_ERROR = Metric("top5_error", "top-5 error")
MEAN_IOU = Metric("mean_iou", "mIoU", higher_is_better=True)
PIXEL_ACCURACY = Metric("pixel_accuracy", "pixel accuracy", higher_is_better=True)
MEAN_AP = Metric("mean_average_precision", "mAP", higher_is_better=True)
MACRO_F1 = Metric("macro_f1", "macro F1", higher_is_better=True)
METRICS = {
    metric.name: metric
    for metric in (TOP1_ERROR, TOP1_ACCURACY, TOP5_ERROR, MEAN_IOU, PIXEL_ACCURACY, MEAN_AP, MACRO_F1)
}

#: Top-5 errors of fewer classes are uninteresting.
TOP5_CLASSES = 20
_LOSS, _IMAGES, _OWN = 0, 1, 2


class Metrics(ABC):
    """Sums over images, and the metrics computed from them.

    Attributes:
        metric: The metric to choose checkpoints and to compare networks by.
        sums: float64 on the CPU: the summed losses, the number of images, then the counts of a task.
    """

    metric: ClassVar[Metric]

    def __init__(self, counts: int) -> None:
        self.sums = torch.zeros(_OWN + counts, dtype=torch.float64)

    def add(self, sums: Tensor) -> None:
        """Add the sums of a batch, or those of other metrics, on the CPU."""
        self.sums += sums

    @property
    def loss(self) -> float:
        """Loss summed over the images."""
        return self.sums[_LOSS].item()

    @property
    def finite(self) -> bool:
        """Whether the loss is finite."""
        return math.isfinite(self.loss)

    @property
    def images(self) -> int:
        """Number of images."""
        return round(self.sums[_IMAGES].item())

    @property
    def counted(self) -> Tensor:
        """Counts of the task, (counts,)."""
        return self.sums[_OWN:]

    @property
    def mean_loss(self) -> float:
        """Mean loss per image."""
        return self.loss / self.images

    @property
    def value(self) -> float:
        """Value of `metric`."""
        return self.compute()[self.metric.name]

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """All metrics by name, that of `metric` first."""

    def per_class(self) -> dict[str, float]:
        """Metrics of single classes, as `iou_CLASS`."""
        return {}


class ClassificationMetrics(Metrics):
    """Metrics of images with one label each: top-1 and top-5 errors."""

    metric = TOP1_ERROR

    def __init__(self, classes: int) -> None:
        super().__init__(2)
        self.classes = classes

    def compute(self) -> dict[str, float]:
        """Top-1 error and accuracy, and the top-5 error where there are 20 classes or more."""
        top1, top5 = (100 * count / self.images for count in self.sums[_OWN:].tolist())
        further = {TOP5_ERROR.name: top5} if self.classes >= TOP5_CLASSES else {}
        return {TOP1_ERROR.name: top1, TOP1_ACCURACY.name: 100 - top1, **further}


class SegmentationMetrics(Metrics):
    """Metrics of images with segmentation masks, from the confusion matrix over all pixels with a label."""

    metric = MEAN_IOU

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(len(classes) ** 2)
        self.classes = tuple(classes)

    @property
    def confusion(self) -> Tensor:
        """Pixels, int64 (classes, classes): row = true class, column = predicted class."""
        return self.sums[_OWN:].long().view(len(self.classes), -1)

    def compute(self) -> dict[str, float]:
        """Mean intersection over union, and accuracy over all pixels.

        Raises:
            SkipweaveError: No pixel is labeled.
        """
        if not self.sums[_OWN:].any():
            raise SkipweaveError(f"none of the {self.images} images scored has a labeled pixel: all are void")
        return {
            MEAN_IOU.name: 100 * mean_iou(self.confusion),
            PIXEL_ACCURACY.name: 100 * global_accuracy(self.confusion),
        }

    def per_class(self) -> dict[str, float]:
        """`iou_CLASS` of each class that occurs or was predicted."""
        ious = zip(self.classes, class_iou(self.confusion).tolist(), strict=True)
        return {f"iou_{name}": 100 * iou for name, iou in ious if not math.isnan(iou)}


def of_heads(heads: Sequence[Metrics]) -> dict[str, float]:
    """All metrics of a split, by name.

    Args:
        heads: Metrics of every head, the network's own last; or nothing.

    Returns:
        The metrics of the last head, that to compare by first, and those of its classes; then the metric to compare by
        of each early exit, such as `exit1_top1_error`.
    """
    if not heads:
        return {}
    *exits, last = heads
    early = {f"exit{number}_{last.metric.name}": exit.value for number, exit in enumerate(exits, start=1)}
    return {**last.compute(), **last.per_class(), **early}


def of_raw(last: Metrics) -> dict[str, float]:
    """The metrics of a network in training beside those of its average: by name, as `raw_top1_error`."""
    return {f"raw_{name}": value for name, value in last.compute().items()}


def classification_sums(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Count one batch as `ClassificationMetrics` adds it up.

    Args:
        logits: (N, classes).
        labels: N class indices.
        loss: Mean over the batch.

    Returns:
        (summed loss, images, wrong, wrong among five), on the logits' device.
    """
    above = (logits > logits.gather(1, labels[:, None])).sum(1)  # classes more probable than the right one
    wrong = (above > 0) | ~torch.isfinite(logits).all(1)
    counts = torch.stack([wrong.sum(), (above >= 5).sum()])
    return sums_of_batch(loss, labels, counts)


def segmentation_sums(confusion: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Count one batch as `SegmentationMetrics` adds it up.

    Args:
        confusion: int64 (classes, classes), of the batch.
        labels: (N, H, W).
        loss: Mean over the batch.
    """
    return sums_of_batch(loss, labels, confusion.flatten())


def mean_loss(sums: Tensor) -> float:
    """The loss per image of a batch's sums."""
    return (sums[_LOSS] / sums[_IMAGES]).item()


def sums_of_batch(loss: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """Sums of one batch as `Metrics` adds them up.

    Args:
        loss: Mean over the batch.
        labels: (N, ...).
        counts: Counts of the task, (counts,).

    Returns:
        (summed loss, images, counts), float64.
    """
    exact = torch.float32 if loss.device.type == "mps" else torch.float64  # which Apple's GPUs lack
    images = torch.full((1,), len(labels), dtype=exact, device=loss.device)
    return torch.cat([(loss.detach() * len(labels))[None].to(exact), images, counts.to(exact)])
