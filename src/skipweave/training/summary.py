"""What a finished run tells: the figures of each epoch and of the whole."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EpochRow:
    """One row of metrics.csv. Errors in percent; None where there is no validation split or fewer than 20 classes.

    Attributes:
        epoch: counted from 1.
        step: steps done since the start of the run.
        lr: learning rate of the epoch's last step.
        train_loss: mean cross-entropy over the epoch's batches, as they were met: augmented, the network in training.
        train_error: top-1, of the same.
        val_loss: mean cross-entropy over the validation split after the epoch.
        val_error: top-1, of the same.
        val_top5_error: top-5, of the same, where there are 20 classes or more.
        seconds: wall-clock time of the epoch, its validation included.
        step_seconds: median wall-clock time of a training step, data included.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_error: float
    val_loss: float | None
    val_error: float | None
    val_top5_error: float | None
    seconds: float
    step_seconds: float


@dataclass(frozen=True)
class RunSummary:
    """The figures of a finished run, and where it is. Errors are top-1 in percent, of the weights in model.safetensors.

    Attributes:
        run_dir: the run's folder.
        model: name of the network.
        args: its overrides, as asked for.
        seed: of the run.
        epochs: done.
        parameters: learnable parameters.
        weights: `best` if there is a validation split to choose by, else `last`.
        val_error: None without a validation split.
        test_error: None if the data has no test split.
        test_top5_error: None likewise, or with fewer than 20 classes.
        train_seconds: wall-clock time of all epochs, validation included.
        step_seconds: median over the epochs of their median time of a training step, data included.
    """

    run_dir: Path
    model: str
    args: dict[str, Any]
    seed: int
    epochs: int
    parameters: int
    weights: str
    val_error: float | None
    test_error: float | None
    test_top5_error: float | None
    train_seconds: float
    step_seconds: float

    def as_plain(self) -> dict[str, Any]:
        """The figures as JSON holds them."""
        return {**asdict(self), "run_dir": str(self.run_dir)}
