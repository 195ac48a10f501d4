"""What a run tells while it goes on, for whoever shows it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from skipweave.training.run.summary import EpochRow, RunSummary


@dataclass(frozen=True)
class RunStart:
    """What is about to be trained.

    Attributes:
        run_dir: the run's folder.
        model: name of the network.
        parameters: learnable parameters.
        data: name of the data set.
        images: of each split, by its name.
        device: as torch calls it.
        processes: that share each batch.
        epochs: of the whole run.
        steps: an epoch.
        epoch: epochs done already; above 0 if the run continues.
        step: steps of the present epoch done already.
        notes: what the user should know before it starts.
    """

    run_dir: Path
    model: str
    parameters: int
    data: str
    images: dict[str, int]
    device: str
    processes: int
    epochs: int
    steps: int
    epoch: int
    step: int
    notes: tuple[str, ...]


class Progress(Protocol):
    """Shows a run. Called in the process of rank 0."""

    def checked(self, done: int, total: int) -> None:
        """After each image that is read through before the run starts, where unreadable ones are to be skipped."""

    def started(self, start: RunStart) -> None:
        """Before the first step of this session."""

    def stepped(self, epoch: int, step: int, loss: float) -> None:
        """After each step; epoch is counted from 0, step is the number done in it."""

    def epoch_done(self, row: EpochRow) -> None:
        """After each epoch, validated and saved."""

    def finished(self, summary: RunSummary) -> None:
        """At the end, with everything written."""

    def close(self) -> None:
        """When nothing more is told, whatever the end."""


class Silent:
    """Shows nothing."""

    def checked(self, done: int, total: int) -> None:
        """Show nothing."""

    def started(self, start: RunStart) -> None:
        """Show nothing."""

    def stepped(self, epoch: int, step: int, loss: float) -> None:
        """Show nothing."""

    def epoch_done(self, row: EpochRow) -> None:
        """Show nothing."""

    def finished(self, summary: RunSummary) -> None:
        """Show nothing."""

    def close(self) -> None:
        """There is nothing to close."""
