"""How far the predicted probabilities of a network can be trusted: calibration, and its most confident mistakes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from skipweave.training.tasks.calibration import calibration_error
from skipweave.training.tasks.predictions import Predictions


@dataclass(frozen=True)
class Mistake:
    """A test image that a network has wrong.

    Attributes:
        image: Index in the test split.
        label: True class.
        predicted: Predicted class, of the seed that is most confident.
        confidence: Its probability.
        seeds: Number of seeds that have the image wrong.
    """

    image: int
    label: int
    predicted: int
    confidence: float
    seeds: int


def calibration_error_of(predictions: Predictions | None) -> float | None:
    """Expected calibration error of the predicted classes, in percent; None if a confidence is not known."""
    if predictions is None or predictions.confidences is None or (predictions.predicted < 0).any():
        return None
    return calibration_error(torch.from_numpy(predictions.confidences), torch.from_numpy(~predictions.wrong))


def most_confident_mistakes(seeds: Sequence[Predictions], most: int) -> tuple[Mistake, ...]:
    """The images that a seed has wrong with the highest confidence, highest first; of equal ones the first.

    Args:
        seeds: Predictions of the same images by a network's seeds.
        most: Number of images.

    Returns:
        Nothing if a confidence is not known, or the seeds have seen other images.
    """
    known = [seed.confidences for seed in seeds if seed.confidences is not None]
    if not seeds or len(known) < len(seeds) or any(not np.array_equal(s.labels, seeds[0].labels) for s in seeds):
        return ()
    wrong = np.stack([seed.wrong for seed in seeds])
    confidences = np.where(wrong, np.stack(known), -1.0)
    highest, seed_of = confidences.max(0), confidences.argmax(0)
    worst = np.argsort(-highest, kind="stable")[:most]
    return tuple(
        Mistake(
            image=int(image),
            label=int(seeds[0].labels[image]),
            predicted=int(seeds[seed_of[image]].predicted[image]),
            confidence=float(highest[image]),
            seeds=int(wrong[:, image].sum()),
        )
        for image in worst
        if highest[image] >= 0
    )
