"""Test results by class: a metric of each class, confusion matrix, and how often each class occurs."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import torch

from skipweave.data import SegmentationData
from skipweave.data.splits import class_counts
from skipweave.training.run.run_directory import Confusion
from skipweave.training.tasks.class_counts import ClassCounts
from skipweave.training.tasks.confusion_matrix import confusion
from skipweave.training.tasks.metrics import Metric
from skipweave.training.tasks.predictions import Predictions
from skipweave.training.tasks.task import Data

ClassValues = tuple[float | None, ...]
"""A metric of each class in percent; None where it is undefined, as for a class without test images."""

RECALL = Metric("recall", "recall", higher_is_better=True)
AVERAGE_PRECISION = Metric("ap", "average precision", higher_is_better=True)
IOU = Metric("iou", "IoU", higher_is_better=True)


def class_metric_for(data: Data) -> Metric:
    """The metric of single classes: recall, with several labels per image average precision, of masks IoU."""
    if isinstance(data, SegmentationData):
        return IOU
    return AVERAGE_PRECISION if data.multi_label else RECALL


def class_counts_of(data: Data, confusions: Iterable[Confusion | None]) -> dict[str, tuple[int, ...]]:
    """Images of each class by split: train, validation and test.

    Of masks, which would all have to be read, it is the pixels of the test split, as evaluated in a run.

    Args:
        data: The dataset.
        confusions: Of the runs.
    """
    if isinstance(data, SegmentationData):
        known = next((each for each in confusions if each is not None), None)
        return {} if known is None else {"test": tuple(known.sum(1).tolist())}
    splits = {name: images.labels for name, images in data.splits.items() if images}
    return {name: tuple(class_counts(labels, len(data.classes)).tolist()) for name, labels in splits.items()}


def confusion_of(predictions: Predictions, classes: int) -> Confusion:
    """Count images by true and predicted class; those with a non-finite logit are left out."""
    known = predictions.predicted >= 0
    predicted, labels = (torch.from_numpy(each[known]) for each in (predictions.predicted, predictions.labels))
    counts: Confusion = confusion(predicted, labels, classes).numpy()
    return counts


def recalls(predictions: Predictions, classes: int) -> ClassValues:
    """Recall of each class: how many of its images are predicted right. A non-finite logit is wrong."""
    labels = predictions.labels
    hits, true = (
        torch.from_numpy(class_counts(each, classes)).double() for each in (labels[~predictions.wrong], labels)
    )
    values = (100 * ClassCounts(hits, hits, true).recall).tolist()
    return tuple(value if count else None for value, count in zip(values, true.tolist(), strict=True))


def named_values(metrics: Mapping[str, float], metric: Metric, classes: Sequence[str]) -> ClassValues:
    """A metric of each class from a run's metrics by name, such as `iou_road`; empty if it is of no class."""
    values = tuple(metrics.get(f"{metric.name}_{name}") for name in classes)
    return values if any(value is not None for value in values) else ()


def mean_values(runs: Iterable[ClassValues]) -> ClassValues:
    """Mean of each class over the runs in which it is defined; empty unless all runs have values."""
    columns = list(runs)
    if not all(columns):
        return ()
    defined = ([value for value in column if value is not None] for column in zip(*columns, strict=True))
    return tuple(fmean(values) if values else None for values in defined)
