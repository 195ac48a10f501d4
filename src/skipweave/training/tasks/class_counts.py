"""Precision, recall, F1 and IoU of each class, from counts of predictions."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ClassCounts:
    """Counts of images, pixels or labels by class, each float64 (classes,).

    A value with a denominator of 0 is NaN, as with scikit-learn's `zero_division=nan`; means leave it out.

    Attributes:
        hits: Of the class and predicted so.
        predicted: Predicted.
        true: Of the class.
    """

    hits: Tensor
    predicted: Tensor
    true: Tensor

    @classmethod
    def of(cls, confusion: Tensor) -> "ClassCounts":
        """The counts of a confusion matrix (classes, classes): row = true class, column = predicted class."""
        confusion = confusion.double()
        return cls(confusion.diagonal(), confusion.sum(0), confusion.sum(1))

    @property
    def precision(self) -> Tensor:
        """Hits / predicted."""
        return self.hits / self.predicted

    @property
    def recall(self) -> Tensor:
        """Hits / true."""
        return self.hits / self.true

    @property
    def f1(self) -> Tensor:
        """Harmonic mean of precision and recall, for pixels the Dice coefficient: 2 hits / (predicted + true)."""
        return 2 * self.hits / (self.predicted + self.true)

    @property
    def iou(self) -> Tensor:
        """Intersection over union: hits / (predicted + true - hits)."""
        return self.hits / (self.predicted + self.true - self.hits)

    @property
    def accuracy(self) -> float:
        """All hits / all true."""
        return (self.hits.sum() / self.true.sum()).item()
