"""Evaluation of a run's network on a split of its dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skipweave.data import SegmentationData, epoch_loader
from skipweave.models.heads import count_heads
from skipweave.training.auxiliary_heads import AllHeads
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.run.loading import RunImages, Split, Which, load_run_images
from skipweave.training.tasks.metrics import Metrics
from skipweave.training.tasks.task import evaluate_heads, task_for
from skipweave.training.tasks.test_time_augmentation import augmented
from skipweave_config.recipe import LossConfig, TestTimeAugmentation


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

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Collect a batch."""
        self._logits.append(logits.cpu())
        self._labels.append(labels.cpu())


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
    batches = epoch_loader(
        run.images,
        run.data.eval_transform,
        batch_size=task.evaluation_batch(run.config.batch_size),
        seed=0,
        epoch=0,
        shuffle=False,
        workers=workers,
    )
    collect = outputs.add if outputs else None
    return evaluate_heads(fabric, heads, count_heads(run.network), batches, task, collect)
