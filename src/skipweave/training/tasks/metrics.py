"""Metrics, counted exactly: sums over images, whatever the batches and processes they came in."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skipweave.training.tasks.class_counts import ClassCounts
from skipweave_config.errors import SkipweaveError


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Attributes:
        name: Name in files and columns.
        label: Name in text and on axes.
        higher_is_better: Whether networks with higher values are better.
        unit: Unit of the values, if any.
    """

    name: str
    label: str
    higher_is_better: bool = False
    unit: str = "%"

    @property
    def axis_label(self) -> str:
        """Label and unit."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label

    def text(self, value: float) -> str:
        """A value with its unit, as `1.39 %`; without one `0.0139`."""
        return f"{value:.2f} {self.unit}" if self.unit else f"{value:.4f}"

    def rank(self, value: float) -> float:
        """Key to sort values by, best first."""
        return -value if self.higher_is_better else value


def top_error(k: int) -> Metric:
    """The fraction of images whose label is not among the k most probable classes."""
    return Metric(f"top{k}_error", f"top-{k} error")


MOST_TOP = 10  # the top-k errors that have a name
LOSS = Metric("loss", "loss", unit="")
TOP1_ERROR = top_error(1)
TOP1_ACCURACY = Metric("top1_accuracy", "top-1 accuracy", higher_is_better=True)
TOP5_ERROR = top_error(5)
BALANCED_ACCURACY = Metric("balanced_accuracy", "balanced accuracy", higher_is_better=True)
MACRO_F1 = Metric("macro_f1", "macro F1", higher_is_better=True)
MEAN_AP = Metric("mean_average_precision", "mAP", higher_is_better=True)
MEAN_IOU = Metric("mean_iou", "mIoU", higher_is_better=True)
MEAN_DICE = Metric("mean_dice", "mean Dice", higher_is_better=True)
PIXEL_ACCURACY = Metric("pixel_accuracy", "pixel accuracy", higher_is_better=True)
MEAN_AUROC = Metric("mean_auroc", "mean AUROC", higher_is_better=True)
CALIBRATION_ERROR = Metric("calibration_error", "calibration error")
METRICS = {
    metric.name: metric
    for metric in (
        LOSS,
        *(top_error(k) for k in range(1, MOST_TOP + 1)),
        TOP1_ACCURACY,
        BALANCED_ACCURACY,
        MACRO_F1,
        MEAN_AP,
        MEAN_IOU,
        MEAN_DICE,
        PIXEL_ACCURACY,
        MEAN_AUROC,
        CALIBRATION_ERROR,
    )
}

#: Top-5 errors of fewer classes are uninteresting.
TOP5_CLASSES = 20
_LOSS, _IMAGES, _OWN = 0, 1, 2


class Metrics(ABC):
    """Sums over images, and the metrics computed from them.

    Args:
        counts: Number of counts of the task.
        metric: The metric to choose checkpoints and to compare networks by.

    Attributes:
        metric: The same.
        sums: float64 on the CPU: the summed losses, the number of images, then the counts of a task.
    """

    def __init__(self, counts: int, metric: Metric) -> None:
        self.metric = metric
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

    def compute(self) -> dict[str, float]:
        """All metrics by name, that of `metric` first, and the mean loss."""
        values = {**self.of_counts(), LOSS.name: self.mean_loss}
        return {self.metric.name: values[self.metric.name], **values}

    @abstractmethod
    def of_counts(self) -> dict[str, float]:
        """The metrics that follow from the counts, by name."""

    def per_class(self) -> dict[str, float]:
        """Metrics of single classes, as `iou_CLASS`."""
        return {}


class ClassificationMetrics(Metrics):
    """Metrics of images with one label each: top-1 and top-5 errors, balanced accuracy and macro F1.

    Counted are images whose label is not among the five most probable classes, then those of `ClassCounts`.
    """

    def __init__(self, classes: int, metric: Metric = TOP1_ERROR) -> None:
        super().__init__(1 + 3 * classes, metric)
        self.classes = classes

    @property
    def class_counts(self) -> ClassCounts:
        """Images by class."""
        return ClassCounts(*self.counted[1:].view(3, self.classes))

    def of_counts(self) -> dict[str, float]:
        """Errors, balanced accuracy and macro F1 of the classes that occur; top-5 for 20 classes or more."""
        counts = self.class_counts
        top5 = 100 * self.counted[0].item() / self.images
        error = 100 * (self.images - counts.hits.sum().item()) / self.images
        return {
            TOP1_ERROR.name: error,
            TOP1_ACCURACY.name: 100 - error,
            **({TOP5_ERROR.name: top5} if self.classes >= TOP5_CLASSES else {}),
            BALANCED_ACCURACY.name: 100 * counts.recall.nanmean().item(),
            MACRO_F1.name: 100 * counts.f1.nanmean().item(),
        }


class SegmentationMetrics(Metrics):
    """Metrics of images with segmentation masks, from the confusion matrix over all pixels with a label."""

    def __init__(self, classes: Sequence[str], metric: Metric = MEAN_IOU) -> None:
        super().__init__(len(classes) ** 2, metric)
        self.classes = tuple(classes)

    @property
    def confusion(self) -> Tensor:
        """Pixels, int64 (classes, classes): row = true class, column = predicted class."""
        return self.counted.long().view(len(self.classes), -1)

    @property
    def class_counts(self) -> ClassCounts:
        """Pixels by class."""
        return ClassCounts.of(self.confusion)

    def of_counts(self) -> dict[str, float]:
        """Mean IoU and Dice of the classes that occur or were predicted, and accuracy over all pixels.

        Raises:
            SkipweaveError: No pixel is labeled.
        """
        if not self.counted.any():
            raise SkipweaveError(f"none of the {self.images} images scored has a labeled pixel: all are void")
        counts = self.class_counts
        return {
            MEAN_IOU.name: 100 * counts.iou.nanmean().item(),
            MEAN_DICE.name: 100 * counts.f1.nanmean().item(),
            PIXEL_ACCURACY.name: 100 * counts.accuracy,
        }

    def per_class(self) -> dict[str, float]:
        """`iou_CLASS` of each class that occurs or was predicted."""
        ious = zip(self.classes, self.class_counts.iou.tolist(), strict=True)
        return {f"iou_{name}": 100 * iou for name, iou in ious if not math.isnan(iou)}


def of_heads(heads: Sequence[Metrics]) -> dict[str, float]:
    """All metrics of a split, by name.

    Args:
        heads: Metrics of every head, the network's own last; or nothing.

    Returns:
        The metrics and the loss of the last head, that to compare by first, and those of its classes; then the metric
        to compare by of each early exit, such as `exit1_top1_error`.
    """
    if not heads:
        return {}
    *exits, last = heads
    early = {f"exit{number}_{last.metric.name}": exit.value for number, exit in enumerate(exits, start=1)}
    return {**last.compute(), **last.per_class(), **early}


def of_variant(variant: str, last: Metrics) -> dict[str, float]:
    """Metrics beside those of the evaluated network: of the one in training, or with test-time augmentation.

    Args:
        variant: `raw` or `tta`; the names are such as `raw_top1_error`.
        last: Metrics of the network's own head.
    """
    return {f"{variant}_{name}": value for name, value in last.compute().items()}


def classification_sums(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Count one batch as `ClassificationMetrics` adds it up.

    Args:
        logits: (N, classes).
        labels: N class indices.
        loss: Mean over the batch.

    Returns:
        (summed loss, images, wrong among five, hits, predicted and true images of each class), on the logits' device.
    """
    above = (logits > logits.gather(1, labels[:, None])).sum(1)  # classes more probable than the right one
    predicted = predicted_classes(logits, none=logits.shape[1])  # masks and bincount would wait for the device
    hits = torch.where(predicted == labels, labels, logits.shape[1])
    of_classes = [_count(values, logits.shape[1]) for values in (hits, predicted, labels)]
    return sums_of_batch(loss, labels, torch.cat([(above >= 5).sum()[None], *of_classes]))


def predicted_classes(logits: Tensor, none: int) -> Tensor:
    """The most probable class of each image, (N,), from logits (N, classes); `none` if one of them is non-finite."""
    return torch.where(torch.isfinite(logits).all(1), logits.argmax(1), none)


def _count(labels: Tensor, classes: int) -> Tensor:
    """Images of each class, int64 (classes,); the label `classes` is none."""
    counts = torch.zeros(classes + 1, dtype=torch.long, device=labels.device)
    return counts.scatter_add_(0, labels.long(), torch.ones_like(labels, dtype=torch.long))[:-1]


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
