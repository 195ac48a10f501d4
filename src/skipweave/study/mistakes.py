"""What networks confuse: confusion matrices, errors by class, and mistakes, from predictions for the test images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skipweave.training.tasks.predictions import Predictions


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction for a test image.

    Attributes:
        image: Its index in the test split.
        label: Its class.
        predicted: The class that most runs of the network predict.
        runs: Number of runs that predict it.
    """

    image: int
    label: int
    predicted: int
    runs: int


def confusion_matrix(predictions: Sequence[Predictions], classes: int) -> NDArray[np.int64]:
    """Counts over the runs of a network, (classes, classes): row = true class, column = predicted class.

    Images without a predicted class, as their logits are non-finite, are left out.
    """
    labels = np.concatenate([one.labels for one in predictions])
    predicted = np.concatenate([one.predicted for one in predictions])
    known = predicted >= 0
    pairs = labels[known] * classes + predicted[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def class_errors(predictions: Sequence[Predictions], classes: int) -> NDArray[np.float64]:
    """Percent of each class's test images that are predicted wrongly, over the runs, (classes,); NaN without images."""
    labels = np.concatenate([one.labels for one in predictions])
    wrong = np.concatenate([one.wrong for one in predictions])
    images = np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        return 100 * np.bincount(labels, weights=wrong, minlength=classes) / images


def clearest_mistakes(own: Sequence[Predictions], every: Sequence[Predictions], most: int) -> tuple[Mistake, ...]:
    """The mistakes of a network that are least by chance: those that most of its runs make alike.

    Of equally many, those come first that more runs of the whole study make alike, then by image.

    Args:
        own: Predictions of the network's runs.
        every: Predictions of all runs of the study for the same images.
        most: Number of mistakes to return.
    """
    votes, in_study = _votes(own), _votes(every)
    ranked = sorted(votes, key=lambda mistake: (-votes[mistake], -in_study[mistake], mistake))
    found: dict[int, Mistake] = {}
    for image, predicted in ranked:
        found.setdefault(image, Mistake(image, int(own[0].labels[image]), predicted, votes[image, predicted]))
        if len(found) == most:
            break
    return tuple(found.values())


def _votes(predictions: Sequence[Predictions]) -> Counter[tuple[int, int]]:
    """In how many runs each image is predicted wrongly as each class: by (image, class)."""
    return Counter(
        (int(image), int(one.predicted[image]))
        for one in predictions
        for image in np.flatnonzero(one.wrong & (one.predicted >= 0))
    )
