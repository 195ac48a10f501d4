"""Callbacks: events of a run, for displays, logs and studies."""

from dataclasses import dataclass
from pathlib import Path

from skipweave.training.run.summary import EpochRow, RunSummary
from skipweave.training.tasks.metrics import Metric


@dataclass(frozen=True)
class RunStart:
    """What is about to be trained.

    Attributes:
        run_dir: The run directory.
        model: Name of the model.
        parameters: Number of parameters.
        trained_parameters: Number of those that are not frozen.
        data: Name of the dataset.
        images: Number of images of each split, by its name.
        device: Name of the device in PyTorch.
        processes: Number of processes.
        metric: The metric to choose the best checkpoint by.
        epochs: Epochs of the whole run.
        steps: Steps per epoch.
        epoch: Epochs done already; above 0 if the run is resumed.
        step: Steps of the present epoch done already.
        notes: What the user should know before training starts.
    """

    run_dir: Path
    model: str
    parameters: int
    trained_parameters: int
    data: str
    images: dict[str, int]
    device: str
    processes: int
    metric: Metric
    epochs: int
    steps: int
    epoch: int
    step: int
    notes: tuple[str, ...]


class Callback:
    """Base class of callbacks; every method does nothing.

    Methods are called in the process of rank 0. With several devices a callback must be picklable.
    """

    def on_image_checked(self, done: int, total: int) -> None:
        """Called after each image that is read before training, where unreadable ones are to be skipped."""

    def on_fit_start(self, start: RunStart) -> None:
        """Called before the first step."""

    def on_step_end(self, epoch: int, step: int) -> None:
        """Called after each step; epoch is counted from 0, step is the number of steps done in it.

        The device may still be computing the step.
        """

    def on_log(self, epoch: int, step: int, loss: float) -> None:
        """Called when the losses of the latest steps are known; `loss` is the mean over the epoch so far."""

    def on_epoch_end(self, row: EpochRow) -> None:
        """Called after each epoch, its validation and its checkpoint."""

    def on_fit_end(self, summary: RunSummary) -> None:
        """Called at the end of training, when everything is written."""

    def teardown(self) -> None:
        """Called last, also if training ends by an exception."""
