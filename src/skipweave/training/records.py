"""What a run writes down while it goes on: checkpoints, metrics, and events for TensorBoard."""

import shutil
from collections.abc import Sequence

from torch.utils.tensorboard import SummaryWriter

from skipweave.training.checkpoint import save
from skipweave.training.learner import Learner
from skipweave.training.run_folder import RunFolder
from skipweave.training.state import RunState, best_row
from skipweave.training.summary import EpochRow
from skipweave.training.weights import Description, save_weights

CHECKPOINT = "skipweave checkpoint 1"


class Records:
    """Writes into a run's folder; on processes other than the first, nowhere.

    A kill between two of its files loses nothing: the checkpoint holds every row, and what was written before it is
    written again, alike, when the run is resumed.

    Args:
        folder: of the run.
        description: of the network.
        active: whether this process writes.
    """

    def __init__(self, folder: RunFolder, description: Description, *, active: bool) -> None:
        self.folder = folder
        self.description = description
        self.active = active
        self._events: SummaryWriter | None = None

    def begin(self, rows: Sequence[EpochRow]) -> None:
        """Bring metrics and events to the epochs that the state has finished, and no further."""
        if self.active:
            shutil.rmtree(self.folder.events, ignore_errors=True)
            self._events = SummaryWriter(str(self.folder.events))
            for row in rows:
                self._log(row)
            self.folder.write_metrics(rows)

    def save(self, learner: Learner, state: RunState) -> None:
        """Write a checkpoint to resume from, and keep the one before."""
        if self.active:
            tensors, values = learner.state()
            described = {"format": CHECKPOINT, "description": self.description.as_plain()}
            self.folder.keep_last()
            save(self.folder.last, tensors, {**described, "state": state.as_plain(), **values})

    def end_epoch(self, learner: Learner, state: RunState) -> None:
        """Write the weights if they are the best so far, a checkpoint, and the epoch's row."""
        if self.active:
            best, row = best_row(state.rows), state.rows[-1]
            if best is row:
                save_weights(self.folder.best, learner.network.state_dict(), self.description, row.epoch)
            self.save(learner, state)
            self.folder.write_metrics(state.rows)
            self._log(row)

    def close(self) -> None:
        """Finish the events."""
        if self._events:
            self._events.close()

    def _log(self, row: EpochRow) -> None:
        if self._events:
            for name, value in row.as_columns().items():
                if value is not None and name not in ("epoch", "step"):
                    self._events.add_scalar(name.replace("_", "/", 1), value, row.step)
            self._events.flush()
