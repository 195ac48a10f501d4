"""Loss and errors, counted exactly: sums over images, whatever the batches and processes they came in."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from skipweave.errors import SkipweaveError
from skipweave.training.tasks.confusion_matrix import class_iou, global_accuracy, mean_iou

#: Fewer classes make top-5 errors uninteresting.
TOP5_CLASSES = 20
_LOSS, _IMAGES, _OWN = 0, 1, 2


class Metrics(ABC):
    """Sums over images, and what follows from them.

    Attributes:
        sums: float64: the summed losses, the number of images, then what a task counts.
    """

    def __init__(self, counts: int) -> None:
        self.sums = torch.zeros(_OWN + counts, dtype=torch.float64)

    def add(self, sums: Tensor) -> None:
        """Add the sums of a batch, or those of other scores, on the CPU."""
        self.sums += sums

    @property
    def loss(self) -> float:
        """Summed over the images."""
        return self.sums[_LOSS].item()

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.loss)

    @property
    def images(self) -> int:
        """How many."""
        return round(self.sums[_IMAGES].item())

    @property
    def mean_loss(self) -> float:
        """Loss an image."""
        return self.loss / self.images

    @property
    @abstractmethod
    def error(self) -> float:
        """The figure to compare by, in percent; the lower the better."""

    @property
    @abstractmethod
    def further(self) -> dict[str, float]:
        """More figures in percent, by name."""


class ClassificationMetrics(Metrics):
    """Of images with one label each: images of a wrong label, and of a label that is not among the five most probable.

    Args:
        classes: of the data.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(2)
        self.classes = classes

    @property
    def error(self) -> float:
        """Top-1 error in percent."""
        return 100 * self.sums[_OWN].item() / self.images

    @property
    def further(self) -> dict[str, float]:
        """`top5_error` where there are 20 classes or more."""
        return {"top5_error": 100 * self.sums[_OWN + 1].item() / self.images} if self.classes >= TOP5_CLASSES else {}


class SegmentationMetrics(Metrics):
    """Of images with label maps: the matrix of true and predicted classes over all labeled pixels.

    Args:
        classes: names of the classes.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__(len(classes) ** 2)
        self.classes = tuple(classes)

    @property
    def confusion(self) -> Tensor:
        """Pixels, int64 (classes, classes): row = true class, column = predicted class."""
        return self.sums[_OWN:].long().view(len(self.classes), -1)

    @property
    def error(self) -> float:
        """What the mean intersection over union lacks to 100 %.

        Raises:
            SkipweaveError: no pixel is labeled.
        """
        if not self.sums[_OWN:].any():
            raise SkipweaveError(f"none of the {self.images} images scored has a labeled pixel: all are void")
        return 100 * (1 - mean_iou(self.confusion))

    @property
    def further(self) -> dict[str, float]:
        """`mean_iou`, `accuracy` over all pixels, and `iou_CLASS` of each class that occurs or was predicted."""
        ious = zip(self.classes, class_iou(self.confusion).tolist(), strict=True)
        named = {"mean_iou": mean_iou(self.confusion), "accuracy": global_accuracy(self.confusion)}
        named |= {f"iou_{name}": iou for name, iou in ious if not math.isnan(iou)}
        return {name: 100 * share for name, share in named.items()}


def classification_sums(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Count one batch as `ClassificationMetrics` adds it up.

    Args:
        logits: (N, classes).
        labels: N class indices.
        loss: mean over the batch.

    Returns:
        (summed loss, images, wrong, wrong among five), on the logits' device.
    """
    above = (logits > logits.gather(1, labels[:, None])).sum(1)  # classes more probable than the right one
    wrong = (above > 0) | ~torch.isfinite(logits).all(1)
    counts = torch.stack([wrong.sum(), (above >= 5).sum()])
    return _sums(loss, labels, counts)


def segmentation_sums(confusion: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Count one batch as `SegmentationMetrics` adds it up.

    Args:
        confusion: int64 (classes, classes), of the batch.
        labels: (N, H, W).
        loss: mean over the batch.
    """
    return _sums(loss, labels, confusion.flatten())


def mean_loss(sums: Tensor) -> float:
    """The loss per image of a batch's sums."""
    return (sums[_LOSS] / sums[_IMAGES]).item()


def _sums(loss: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    exact = torch.float32 if loss.device.type == "mps" else torch.float64  # which Apple's GPUs lack
    images = torch.full((1,), len(labels), dtype=exact, device=loss.device)
    return torch.cat([(loss.detach() * len(labels))[None].to(exact), images, counts.to(exact)])
