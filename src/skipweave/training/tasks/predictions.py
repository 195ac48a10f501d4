"""Predicted classes of the images of a split, gathered from the processes that evaluate them."""

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

_COLUMNS = "label,predicted"


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Predictions:
    """Label and predicted class of every image of a split, in its order.

    Attributes:
        labels: Class indices, int64 (images,).
        predicted: Class indices, int64 (images,); -1 for an image with a non-finite logit.
    """

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Whether the predicted class of each image is not its label, (images,)."""
        return self.predicted != self.labels

    def as_csv(self) -> str:
        """The text of a CSV file, with a row per image."""
        return as_csv([_COLUMNS.split(","), *np.stack([self.labels, self.predicted], 1).tolist()])

    @classmethod
    def from_csv(cls, text: str) -> "Predictions":
        """Read what `as_csv` wrote.

        Raises:
            ValueError: The text is not such a table.
        """
        header, _, rows = text.partition("\n")
        if header != _COLUMNS or not rows.strip():
            raise ValueError(f"expected the columns {_COLUMNS} and a row per image")
        values = np.loadtxt(io.StringIO(rows), dtype=np.int64, delimiter=",", comments=None, ndmin=2)
        if values.shape[1] != 2:
            raise ValueError(f"expected two columns, found {values.shape[1]}")
        return cls(values[:, 0], values[:, 1])


class PredictionCollector:
    """Collects the predictions of a process, batch by batch, on its device."""

    def __init__(self) -> None:
        self._batches: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits (N, classes) and labels (N,)."""
        self._batches.append(torch.stack([labels.long(), predicted_classes(logits, none=-1)], 1))

    def gather(self, indices: Indices, images: int, fabric: Fabric) -> Predictions:
        """The predictions of all processes, by one all-reduce; every process must call it.

        Args:
            indices: The images that this process has added, in this order; of all processes together every image once.
            images: Number of images of the split.
            fabric: The processes.
        """
        rows = torch.zeros(images, 2, dtype=torch.long, device=fabric.device)
        if self._batches:
            rows[torch.from_numpy(indices).to(fabric.device)] = torch.cat(self._batches)
        labels, predicted = sum_over_processes(rows, fabric).cpu().T.numpy()
        return Predictions(labels, predicted)
