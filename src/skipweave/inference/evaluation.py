"""Evaluate the network of a run on a split of its data."""

from pathlib import Path

from skipweave.data import epoch_loader
from skipweave.training.auxiliary_heads import AllHeads, count_heads
from skipweave.training.distributed.devices import make_fabric
from skipweave.training.run.loading import RunImages, Split, Which, load_run_images
from skipweave.training.tasks.metrics import Metrics
from skipweave.training.tasks.task import score, task_for
from skipweave_config.recipe import LossConfig


def evaluate(
    run_dir: Path,
    split: Split = "test",
    which: Which = "best",
    *,
    root: Path | None = None,
    accelerator: str = "auto",
    workers: int = 0,
) -> list[Metrics]:
    """Score a run's network on a split of the run's data, every head of it.

    Args:
        run_dir: the run's folder.
        split: train (not augmented), validation or test.
        which: as for `load_run`.
        root: where the data is now; by default where the run read it.
        accelerator: auto, cpu, gpu, cuda or mps.
        workers: processes that read ahead.

    Returns:
        Loss, error and further scores of each head: exit after exit if the network has such, its own last.

    Raises:
        SkipweaveError: the run or its data is missing or does not fit, or there is no such split.
    """
    return score_images(load_run_images(run_dir, split, which, root), accelerator=accelerator, workers=workers)


def score_images(run: RunImages, *, accelerator: str = "auto", workers: int = 0) -> list[Metrics]:
    """Score every head of a run's network on images that were loaded, as `evaluate` does."""
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
    return score(fabric, fabric.setup_module(AllHeads(run.network)).eval(), count_heads(run.network), batches, task)
