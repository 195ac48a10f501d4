"""Figures of each epoch of a run, and of a finished run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from skipweave.training.energy import Energy


@dataclass(frozen=True)
class EpochRow:
    """One row of metrics.csv. Without a validation split, validation figures are None, or empty.

    Attributes:
        epoch: Counted from 1.
        step: Steps since the start of the run.
        lr: Learning rate of the epoch's last step.
        train_loss: Mean loss over the epoch's batches, augmented and in training mode.
        train_metrics: Metrics of the same, by name; that to compare by first.
        val_loss: Mean cross-entropy of the last head over the validation split after the epoch.
        val_metrics: Metrics of the same, by the names of `skipweave.training.tasks.metrics.of_heads`; if weights are
            averaged, those of the average, and of the network in training as `raw_NAME`.
        seconds: Wall-clock time of the epoch, its validation included.
        step_seconds: Median wall-clock time of a training step, data included.
        energy_wh: Energy of the epoch, its validation included, in watt-hours: `cpu` and `gpu`, as far as there are
            counters and the run was alone on them (`skipweave.training.energy`).
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_metrics: dict[str, float]
    val_loss: float | None
    val_metrics: dict[str, float]
    seconds: float
    step_seconds: float
    energy_wh: Energy = field(default_factory=dict)

    def as_columns(self) -> dict[str, float | None]:
        """The figures by column of metrics.csv, metrics as `train_NAME` and `val_NAME`, energy as `cpu_energy_wh`."""
        columns: dict[str, float | None] = {}
        for name, value in vars(self).items():
            split, _, kind = name.partition("_")
            if kind == "metrics":
                columns |= {f"{split}_{key}": one for key, one in value.items()}
            elif name == "energy_wh":
                columns |= {f"{part}_{name}": one for part, one in value.items()}
            else:
                columns[name] = value
        return columns

    @classmethod
    def of_columns(cls, columns: Mapping[str, str]) -> "EpochRow":
        """The figures from a row of metrics.csv.

        Raises:
            KeyError: A column is missing.
            ValueError: A figure is none.
        """
        metrics = {
            split: {
                name.removeprefix(f"{split}_"): float(text)
                for name, text in columns.items()
                if name.startswith(f"{split}_") and name != f"{split}_loss" and text
            }
            for split in ("train", "val")
        }
        val_loss = columns["val_loss"]
        return cls(
            epoch=int(columns["epoch"]),
            step=int(columns["step"]),
            lr=float(columns["lr"]),
            train_loss=float(columns["train_loss"]),
            train_metrics=metrics["train"],
            val_loss=float(val_loss) if val_loss else None,
            val_metrics=metrics["val"],
            seconds=float(columns["seconds"]),
            step_seconds=float(columns["step_seconds"]),
        )


def total_energy(rows: Sequence[EpochRow]) -> Energy:
    """Energy of the parts that all epochs have."""
    parts = set.intersection(*(set(row.energy_wh) for row in rows)) if rows else ()
    return {part: sum(row.energy_wh[part] for row in rows) for part in sorted(parts)}


@dataclass
class Phase:
    """The steps at one density of a network that is densified while it trains.

    Attributes:
        density: Fraction of the input channels that each output of the sparse layers reads.
        steps: Taken.
        seconds: Wall-clock time of these steps, data included.
    """

    density: float
    steps: int = 0
    seconds: float = 0.0

    @property
    def steps_per_second(self) -> float:
        """Mean speed of the steps."""
        return self.steps / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class RunSummary:
    """The figures of a finished run. Metrics are those of the weights in model.safetensors.

    Attributes:
        run_dir: The run directory.
        model: Name of the network.
        args: Its overrides, as asked for.
        seed: Of the run.
        epochs: Done.
        parameters: Number of parameters.
        weights: `best` if there is a validation split to choose by, else `last`.
        metric: Name of the metric to compare by.
        val_metrics: Metrics on the validation split, by the names of `skipweave.training.tasks.metrics.of_heads`;
            empty without one.
        test_metrics: Metrics on the test split, likewise; with test-time augmentation as `tta_NAME`, if asked for.
        train_seconds: Wall-clock time of all epochs, validation included.
        step_seconds: Median over the epochs of their median time of a training step, data included.
        phases: By density, if the network gained links while it trained.
        skipped: Training images that were left out, as they cannot be read; skipped.csv names them.
        stopped_early: Whether training stopped before the last epoch, as the metric did not improve any more.
        trained_parameters: Number of parameters that are not frozen (`freeze`, `freeze_norms`).
        energy_wh: Energy of all epochs, as for `EpochRow`; without the parts that an epoch lacks.
        fold: Fold of a cross-validation that was held out (`data.fold`); None without folds.
    """

    run_dir: Path
    model: str
    args: dict[str, Any]
    seed: int
    epochs: int
    parameters: int
    weights: str
    metric: str
    val_metrics: dict[str, float]
    test_metrics: dict[str, float]
    train_seconds: float
    step_seconds: float
    phases: tuple[Phase, ...] = ()
    skipped: int = 0
    stopped_early: bool = False
    trained_parameters: int | None = None
    fold: int | None = None
    energy_wh: Energy = field(default_factory=dict)

    @property
    def val_value(self) -> float | None:
        """Value of `metric` on the validation split; None without one."""
        return self.val_metrics.get(self.metric)

    @property
    def test_value(self) -> float | None:
        """Value of `metric` on the test split; None without one."""
        return self.test_metrics.get(self.metric)

    @property
    def tta_value(self) -> float | None:
        """Value of `metric` on the test split with test-time augmentation; None if it was not asked for."""
        return self.test_metrics.get(f"tta_{self.metric}")

    @property
    def test_exit_values(self) -> tuple[float, ...]:
        """Value of `metric` of each early exit on the test split, in order; empty for a network of one head."""
        name = re.compile(rf"exit\d+_{self.metric}")
        return tuple(value for key, value in self.test_metrics.items() if name.fullmatch(key))

    def as_plain(self) -> dict[str, Any]:
        """The figures as JSON holds them."""
        return {**asdict(self), "run_dir": str(self.run_dir)}
