"""Loss and errors, counted exactly: sums over images, whatever the batches and processes they came in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

#: Fewer classes make top-5 errors uninteresting.
TOP5_CLASSES = 20


@dataclass
class Scores:
    """Sums over images.

    Attributes:
        classes: of the data.
        loss: cross-entropy.
        wrong: images whose label is not the most probable class.
        wrong_top5: images whose label is not among the five most probable.
        images: how many.
    """

    classes: int
    loss: float = 0.0
    wrong: int = 0
    wrong_top5: int = 0
    images: int = 0

    def add(self, sums: Tensor) -> None:
        """Add what `batch_sums` counted, from one process or summed over them."""
        loss, wrong, wrong_top5, images = sums.tolist()
        self.loss += loss
        self.wrong += round(wrong)
        self.wrong_top5 += round(wrong_top5)
        self.images += round(images)

    def sums(self) -> Tensor:
        """The same as `batch_sums` gives, for adding up over processes."""
        return torch.tensor([self.loss, self.wrong, self.wrong_top5, self.images], dtype=torch.float64)

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return math.isfinite(self.loss)

    @property
    def mean_loss(self) -> float:
        """Cross-entropy an image."""
        return self.loss / self.images

    @property
    def error(self) -> float:
        """Top-1 error in percent."""
        return 100 * self.wrong / self.images

    @property
    def top5_error(self) -> float | None:
        """Top-5 error in percent; None with fewer than 20 classes."""
        return 100 * self.wrong_top5 / self.images if self.classes >= TOP5_CLASSES else None


def batch_sums(logits: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """Count one batch, without waiting for the device.

    Args:
        logits: (N, classes).
        labels: N class indices.
        loss: mean cross-entropy.

    Returns:
        (summed loss, wrong, wrong among five, images).
    """
    above = (logits > logits.gather(1, labels[:, None])).sum(1)  # classes more probable than the right one
    wrong = (above > 0) | ~torch.isfinite(logits).all(1)
    counts = torch.stack([wrong.sum(), (above >= 5).sum(), torch.tensor(len(labels), device=wrong.device)])
    return torch.cat([(loss.detach() * len(labels))[None], counts.to(loss.dtype)])


def score(fabric: Fabric, model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], classes: int) -> Scores:
    """Evaluate a network in evaluation mode on batches of this process."""
    scores = Scores(classes)
    with torch.inference_mode():
        for batch in batches:
            images, labels = fabric.to_device(batch)
            logits = model(images)
            scores.add(batch_sums(logits, labels, functional.cross_entropy(logits, labels)))
    return scores
