"""Predicted classes of the images of a split, with probabilities, gathered from the processes that evaluate them."""

import io
from dataclasses import dataclass

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from skipweave.data.splits import Indices
from skipweave.files.atomic_write import as_csv
from skipweave.training.distributed.synchronization import sum_over_processes
from skipweave.training.tasks.metrics import predicted_classes

_COLUMNS = ("label", "predicted", "confidence")
_STEPS = 10**6  # of confidences, which are gathered as integers with the classes


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Predictions:
    """Label and predicted class of every image of a split, in its order.

    Attributes:
        labels: Class indices, int64 (images,).
        predicted: Class indices, int64 (images,); -1 for an image with a non-finite logit.
        confidences: Probability of the predicted class, float64 (images,), rounded to six decimals; 0 for an image with
            a non-finite logit. None in runs of versions that did not store it.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidences: NDArray[np.float64] | None = None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the predicted class of each image is not its label, (images,)."""
        return self.predicted != self.labels

    def are_of(self, classes: int) -> bool:
        """Whether all labels and predicted classes are of so many classes."""
        both = zip((self.labels, self.predicted), (0, -1), strict=True)
        return all(((values >= least) & (values < classes)).all() for values, least in both)

    def as_csv(self) -> str:
        """The text of a CSV file, with a row per image."""
        columns = [self.labels, self.predicted, *([] if self.confidences is None else [self.confidences])]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return as_csv([_COLUMNS[: len(columns)], *rows])

    @classmethod
    def from_csv(cls, text: str) -> "Predictions":
        """Read what `as_csv` wrote.

        Raises:
            ValueError: The text is not such a table.
        """
        header, _, rows = text.partition("\n")
        names = tuple(header.split(","))
        if names not in (_COLUMNS, _COLUMNS[:2]) or not rows.strip():
            raise ValueError(f"expected the columns {','.join(_COLUMNS)} and a row per image")
        kinds = [(name, np.float64 if name == "confidence" else np.int64) for name in names]
        values = np.loadtxt(io.StringIO(rows), dtype=kinds, delimiter=",", comments=None, ndmin=1)
        confidences = values["confidence"] if len(names) > 2 else None
        if confidences is not None and not ((confidences >= 0) & (confidences <= 1)).all():
            raise ValueError("expected confidences from 0 to 1")
        return cls(values["label"], values["predicted"], confidences)


class PredictionCollector:
    """Collects the predictions of a process, batch by batch, on its device."""

    def __init__(self) -> None:
        self._batches: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (N, classes) and labels (N,)."""
        predicted, confidences = predicted_classes(logits, none=-1), logits.float().softmax(1).amax(1)
        steps = torch.where(predicted < 0, 0, _STEPS * confidences).round().long()
        self._batches.append(torch.stack([labels.long(), predicted, steps], 1))

    def gather(self, indices: Indices, images: int, fabric: Fabric) -> Predictions:
        """The predictions of all processes, by one all-reduce; every process must call it.

        Args:
            indices: The images that this process has added, in this order; of all processes together every image once.
            images: Number of images of the split.
            fabric: The processes.
        """
        rows = torch.zeros(images, 3, dtype=torch.long, device=fabric.device)
        if self._batches:
            rows[torch.from_numpy(indices).to(fabric.device)] = torch.cat(self._batches)
        labels, predicted, confidences = sum_over_processes(rows, fabric).cpu().T.numpy()
        return Predictions(labels, predicted, confidences / _STEPS)
