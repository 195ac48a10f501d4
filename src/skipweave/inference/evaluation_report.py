"""The report of an evaluation: overall metrics, metrics of each class, and confusion matrix.

What training also counts is computed from its sums; what depends on the order of probabilities, or on their values, by
torchmetrics from the logits of the whole split.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from skipweave.data import ClassificationData
from skipweave.inference.evaluation import Outputs, evaluate_images
from skipweave.training.run.loading import RunImages
from skipweave.training.tasks.calibration import calibration_error
from skipweave.training.tasks.class_counts import ClassCounts
from skipweave.training.tasks.metrics import (
    CALIBRATION_ERROR,
    MEAN_AP,
    MEAN_AUROC,
    ClassificationMetrics,
    Metrics,
    SegmentationMetrics,
    top_error,
)
from skipweave.training.tasks.multi_label import MultiLabelMetrics
from skipweave_config.errors import SkipweaveError
from skipweave_config.recipe import TestTimeAugmentation


@dataclass(frozen=True)
class EvaluationReport:
    """The report of an evaluation. Values are in percent, the loss aside; undefined ones are NaN.

    Attributes:
        heads: Sums and metrics of each head, early exits first.
        classes: Names of the classes.
        overall: Metrics of the last head, that to compare by first, and its loss.
        per_class: By column, float64 (classes,): `images` or `pixels`, then precision, recall, and so on.
        confusion: int64 (classes, classes), row = true class, column = predicted class; with several labels per image
            (classes, 2, 2), row = without and with the label, column = predicted so.
        images: Path of each image, or its index in a dataset in memory; empty for masks.
        labels: True label of each image, (images,) or (images, classes); None for masks.
        probabilities: Of the classes, float64 (images, classes); None for masks.
    """

    heads: tuple[Metrics, ...]
    classes: tuple[str, ...]
    overall: dict[str, float]
    per_class: dict[str, Tensor]
    confusion: Tensor
    images: tuple[str, ...] = ()
    labels: Tensor | None = None
    probabilities: Tensor | None = None


def report(
    run: RunImages,
    *,
    accelerator: str = "auto",
    workers: int = 0,
    tta: TestTimeAugmentation = "none",
    top: int | None = None,
) -> EvaluationReport:
    """Evaluate a run's network on images, with metrics of each class.

    Args:
        run: Network and images.
        accelerator: As for `evaluate`.
        workers: As for `evaluate`.
        tta: As for `evaluate`.
        top: Report also the top-`top` error, for one label per image.

    Raises:
        SkipweaveError: `top` is not for this task or number of classes.
    """
    classes, data = run.data.classes, run.data
    if top and not (isinstance(data, ClassificationData) and not data.multi_label and top < len(classes)):
        raise SkipweaveError(
            f"top is {top}: expected less than the number of classes, which is {len(classes)}, and one label per image"
        )
    outputs = Outputs() if isinstance(data, ClassificationData) else None
    heads = tuple(evaluate_images(run, accelerator=accelerator, workers=workers, tta=tta, outputs=outputs))
    if isinstance(heads[-1], SegmentationMetrics):
        return report_of_masks(heads, classes)
    assert outputs
    made = report_of_images(heads, classes, outputs.logits, outputs.labels, top)
    return replace(made, images=tuple(map(run.images.image_name, range(len(run.images)))))


def report_of_masks(heads: Sequence[Metrics], classes: Sequence[str]) -> EvaluationReport:
    """The report of segmentation masks."""
    last = heads[-1]
    assert isinstance(last, SegmentationMetrics)
    counts = last.class_counts
    columns = {"pixels": counts.true, **_rates(counts), "dice": 100 * counts.f1, "iou": 100 * counts.iou}
    return EvaluationReport(tuple(heads), tuple(classes), last.compute(), columns, last.confusion)


def report_of_images(
    heads: Sequence[Metrics], classes: Sequence[str], logits: Tensor, labels: Tensor, top: int | None = None
) -> EvaluationReport:
    """The report of images with one label each, or with several.

    Args:
        heads: Metrics of each head.
        classes: Names of the classes.
        logits: Of the last head, (images, classes).
        labels: Class indices, (images,), or 0 and 1, (images, classes).
        top: Report also the top-`top` error.
    """
    last, several = heads[-1], labels.dim() > 1
    assert isinstance(last, ClassificationMetrics | MultiLabelMetrics)
    scores = logits.double()
    probabilities = scores.sigmoid() if several else scores.softmax(1)
    truth = labels.long() if several else functional.one_hot(labels.long(), len(classes))
    counts = last.class_counts
    columns = {
        "images": counts.true,
        **_rates(counts),
        "f1": 100 * counts.f1,
        "average_precision": _by_class(binary_average_precision, probabilities, truth),
        "auroc": _by_class(binary_auroc, probabilities, truth),
    }
    overall = {
        **last.compute(),
        MEAN_AP.name: columns["average_precision"].nanmean().item(),
        MEAN_AUROC.name: columns["auroc"].nanmean().item(),
        CALIBRATION_ERROR.name: _calibration_error(probabilities, labels),
    }
    if top:
        hits = multiclass_accuracy(probabilities, labels, len(classes), average="micro", top_k=top)
        overall[top_error(top).name] = 100 * (1 - hits.item())
    return EvaluationReport(
        heads=tuple(heads),
        classes=tuple(classes),
        overall=overall,
        per_class=columns,
        confusion=_confusion(probabilities, labels),
        labels=labels,
        probabilities=probabilities,
    )


def _rates(counts: ClassCounts) -> dict[str, Tensor]:
    return {"precision": 100 * counts.precision, "recall": 100 * counts.recall}


def _by_class(metric: Callable[[Tensor, Tensor], Tensor], probabilities: Tensor, truth: Tensor) -> Tensor:
    """A metric of each class against the others, in percent; NaN if images of the class, or of no other, are missing.

    Args:
        metric: Probabilities and 0 or 1 of all images to a fraction.
        probabilities: (images, classes).
        truth: 0 and 1, likewise.
    """
    defined = (truth.float().mean(0) % 1 != 0) & probabilities.isfinite().all()
    columns = zip(probabilities.T, truth.T, defined.tolist(), strict=True)
    return torch.tensor([100 * metric(*one).item() if known else math.nan for *one, known in columns]).double()


def _calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Expected calibration error in 15 bins, in percent: of the most probable class, or of every label by itself."""
    if not probabilities.isfinite().all():
        return math.nan
    if labels.dim() > 1:
        return calibration_error(probabilities, labels)
    confidences, predicted = probabilities.max(1)
    return calibration_error(confidences, predicted == labels)


def _confusion(probabilities: Tensor, labels: Tensor) -> Tensor:
    classes = probabilities.shape[1]
    if labels.dim() > 1:
        cells = 2 * labels.long() + (probabilities >= 0.5)
        return torch.stack([column.bincount(minlength=4) for column in cells.T]).view(classes, 2, 2)
    return multiclass_confusion_matrix(probabilities, labels, classes)
