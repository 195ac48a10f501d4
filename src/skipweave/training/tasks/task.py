"""Tasks: the loss and the metrics of classification and of segmentation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from skipweave.data import ClassificationData, SegmentationData, count_pixels
from skipweave.training.distributed.synchronization import STEPS_PER_SYNC
from skipweave.training.tasks.confusion_matrix import confusion
from skipweave.training.tasks.metrics import (
    MEAN_AP,
    MEAN_IOU,
    METRICS,
    TOP1_ERROR,
    TOP5_CLASSES,
    TOP5_ERROR,
    ClassificationMetrics,
    Metric,
    Metrics,
    SegmentationMetrics,
    classification_sums,
    segmentation_sums,
)
from skipweave.training.tasks.multi_label import MultiLabelMetrics, multi_label_sums
from skipweave.training.tasks.segmentation_losses import deep_loss, hard_cross_entropy, predicted_mask
from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import MONITORS, LossConfig, LossName

Data = ClassificationData | SegmentationData
Heads = Callable[[Tensor], Sequence[Tensor]] | nn.Module
OnBatch = Callable[[Tensor, Tensor], None]


class Task(ABC):
    """A task.

    Attributes:
        labels_pixels: Whether each pixel has a label, or the whole image.
        single_label: Whether each image has one label.
        weights: Weights of the classes in the loss to minimize; None for ones.
    """

    labels_pixels: bool
    single_label: bool
    weights: Tensor | None

    @abstractmethod
    def loss(self, heads: Sequence[Tensor], labels: Tensor, head_weights: Sequence[float]) -> Tensor:
        """The loss to minimize: a scalar.

        Args:
            heads: Logits of each head.
            labels: Labels of the batch.
            head_weights: Weight of each head's loss; heads of weight 0 are not computed.
        """

    @abstractmethod
    def head_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of one head, at the size of the labels."""

    @abstractmethod
    def batch_sums(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """The sums of a batch that `metrics` adds up: its loss, and counts of one head's predictions."""

    @abstractmethod
    def metrics(self) -> Metrics:
        """Metrics of no images yet."""

    @abstractmethod
    def label_shape(self, image_size: Sequence[int]) -> tuple[int, ...]:
        """Shape of the labels of an image of (height, width)."""

    @abstractmethod
    def evaluation_batch(self, batch_size: int) -> int:
        """Batch size of evaluation, for that of training."""


class Classification(Task):
    """Classification: one label per image.

    Args:
        classes: Number of classes.
        weights: Weights of the classes in the loss to minimize; None for ones.
        label_smoothing: Part of each label that is spread evenly over all classes in the loss to minimize.
        metric: The metric to choose checkpoints and to compare networks by.
    """

    labels_pixels = False
    single_label = True

    def __init__(
        self,
        classes: int,
        weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        metric: Metric = TOP1_ERROR,
    ) -> None:
        self.classes = classes
        self.metric = metric
        self.label_smoothing = label_smoothing
        self.weights = weights

    def loss(self, heads: Sequence[Tensor], labels: Tensor, head_weights: Sequence[float]) -> Tensor:
        """Weighted sum of the heads' losses; heads are (N, classes), labels (N,), or (N, classes) if they are mixed."""
        weighted = [
            weight * self.training_loss(head, labels)
            for head, weight in zip(heads, head_weights, strict=True)
            if weight
        ]
        return torch.stack(weighted).sum()

    def training_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the images of the cross-entropy times the weight of the class.

        It is not divided by the sum of the weights, as torch's weighted mean is, so that it is a mean over processes.
        """
        smoothed = partial(functional.cross_entropy, logits, labels, label_smoothing=self.label_smoothing)
        return smoothed() if self.weights is None else smoothed(self._weights(logits), reduction="none").mean()

    def head_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return functional.cross_entropy(logits, labels)

    def batch_sums(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """Loss, images, and images by class: predicted, true, and both."""
        return classification_sums(logits, labels, loss)

    def metrics(self) -> Metrics:
        """Metrics of no images yet."""
        return ClassificationMetrics(self.classes, self.metric)

    def label_shape(self, image_size: Sequence[int]) -> tuple[int, ...]:
        """That of a number."""
        return ()

    def evaluation_batch(self, batch_size: int) -> int:
        """That of training."""
        return batch_size

    def _weights(self, logits: Tensor) -> Tensor | None:
        """The class weights, on the device of the logits."""
        if self.weights is not None:
            self.weights = self.weights.to(logits.device)  # copied once
        return None if self.weights is None else self.weights.to(logits.dtype)


class MultiLabel(Classification):
    """Classification with any number of labels per image, each class by itself.

    Args:
        classes: Names of the classes.
        weights: Weight of the images with the label in the loss to minimize, by class; None for ones.
        metric: The metric to choose checkpoints and to compare networks by.
    """

    single_label = False

    def __init__(self, classes: Sequence[str], weights: Tensor | None = None, metric: Metric = MEAN_AP) -> None:
        super().__init__(len(classes), weights=weights, metric=metric)
        self.names = tuple(classes)

    def training_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean binary cross-entropy, in which images with a label have the weight of its class."""
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits), pos_weight=self._weights(logits))

    def head_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean binary cross-entropy; labels are 0 and 1, (N, classes)."""
        return functional.binary_cross_entropy_with_logits(logits, labels.to(logits))

    def batch_sums(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """Loss, images, and images by class, label and level of the logit."""
        return multi_label_sums(logits, labels, loss)

    def metrics(self) -> MultiLabelMetrics:
        """Metrics of no images yet."""
        return MultiLabelMetrics(self.names, self.metric)

    def label_shape(self, image_size: Sequence[int]) -> tuple[int, ...]:
        """One number per class."""
        return (self.classes,)


class Segmentation(Task):
    """Segmentation: one label per pixel.

    Args:
        data: The dataset.
        balanced: Whether classes have median-frequency weights in the loss to minimize.
        metric: The metric to choose checkpoints and to compare networks by.
        loss_name: The loss to minimize.
    """

    labels_pixels = True
    single_label = False

    def __init__(
        self,
        data: SegmentationData,
        *,
        balanced: bool,
        metric: Metric = MEAN_IOU,
        loss_name: LossName = "cross_entropy",
    ) -> None:
        self.classes = data.classes
        self.metric = metric
        self.loss_name = loss_name
        self.weights = torch.tensor(count_pixels(data.train).weights()) if balanced else None

    def loss(self, heads: Sequence[Tensor], labels: Tensor, head_weights: Sequence[float]) -> Tensor:
        """The weighted sum of the heads' losses against soft labels; heads are (N, classes, h, w), labels (N, H, W)."""
        if self.weights is not None:
            self.weights = self.weights.to(labels.device)  # copied once
        return deep_loss(heads, labels, head_weights, self.weights, self.loss_name)

    def head_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over the pixels with a label, without class weights."""
        if logits.shape[-2:] != labels.shape[-2:]:
            logits = functional.interpolate(logits.float(), labels.shape[-2:], mode="bilinear", align_corners=False)
        return hard_cross_entropy(logits, labels)

    def batch_sums(self, logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        """Loss, images and the confusion matrix at the size of the labels."""
        predicted = predicted_mask(logits, labels.shape[-2:])
        return segmentation_sums(confusion(predicted, labels, len(self.classes)), labels, loss)

    def metrics(self) -> SegmentationMetrics:
        """Metrics of no images yet."""
        return SegmentationMetrics(self.classes, self.metric)

    def label_shape(self, image_size: Sequence[int]) -> tuple[int, ...]:
        """The size of the image."""
        return tuple(image_size)

    def evaluation_batch(self, batch_size: int) -> int:
        """One, as images may differ in size."""
        return 1


def metric_for(data: Data, monitor: str | None = None) -> Metric:
    """The metric to choose checkpoints and to compare networks by.

    Args:
        data: The dataset.
        monitor: Name of the metric; None for top-1 error, mean average precision with several labels, or mIoU of masks.

    Raises:
        SkipweaveError: It is not a metric of this task.
    """
    if isinstance(data, SegmentationData):
        valid, default = MONITORS["segmentation"], MEAN_IOU
    elif data.multi_label:
        valid, default = MONITORS["multi-label"], MEAN_AP
    else:
        valid, default = MONITORS["classification"], TOP1_ERROR
    if monitor and monitor not in valid:
        raise SkipweaveError(f"monitor is {monitor}, which is no metric of {data.name}: give one of {', '.join(valid)}")
    if monitor == TOP5_ERROR.name and len(data.classes) < TOP5_CLASSES:
        raise SkipweaveError(f"monitor is {monitor}, which needs {TOP5_CLASSES} classes: {data.name} has fewer")
    return METRICS[monitor] if monitor else default


def task_for(data: Data, loss: LossConfig, monitor: str | None = None) -> Task:
    """The task of a dataset.

    Args:
        data: The dataset.
        loss: The loss.
        monitor: As for `metric_for`.

    Raises:
        SkipweaveError: The metric is not for this task, or a class to be weighted has no training image.
    """
    wanted, metric = loss.class_weights, metric_for(data, monitor)
    if isinstance(data, SegmentationData):
        return Segmentation(data, balanced=wanted == "median_frequency", metric=metric, loss_name=loss.name)
    weights = torch.tensor(balanced_weights(data)) if wanted == "balanced" else None
    if data.multi_label:
        return MultiLabel(data.classes, weights, metric)
    return Classification(len(data.classes), weights, loss.label_smoothing, metric)


def balanced_weights(data: ClassificationData) -> tuple[float, ...]:
    """Class weights by inverse frequency: images / (classes * images of the class), whose mean over the images is 1.

    With several labels per image: images without the label / images with it, the weight of the latter.

    Raises:
        SkipweaveError: A class has no training image.
    """
    images, counts = len(data.train), data.class_counts
    if missing := [name for name, count in zip(data.classes, counts, strict=True) if not count]:
        raise SkipweaveError(f"loss.class_weights is balanced, but no training image is of {', '.join(missing)}")
    if data.multi_label:
        return tuple((images - count) / count for count in counts)
    return tuple(images / (len(counts) * count) for count in counts)


def evaluate_heads(
    fabric: Fabric,
    heads: Heads,
    number: int,
    batches: Iterable[tuple[Tensor, Tensor]],
    task: Task,
    on_batch: OnBatch | None = None,
) -> list[Metrics]:
    """Evaluate every head of a network in evaluation mode, on the batches of this process.

    Args:
        fabric: Its device computes.
        heads: Images to the logits of each head, the network's own last.
        number: Number of heads.
        batches: Images and labels; there may be none for this process.
        task: The task.
        on_batch: Called with the last head's logits and the labels of each batch, on the device.

    Returns:
        The metrics of each head.
    """
    metrics = [task.metrics() for _ in range(number)]
    with torch.inference_mode():
        on_device = (_sums_of_heads(heads, fabric.to_device(batch), task, on_batch) for batch in batches)
        while few := list(islice(on_device, STEPS_PER_SYNC)):
            for of_heads in torch.stack(few).cpu():
                for own, sums in zip(metrics, of_heads, strict=True):
                    own.add(sums)
    return metrics


def _sums_of_heads(heads: Heads, batch: tuple[Tensor, Tensor], task: Task, on_batch: OnBatch | None) -> Tensor:
    """The sums of a batch, (heads, counts)."""
    images, labels = batch
    logits = heads(images)
    if on_batch:
        on_batch(logits[-1], labels)
    return torch.stack([task.batch_sums(head, labels, task.head_loss(head, labels)) for head in logits])
