"""The records of a run in progress: checkpoints, metrics, TensorBoard events, and a log."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from skipweave.training.checkpoint.run_state import RunState, best_row
from skipweave.training.checkpoint.tensor_file import save
from skipweave.training.checkpoint.weights_file import Description, save_weights
from skipweave.training.learner import Learner
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.run_log import RunLog
from skipweave.training.run.summary import EpochRow
from skipweave.training.run.tensorboard_events import Events

CHECKPOINT = "skipweave checkpoint 1"


class Records:
    """Writes into a run directory, in the first process only.

    If the process is killed between two writes, nothing is lost: the checkpoint has every row, and resuming rewrites
    the files. A file that cannot be written raises a `SkipweaveError` with
    the remaining checkpoints.
    """

    def __init__(self, folder: RunDirectory, description: Description, *, active: bool) -> None:
        self.folder = folder
        self.description = description
        self.active = active
        self._events: Events | None = None
        self._run_log = RunLog(folder.log, folder.log_lines) if active else None

    def begin(self, rows: Sequence[EpochRow]) -> None:
        """Write metrics and events of the finished epochs only."""
        if self.active:
            with self.folder.writing():
                self.folder.write_metrics(rows)
                self.folder.divergence.unlink(missing_ok=True)
                shutil.rmtree(self.folder.events, ignore_errors=True)
                self._events = Events(self.folder.events)
                for row in rows:
                    self._add_events(row)

    def log(self, event: str, sentence: str, **values: Any) -> None:
        """Add an entry to the log."""
        if self._run_log:
            self._run_log.add(event, sentence, values)

    def save(self, learner: Learner, state: RunState) -> None:
        """Write a checkpoint to resume from, and keep the one before."""
        if self.active:
            with self.folder.writing():
                tensors, values = learner.state()
                described = {"format": CHECKPOINT, "description": self.description.as_plain()}
                self.folder.keep_last()
                save(self.folder.last, tensors, {**described, "state": state.as_plain(), **values})

    def end_epoch(self, learner: Learner, state: RunState) -> None:
        """Write the weights if they are the best so far, a checkpoint, and the epoch's row."""
        if self.active:
            metric, row = state.metrics.metric, state.rows[-1]
            best = best_row(state.rows, metric)
            with self.folder.writing():
                if best is row:
                    save_weights(self.folder.best, learner.evaluated.state_dict(), self.description, row.epoch)
                self.save(learner, state)
                self.folder.write_metrics(state.rows)
                self._add_events(row)
            value = row.val_metrics.get(metric.name)
            val = "" if value is None else f", validation {metric.label} {metric.text(value)}"
            chosen = ", the best so far" if best is row else ""
            self.log("epoch", f"epoch {row.epoch} done: loss {row.train_loss:.4f}{val}{chosen}", **row.as_columns())

    def write_divergence(self, values: Mapping[str, Any]) -> None:
        """Write the divergence report."""
        if self.active:
            with self.folder.writing():
                self.folder.write_divergence(values)

    def close(self) -> None:
        """Close the events."""
        if self._events:
            self._events.close()

    def _add_events(self, row: EpochRow) -> None:
        if self._events:
            columns = row.as_columns().items()
            scalars = {name.replace("_", "/", 1): value for name, value in columns if value is not None}
            self._events.add({name: scalars[name] for name in scalars if name not in ("epoch", "step")}, row.step)
