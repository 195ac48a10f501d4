"""Evaluation of a run's network on a split of its dataset."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skipweave.data import SegmentationData, epoch_loader
from skipweave.inference.test_time_augmentation import Heads, TestTimeAugmentation, augmented
from skipweave.models.heads import count_heads
from skipweave.training.auxiliary_heads import AllHeads
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.run.loading import RunImages, Split, Which, load_run_images
from skipweave.training.tasks.metrics import Metrics
from skipweave.training.tasks.task import evaluate_heads, task_for
from skipweave_config.recipe import LossConfig


@dataclass(frozen=True)
class Outputs:
    """The last head's logits and the labels of all images, on the CPU, collected while they are evaluated."""

    _logits: list[Tensor] = field(default_factory=list)
    _labels: list[Tensor] = field(default_factory=list)

    @property
    def logits(self) -> Tensor:
        """Logits, (images, classes)."""
        return torch.cat(self._logits).float()

    @property
    def labels(self) -> Tensor:
        """Labels, (images,) or (images, classes)."""
        return torch.cat(self._labels)

    def of_heads(self, heads: Heads) -> Heads:
        """The same heads, whose last logits are collected."""

        def collected(images: Tensor) -> Any:
            logits = heads(images)
            self._logits.append(logits[-1].cpu())
            return logits

        return collected

    def of_batches(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The same batches, whose labels are collected."""
        for images, labels in batches:
            self._labels.append(labels)
            yield images, labels


def evaluate(
    run_dir: Path,
    split: Split = "test",
    which: Which = "best",
    *,
    root: Path | None = None,
    accelerator: str = "auto",
    workers: int = 0,
    tta: TestTimeAugmentation = "none",
    datasets: Mapping[str, Any] | None = None,
) -> list[Metrics]:
    """Evaluate every head of a run's network on a split of the run's dataset.

    Args:
        run_dir: The run directory.
        split: train (not augmented), validation or test.
        which: As for `load_run`.
        root: Where the data is now; by default where the run read it.
        accelerator: auto, cpu, gpu, cuda or mps.
        workers: Processes that load data.
        tta: Test-time augmentation, as for `augmented`.
        datasets: Datasets by split, if the run was trained on such.

    Returns:
        Loss and metrics of each head, early exits first.

    Raises:
        SkipweaveError: The run or its data is missing or does not fit, or there is no such split.
    """
    loaded = load_run_images(run_dir, split, which, root, datasets)
    return evaluate_images(loaded, accelerator=accelerator, workers=workers, tta=tta)


def evaluate_images(
    run: RunImages,
    *,
    accelerator: str = "auto",
    workers: int = 0,
    tta: TestTimeAugmentation = "none",
    outputs: Outputs | None = None,
) -> list[Metrics]:
    """Evaluate every head of a run's network on images that are loaded already, as `evaluate` does.

    Args:
        run: Network and images.
        accelerator: As for `evaluate`.
        workers: As for `evaluate`.
        tta: As for `evaluate`.
        outputs: Where logits and labels are collected, if they are needed.
    """
    fabric = make_fabric(accelerator)
    task = task_for(run.data, LossConfig(), run.config.monitor)
    network = fabric.setup_module(AllHeads(run.network)).eval()
    heads = augmented(network, tta, pixels=isinstance(run.data, SegmentationData))
    batches: Iterable[tuple[Tensor, Tensor]] = epoch_loader(
        run.images,
        run.data.eval_transform,
        batch_size=task.evaluation_batch(run.config.batch_size),
        seed=0,
        epoch=0,
        shuffle=False,
        workers=workers,
    )
    if outputs:
        heads, batches = outputs.of_heads(heads), outputs.of_batches(batches)
    return evaluate_heads(fabric, heads, count_heads(run.network), batches, task)
