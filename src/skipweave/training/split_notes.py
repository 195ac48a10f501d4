"""Notes on the splits of a dataset, printed before training: classes, and how coarse metrics of few images are."""

import re
from collections.abc import Iterator, Mapping, Sequence

from skipweave.data import ClassificationData, ImageDataset, SegmentationDataset
from skipweave.data.splits import class_counts
from skipweave.training.tasks.metrics import BALANCED_ACCURACY, TOP1_ACCURACY, TOP1_ERROR, TOP5_ERROR, Metric
from skipweave.training.tasks.task import Data
from skipweave_config.fit_config import FitConfig
from skipweave_config.hints import one_edit_apart

_MOST_COUNTS = 20  # classes whose numbers of images are printed
_MOST_NAMES = 10
_IMBALANCE = 5
_FEW = 100  # images, of which one is more than a percent
_PER_IMAGE = (TOP1_ERROR, TOP1_ACCURACY, TOP5_ERROR)  # metrics to which every image contributes alike
_RARE, _COMMON = 2, 20  # training images of a class whose name may be misspelled, and of one whose name is right
_SHORT = 3  # letters of names that differ by one though none is misspelled


def class_notes(config: FitConfig, data: ClassificationData) -> tuple[str, ...]:
    """Return the number of training images of each class, and warnings about the classes."""
    counts = _counts(data)
    if len(counts) <= _MOST_COUNTS:
        listed = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    else:
        fewest, most = _extremes(counts)
        listed = f"{counts[fewest]:,} ({fewest}) to {counts[most]:,} ({most})"
    warnings = (f"warning: {warning}" for warning in class_warnings(config, data))
    return (f"training images per class: {listed}", *warnings)


def class_warnings(config: FitConfig, data: ClassificationData) -> Iterator[str]:
    """Warnings of missing and imbalanced classes, and of class names that are probably misspelled."""
    counts = _counts(data)
    yield from _missing_classes(data)
    yield from _similar_names(counts)
    weighted = config.loss.class_weights != "none"
    if weighted and data.balanced:
        yield "loss.class_weights and data.sampling balanced both correct for imbalanced classes: leave one out"
    fewest, most = _extremes(counts)
    if weighted or data.balanced or not counts[fewest] or counts[most] < _IMBALANCE * counts[fewest]:
        return
    advice = "loss.class_weights balanced" + ("" if data.multi_label else " or data.sampling balanced")
    yield (
        f"imbalanced classes: {most} has {counts[most] / counts[fewest]:.1f} times as many training images as "
        f"{fewest}; consider {advice}"
    )


def validation_note(config: FitConfig, data: Data) -> str:
    """Return that rounding leaves no validation images; empty if there are some, or none were asked for."""
    asked = config.data.validation
    return f"no validation images: {asked:g} of {len(data.train)} is none" if asked and not data.val else ""


def size_note(data: Data, metric: Metric) -> str:
    """Return how coarse a metric of few validation or test images is: one image is more than a percent of it.

    Of balanced accuracy, the mean over the classes, it is an image of the smallest class. Of other metrics than it and
    accuracy, the share of an image depends on the others: their number of images is returned if it is below 100.
    """
    few = [
        text
        for name, images in data.splits.items()
        if name != "train" and images and (text := _coarseness(images, name, metric))
    ]
    return f"{metric.label} is coarse: {' and '.join(few)}" if few else ""


def _coarseness(images: ImageDataset | SegmentationDataset, split: str, metric: Metric) -> str:
    number = len(images)
    if metric is BALANCED_ACCURACY and not isinstance(images, SegmentationDataset):
        counts = [count for count in class_counts(images.labels, 0).tolist() if count]
        number = len(counts) * min(counts)
        share = f"an image of the smallest class is {100 / number:.1f} % of it ({split})"
    elif metric in _PER_IMAGE:
        share = f"one image is {100 / number:.1f} % of the {number} {split} images"
    else:
        share = f"there are {number} {split} images"
    return share if number < _FEW else ""


def shown(names: Sequence[str]) -> str:
    """List up to ten names."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _counts(data: ClassificationData) -> dict[str, int]:
    """Number of training images of each class."""
    return dict(zip(data.classes, data.class_counts, strict=True))


def _extremes(counts: Mapping[str, int]) -> tuple[str, str]:
    """The classes of fewest and of most images."""
    return min(counts, key=lambda name: counts[name]), max(counts, key=lambda name: counts[name])


def _similar_names(counts: Mapping[str, int]) -> Iterator[str]:
    """A warning for names that differ in case or spaces, and for rare ones of one letter more, less or other."""
    plain = {name: re.sub(r"[\s_]+", " ", name).strip().casefold() for name in counts}
    alike: dict[str, list[str]] = {}
    for name, own in plain.items():
        alike.setdefault(own, []).append(name)
    for names in alike.values():
        if len(names) > 1:
            yield f"classes that differ in case or spaces only: {shown(names)}"
    common = [name for name, count in counts.items() if count >= _COMMON]
    for rare in (name for name, count in counts.items() if count <= _RARE and len(name) > _SHORT):
        for name in common:
            if _misspells(plain[rare], plain[name]):
                yield f"class {rare} has {counts[rare]} training image(s): is it {name}, misspelled?"


def _misspells(name: str, other: str) -> bool:
    """Whether two names differ by one letter, not by a digit."""
    letters = [re.sub(r"\d", "", one) for one in (name, other)]
    return letters[0] != letters[1] and one_edit_apart(name, other)


def _missing_classes(data: ClassificationData) -> Iterator[str]:
    """A warning for each split without images of some class."""
    for name, images in data.splits.items():
        if not images:
            continue
        counts = class_counts(images.labels, len(data.classes))
        if missing := [class_name for class_name, count in zip(data.classes, counts, strict=True) if not count]:
            what, effect = ("training", "") if name == "train" else (name, f": {name} metrics do not cover them")
            yield f"no {what} image of {shown(missing)}{effect}"
