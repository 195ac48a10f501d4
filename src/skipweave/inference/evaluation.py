"""Evaluation of a run's network on a split of its dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skipweave.data import epoch_loader
from skipweave.training.auxiliary_heads import AllHeads, count_heads
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.run.loading import RunImages, Split, Which, load_run_images
from skipweave.training.tasks.metrics import Metrics
from skipweave.training.tasks.task import evaluate_heads, task_for
from skipweave_config.recipe import LossConfig


def evaluate(
    run_dir: Path,
    split: Split = "test",
    which: Which = "best",
    *,
    root: Path | None = None,
    accelerator: str = "auto",
    workers: int = 0,
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
        datasets: Datasets by split, if the run was trained on such.

    Returns:
        Loss and metrics of each head, early exits first.

    Raises:
        SkipweaveError: The run or its data is missing or does not fit, or there is no such split.
    """
    return evaluate_images(
        load_run_images(run_dir, split, which, root, datasets), accelerator=accelerator, workers=workers
    )


def evaluate_images(run: RunImages, *, accelerator: str = "auto", workers: int = 0) -> list[Metrics]:
    """Evaluate every head of a run's network on images that are loaded already, as `evaluate` does."""
    fabric = make_fabric(accelerator)
    task = task_for(run.data, LossConfig())
    batches = epoch_loader(
        run.images,
        run.data.eval_transform,
        batch_size=task.evaluation_batch(run.config.batch_size),
        seed=0,
        epoch=0,
        shuffle=False,
        workers=workers,
    )
    return evaluate_heads(
        fabric, fabric.setup_module(AllHeads(run.network)).eval(), count_heads(run.network), batches, task
    )
