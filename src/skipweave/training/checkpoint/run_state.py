"""Where a run stands between two steps, and its way into a checkpoint and back."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from skipweave.errors import SkipweaveError
from skipweave.training.run.summary import EpochRow, Phase
from skipweave.training.tasks.metrics import Metrics
from skipweave_config.validation import validate_json


@dataclass
class RunState:
    """Everything that a step changes besides the network and the optimizer.

    Attributes:
        scores: of the present epoch so far.
        epoch: epochs finished.
        step: steps done in the present epoch.
        seconds: wall-clock time of the present epoch so far.
        rows: the finished epochs.
        phases: of a network that gains links.
    """

    scores: Metrics
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
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

    def finish_epoch(self, row: EpochRow) -> None:
        """Go to the start of the next epoch."""
        self.rows.append(row)
        self.scores.sums.zero_()
        self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0

    def as_plain(self) -> dict[str, Any]:
        """The state as JSON holds it; floats survive exactly."""
        rows, phases = ([asdict(item) for item in items] for items in (self.rows, self.phases))
        return {**vars(self), "scores": self.scores.sums.tolist(), "rows": rows, "phases": phases}

    @classmethod
    def from_plain(cls, values: Any, scores: Metrics) -> "RunState":
        """The inverse of `as_plain`.

        Args:
            values: what that gave.
            scores: of nothing yet, of the run's task; they become the state's.

        Raises:
            SkipweaveError: values are missing, unknown or of other types.
        """
        hints = {
            "scores": Any,
            "epoch": int,
            "step": int,
            "seconds": float,
            "rows": list[EpochRow],
            "phases": list[Phase],
        }
        try:
            made = {name: validate_json(hint, values[name], name) for name, hint in hints.items()}
            scores.add(torch.tensor(made["scores"], dtype=torch.float64))
            if not (0 <= made["epoch"] == len(made["rows"]) and made["step"] >= 0):
                raise ValueError(f"epoch {made['epoch']} and step {made['step']} with {len(made['rows'])} rows")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise SkipweaveError(f"the checkpoint's state is not of this version of skipweave ({error})") from error
        return cls(**{**made, "scores": scores})


def best_row(rows: Sequence[EpochRow]) -> EpochRow | None:
    """The epoch of lowest validation error, the first of equals; None without a validation split.

    What is no number is never the best.
    """
    validated = [row for row in rows if row.val_error is not None and math.isfinite(row.val_error)]
    return min(validated, key=lambda row: row.val_error or 0.0, default=None)
