"""What a finished run tells: the figures of each epoch and of the whole.

`error` is the figure to compare by, in percent: top-1 errors, or with label maps what the mean intersection over union
lacks to 100.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skipweave.training.tasks.metrics import Metrics

_EXIT = re.compile(r"exit\d+_error")


@dataclass(frozen=True)
class EpochRow:
    """One row of metrics.csv. Validation figures are None, or none, where there is no validation split.

    Attributes:
        epoch: counted from 1.
        step: steps done since the start of the run.
        lr: learning rate of the epoch's last step.
        train_loss: mean loss over the epoch's batches, as they were met: augmented, the network in training.
        train_error: of the same.
        val_loss: mean cross-entropy of the last head over the validation split after the epoch.
        val_error: of the same.
        val_scores: further scores of the same, in percent, by the names of `further_scores`.
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
    val_scores: dict[str, float]
    seconds: float
    step_seconds: float

    def as_columns(self) -> dict[str, float | None]:
        """The figures by column of metrics.csv: further scores stand beside the validation error, as `val_NAME`."""
        columns: dict[str, float | None] = {}
        for name, value in vars(self).items():
            further = {f"val_{key}": score for key, score in value.items()} if name == "val_scores" else {name: value}
            columns |= further
        return columns


@dataclass
class Phase:
    """The steps that were taken at one density of a network that gains links.

    Attributes:
        density: share of its input channels that each output of the sparse layers reads.
        steps: taken.
        seconds: wall-clock time of these steps, data included.
    """

    density: float
    steps: int = 0
    seconds: float = 0.0

    @property
    def steps_per_second(self) -> float:
        """How fast the steps were."""
        return self.steps / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class RunSummary:
    """The figures of a finished run, and where it is. Metrics are those of the weights in model.safetensors.

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
        test_scores: further scores on the test split, in percent, by the names of `further_scores`.
        train_seconds: wall-clock time of all epochs, validation included.
        step_seconds: median over the epochs of their median time of a training step, data included.
        phases: by density, if the network gained links while it trained.
        skipped: training images that were left out, as they cannot be read; skipped.csv names them.
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
    test_scores: dict[str, float]
    train_seconds: float
    step_seconds: float
    phases: tuple[Phase, ...] = ()
    skipped: int = 0

    @property
    def test_exit_errors(self) -> tuple[float, ...]:
        """Test error of each exit before the last head, in order; none for a network of one head."""
        return tuple(value for name, value in self.test_scores.items() if _EXIT.fullmatch(name))

    def as_plain(self) -> dict[str, Any]:
        """The figures as JSON holds them."""
        return {**asdict(self), "run_dir": str(self.run_dir)}


def further_scores(heads: Sequence[Metrics]) -> dict[str, float]:
    """What is told of a split beside its loss and error, in percent.

    Args:
        heads: scores of every head, the network's own last; or nothing.

    Returns:
        Further scores of the last head, such as `top5_error` or `mean_iou`; then `exit1_error`, `exit2_error`, ... of
        the heads before it.
    """
    exits = {f"exit{number}_error": early.error for number, early in enumerate(heads[:-1], start=1)}
    return {**heads[-1].further, **exits} if heads else {}
