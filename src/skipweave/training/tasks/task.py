"""What is learned from a data set: the loss of a network's heads, and what is counted of their predictions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from skipweave.data import ClassificationData, PixelCounts, SegmentationData, count_pixels
from skipweave.errors import SkipweaveError
from skipweave.training.distributed.synchronization import STEPS_PER_SYNC
from skipweave.training.tasks.confusion_matrix import confusion
from skipweave.training.tasks.metrics import (
    ClassificationMetrics,
    Metrics,
    SegmentationMetrics,
    classification_sums,
    segmentation_sums,
)
from skipweave.training.tasks.segmentation_losses import deep_cross_entropy, hard_cross_entropy, label_map
from skipweave_config.recipe import LossConfig

Data = ClassificationData | SegmentationData


class Task(ABC):
    """One kind of labels.

    Attributes:
        labels_pixels: whether each pixel has one, or the whole image.
    """

    labels_pixels: bool

    @abstractmethod
    def loss(self, heads: Sequence[Tensor], labels: Tensor, shares: Sequence[float]) -> Tensor:
        """The loss to minimize: a scalar.

        Args:
            heads: logits of each.
            labels: of the batch.
            shares: what each head counts; one of 0 is left out.
        """

    @abstractmethod
    def own_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of one head, at the size of the labels."""

    @abstractmethod
    def sums(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """What `scores` adds up of a batch: its loss, and what one head predicted."""

    @abstractmethod
    def scores(self) -> Metrics:
        """Metrics of nothing yet."""

    @abstractmethod
    def evaluation_batch(self, batch_size: int) -> int:
        """Images to evaluate at once; `batch_size` are trained on."""


class Classification(Task):
    """One label an image.

    Args:
        classes: how many.
    """

    labels_pixels = False

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def loss(self, heads: Sequence[Tensor], labels: Tensor, shares: Sequence[float]) -> Tensor:
        """The heads' mean cross-entropies by their shares; heads are (N, classes), labels (N,)."""
        counted = [(head, share) for head, share in zip(heads, shares, strict=True) if share]
        return torch.stack([share * self.own_loss(head, labels) for head, share in counted]).sum()

    def own_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return functional.cross_entropy(logits, labels)

    def sums(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """Loss, images and wrong ones."""
        return classification_sums(logits, labels, loss)

    def scores(self) -> ClassificationMetrics:
        """Metrics of nothing yet."""
        return ClassificationMetrics(self.classes)

    def evaluation_batch(self, batch_size: int) -> int:
        """As many as in training."""
        return batch_size


class Segmentation(Task):
    """One label a pixel.

    Args:
        data: the images and their classes.
        balanced: whether classes count by median-frequency weights in the loss to minimize.

    Attributes:
        pixels: of each class in the training set; None if they are not balanced.
        weights: of the classes in the loss to minimize; None for ones.
    """

    labels_pixels = True

    def __init__(self, data: SegmentationData, *, balanced: bool) -> None:
        self.classes = data.classes
        self.pixels: PixelCounts | None = count_pixels(data.train) if balanced else None
        self.weights = torch.tensor(self.pixels.weights()) if self.pixels else None

    def loss(self, heads: Sequence[Tensor], labels: Tensor, shares: Sequence[float]) -> Tensor:
        """The heads' weighted cross-entropies against soft labels; heads are (N, classes, h, w), labels (N, H, W)."""
        if self.weights is not None:
            self.weights = self.weights.to(labels.device)  # copied once
        return deep_cross_entropy(heads, labels, shares, self.weights)

    def own_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the labeled pixels, all classes alike."""
        if logits.shape[-2:] != labels.shape[-2:]:
            logits = functional.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
        return hard_cross_entropy(logits, labels)

    def sums(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """Loss, images and the confusion matrix at the size of the labels."""
        predicted = label_map(logits, labels.shape[-2:])
        return segmentation_sums(confusion(predicted, labels, len(self.classes)), labels, loss)

    def scores(self) -> SegmentationMetrics:
        """Metrics of nothing yet."""
        return SegmentationMetrics(self.classes)

    def evaluation_batch(self, batch_size: int) -> int:
        """One: images may differ in size."""
        return 1


def task_for(data: Data, loss: LossConfig) -> Task:
    """The task that data sets.

    Raises:
        SkipweaveError: the loss does not go with it.
    """
    if isinstance(data, SegmentationData):
        return Segmentation(data, balanced=loss.class_weights == "median_frequency")
    if loss.class_weights != "none":
        raise SkipweaveError(
            f"loss.class_weights is {loss.class_weights}, but {data.name} has no label maps: leave it out"
        )
    return Classification(len(data.classes))


def score(
    fabric: Fabric,
    heads: Callable[[Tensor], Sequence[Tensor]] | nn.Module,
    number: int,
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
) -> list[Metrics]:
    """Score every head of a network, in evaluation mode, on batches of this process.

    Args:
        fabric: whose device the batches are brought to.
        heads: images to the logits of each head, the network's own last.
        number: of heads.
        batches: images and labels; there may be none for this process.
        task: what is counted.

    Returns:
        One a head.
    """
    totals = [task.scores() for _ in range(number)]
    with torch.inference_mode():
        on_device = (_sums_of_heads(heads, fabric.to_device(batch), task) for batch in batches)
        while few := list(islice(on_device, STEPS_PER_SYNC)):
            for of_heads in torch.stack(few).cpu():
                for total, sums in zip(totals, of_heads, strict=True):
                    total.add(sums)
    return totals


def _sums_of_heads(
    heads: Callable[[Tensor], Sequence[Tensor]] | nn.Module, batch: tuple[Tensor, Tensor], task: Task
) -> Tensor:
    images, labels = batch
    return torch.stack([task.sums(logits, labels, task.own_loss(logits, labels)) for logits in heads(images)])
