from collections.abc import Sequence
from typing import Any

from torch import Tensor

from skipweave.data import epoch_loader


def training_batch(transform: Any, images: Sequence[Any], seed: int = 0, epoch: int = 0) -> Tensor:
    """The batch that `epoch_loader` makes of images that are samples 0, 1, ..."""
    samples = list(zip(images, range(len(images)), strict=True))
    loader = epoch_loader(samples, transform, batch_size=len(images), seed=seed, epoch=epoch, shuffle=False)
    return next(loader)[0]
