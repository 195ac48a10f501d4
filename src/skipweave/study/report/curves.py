"""Learning curves of a study: mean and range over seeds at each epoch."""

from dataclasses import dataclass
from statistics import fmean

from skipweave.study.results import Epoch, Results

#: Curves: key, name of the plot's files.
CURVES = {"curves": "learning_curves", "loss": "training_loss"}


@dataclass(frozen=True)
class Curve:
    """Values of a network at each epoch, over the seeds that reached it; all of one length."""

    epochs: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


def has_validation(results: Results) -> bool:
    """Whether the study has a validation split."""
    return any(epoch.val_value is not None for run in results.runs for epoch in run.curve)


def curve_of(results: Results, label: str, key: str) -> Curve | None:
    """The training loss of a network (`loss`), or the metric (`curves`) on the validation split if there is one.

    Returns:
        None where no epoch has a value.
    """
    validation = has_validation(results)
    at: dict[int, list[float]] = {}
    for run in results.runs:
        for epoch in run.curve if run.label == label else ():
            if (value := _value(epoch, key, validation=validation)) is not None:
                at.setdefault(epoch.epoch, []).append(value)
    if not at:
        return None
    epochs = tuple(sorted(at))
    means, lows, highs = (tuple(pick(at[epoch]) for epoch in epochs) for pick in (fmean, min, max))
    return Curve(epochs, means, lows, highs)


def _value(epoch: Epoch, key: str, *, validation: bool) -> float | None:
    if key == "loss":
        return epoch.train_loss
    return epoch.val_value if validation else epoch.train_value
