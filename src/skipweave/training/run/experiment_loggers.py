"""Loggers of experiment trackers, which cannot stop a run: an exception of theirs becomes one warning.

A tracker is imported when the run starts, so it need not be installed otherwise.
"""

import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from typing import Any

from skipweave.training.callbacks import Callback, RunStart
from skipweave.training.run.summary import EpochRow, RunSummary
from skipweave_config.config_files import as_plain
from skipweave_config.fit_config import FitConfig, leaves

_MAX_NAME = 240  # MLflow allows 250 characters


class Guarded(Callback):
    """A callback that is torn down and dropped with a warning at its first exception.

    Args:
        callback: The callback.
        name: Its name in the warning.
    """

    def __init__(self, callback: Callback, name: str) -> None:
        self._callback: Callback | None = callback
        self._name = name

    def on_fit_start(self, start: RunStart) -> None:
        """Pass the event on."""
        self._call(lambda callback: callback.on_fit_start(start))

    def on_epoch_end(self, row: EpochRow) -> None:
        """Pass the event on."""
        self._call(lambda callback: callback.on_epoch_end(row))

    def on_fit_end(self, summary: RunSummary) -> None:
        """Pass the event on."""
        self._call(lambda callback: callback.on_fit_end(summary))

    def teardown(self) -> None:
        """Pass the event on, unless that was done after an exception."""
        callback, self._callback = self._callback, None
        if callback:
            self._guard(callback.teardown)

    def _call(self, event: Callable[[Callback], None]) -> None:
        callback = self._callback
        if callback and not self._guard(lambda: event(callback)):
            self._callback = None
            with suppress(Exception, SystemExit):  # one warning is enough
                callback.teardown()

    def _guard(self, event: Callable[[], None]) -> bool:
        """Whether an event raises no exception; one becomes a warning."""
        try:
            event()
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warnings.warn(f"{self._name} logs no more of this run ({reason})", stacklevel=1)
            return False
        return True


class WandbLogger(Callback):
    """Weights & Biases. Offline unless WANDB_MODE is set: files in the run directory, to upload with `wandb sync`."""

    def __init__(self, config: FitConfig) -> None:
        self._config = config
        self._run: Any = None
        self._failed = True

    def on_fit_start(self, start: RunStart) -> None:
        """Start a run of the name of the run directory."""
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "skipweave"),
            name=start.run_dir.name,
            dir=str(start.run_dir),
            config=as_plain(self._config),
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def on_epoch_end(self, row: EpochRow) -> None:
        """Log the epoch's row."""
        self._run.log(_figures(row), step=row.step)

    def on_fit_end(self, summary: RunSummary) -> None:
        """Log the test metrics."""
        self._failed = False
        self._run.summary.update({f"test_{name}": value for name, value in summary.test_metrics.items()})

    def teardown(self) -> None:
        """Finish the run, as failed if training did not end."""
        if self._run:
            self._run.finish(exit_code=int(self._failed))


class MlflowLogger(Callback):
    """MLflow, in the tracking store of MLFLOW_TRACKING_URI, and the experiment of MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, config: FitConfig) -> None:
        self._config = config
        self._step = 0
        self._mlflow: Any = None
        self._failed = True

    def on_fit_start(self, start: RunStart) -> None:
        """Start a run, with the config as parameters."""
        import mlflow

        mlflow.start_run(run_name=start.run_dir.name)
        self._mlflow = mlflow
        mlflow.log_params(_mlflow_names(dict(leaves(as_plain(self._config)))))

    def on_epoch_end(self, row: EpochRow) -> None:
        """Log the epoch's row."""
        self._step = row.step
        self._mlflow.log_metrics(_mlflow_names(_figures(row)), step=row.step)

    def on_fit_end(self, summary: RunSummary) -> None:
        """Log the test metrics."""
        self._failed = False
        test = {f"test_{name}": value for name, value in summary.test_metrics.items()}
        self._mlflow.log_metrics(_mlflow_names(test), step=self._step)

    def teardown(self) -> None:
        """End the run, as failed if training did not end."""
        if self._mlflow:
            self._mlflow.end_run(status="FAILED" if self._failed else "FINISHED")


_LOGGERS: dict[str, Callable[[FitConfig], Callback]] = {"wandb": WandbLogger, "mlflow": MlflowLogger}


def make_loggers(config: FitConfig) -> Sequence[Callback]:
    """The loggers that a config names."""
    return [Guarded(_LOGGERS[name](config), name) for name in config.loggers]


def _figures(row: EpochRow) -> dict[str, float]:
    return {name: value for name, value in row.as_columns().items() if value is not None}


def _mlflow_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by names that MLflow accepts: other characters, as of class names, are replaced by underscores.

    >>> _mlflow_names({"val_iou_a/b": 1, "val_iou_a:b": 2})
    {'val_iou_a_b': 1, 'val_iou_a_b_2': 2}
    """
    named: dict[str, Any] = {}
    for name, value in values.items():
        valid = re.sub(r"[^\w.\- ]", "_", name)[:_MAX_NAME]
        numbered = (f"{valid}_{number}" for number in count(2))
        named[next(one for one in chain([valid], numbered) if one not in named)] = value
    return named
