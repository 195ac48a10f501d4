"""Notes on the splits of a dataset, printed before training: classes, and how coarse metrics of few images are."""

from collections.abc import Iterator, Sequence

from skipweave.data import ClassificationData
from skipweave.data.splits import class_counts
from skipweave.training.tasks.metrics import Metric
from skipweave.training.tasks.task import Data
from skipweave_config.fit_config import FitConfig

_MOST_COUNTS = 20  # classes whose numbers of images are printed
_MOST_NAMES = 10
_IMBALANCE = 5
_FEW = 100  # images, of which one is more than a percent


def class_notes(config: FitConfig, data: ClassificationData) -> tuple[str, ...]:
    """Return the number of training images of each class, and warnings of missing and imbalanced classes."""
    counts = dict(zip(data.classes, data.class_counts, strict=True))
    fewest, most = (choose(counts, key=lambda name: counts[name]) for choose in (min, max))
    if len(counts) <= _MOST_COUNTS:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    else:
        listed = f"{counts[fewest]:,} ({fewest}) to {counts[most]:,} ({most})"
    notes = (f"training images per class: {listed}", *_missing_classes(data))
    if not counts[fewest] or data.balanced or config.loss.class_weights != "none":
        return notes
    if counts[most] < _IMBALANCE * counts[fewest]:
        return notes
    advice = "loss.class_weights balanced" + ("" if data.multi_label else " or data.sampling balanced")
    return (
        *notes,
        f"warning: imbalanced classes: {most} has {counts[most] / counts[fewest]:.1f} times as many training images as "
        f"{fewest}; consider {advice}",
    )


def size_note(data: Data, metric: Metric) -> str:
    """Return how coarse a metric of fewer than 100 validation or test images is; empty if there are more."""
    few = [
        f"{100 / len(images):.1f} % of the {len(images)} {name} images"
        for name, images in data.splits.items()
        if name != "train" and images and len(images) < _FEW
    ]
    return f"{metric.label} is coarse: one image is {' and '.join(few)}" if few else ""


def shown(names: Sequence[str]) -> str:
    """List up to ten names."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _missing_classes(data: ClassificationData) -> Iterator[str]:
    """A warning for each split without images of some class."""
    for name, images in data.splits.items():
        if not images:
            continue
        counts = class_counts(images.labels, len(data.classes))
        if missing := [class_name for class_name, count in zip(data.classes, counts, strict=True) if not count]:
            what, effect = ("training", "") if name == "train" else (name, f": {name} metrics do not cover them")
            yield f"warning: no {what} image of {shown(missing)}{effect}"
