"""The state of a run between two steps, as a checkpoint stores it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from skipweave.training.energy import Energy
from skipweave.training.run.summary import EpochRow, Phase
from skipweave.training.tasks.metrics import Metric, Metrics
from skipweave_config.errors import SkipweaveError
from skipweave_config.validation import validate_json


@dataclass
class RunState:
    """What a step changes, except the network and the optimizer.

    Attributes:
        metrics: Metrics of the present epoch so far.
        epoch: Epochs finished.
        step: Steps done in the present epoch.
        seconds: Wall-clock time of the present epoch so far.
        energy: Energy of the present epoch so far; None before its first reading.
        rows: The finished epochs.
        phases: Phases of a network with added links.
    """

    metrics: Metrics
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    energy: Energy | None = None
    rows: list[EpochRow] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    def count_step(self, density: float | None) -> None:
        """Count a step, and the density at which it was taken if links are added while training."""
        self.step += 1
        if density is None:
            return
        if not self.phases or self.phases[-1].density != density:
            self.phases.append(Phase(density))
        self.phases[-1].steps += 1

    def add_seconds(self, seconds: float) -> None:
        """Add the wall-clock time of the latest steps."""
        self.seconds += seconds
        if self.phases:
            self.phases[-1].seconds += seconds

    def add_energy(self, energy: Energy) -> None:
        """Add the energy of the latest steps; a part that one reading lacks, as of another machine, is dropped."""
        so_far = dict.fromkeys(energy, 0.0) if self.energy is None else self.energy
        self.energy = {part: so_far[part] + energy[part] for part in energy if part in so_far}

    def finish_epoch(self, row: EpochRow) -> None:
        """Go to the start of the next epoch."""
        self.rows.append(row)
        self.metrics.sums.zero_()
        self.epoch, self.step, self.seconds, self.energy = self.epoch + 1, 0, 0.0, None

    def as_plain(self) -> dict[str, Any]:
        """The state as JSON values; floats are exact."""
        rows, phases = ([asdict(item) for item in items] for items in (self.rows, self.phases))
        return {**vars(self), "metrics": self.metrics.sums.tolist(), "rows": rows, "phases": phases}

    @classmethod
    def from_plain(cls, values: Any, metrics: Metrics) -> "RunState":
        """The inverse of `as_plain`.

        Args:
            values: Return value of `as_plain`.
            metrics: Empty metrics of the run's task; filled, and kept by the returned state.

        Raises:
            SkipweaveError: Values are missing, unknown or of other types.
        """
        hints = {
            "metrics": Any,
            "epoch": int,
            "step": int,
            "seconds": float,
            "energy": Energy | None,
            "rows": list[EpochRow],
            "phases": list[Phase],
        }
        try:
            values = {"energy": {} if values["step"] else None, **values}  # older checkpoints have none
            made = {name: validate_json(hint, values[name], name) for name, hint in hints.items()}
            metrics.add(torch.tensor(made["metrics"], dtype=torch.float64))
            if not (0 <= made["epoch"] == len(made["rows"]) and made["step"] >= 0):
                raise ValueError(f"epoch {made['epoch']} and step {made['step']} with {len(made['rows'])} rows")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SkipweaveError(f"the checkpoint's state is not of this version of skipweave ({error})") from error
        return cls(**{**made, "metrics": metrics})


def best_row(rows: Sequence[EpochRow], metric: Metric) -> EpochRow | None:
    """Return the epoch with the best validation value of a metric, or None if there is none.

    Of equal values, as small validation splits often have, that with the lowest validation loss is the best; of equal
    losses the first. A non-finite value is never the best.
    """
    return min(_validated(rows, metric), key=lambda row: (_rank(row, metric), row.val_loss or 0.0), default=None)


def last_improvement(rows: Sequence[EpochRow], metric: Metric) -> EpochRow | None:
    """Return the first epoch with the best validation value of a metric, or None if there is none."""
    return min(_validated(rows, metric), key=lambda row: _rank(row, metric), default=None)


def _validated(rows: Sequence[EpochRow], metric: Metric) -> list[EpochRow]:
    return [row for row in rows if math.isfinite(row.val_metrics.get(metric.name, math.nan))]


def _rank(row: EpochRow, metric: Metric) -> float:
    return metric.rank(row.val_metrics[metric.name])
