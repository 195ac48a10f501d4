"""Loggers of experiment trackers: what they get, and that they cannot stop a run."""

import re
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from skipweave.training import Callback, FitConfig, OptimConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.experiment_loggers import MlflowLogger
from skipweave.training.run.run_directory import RunDirectory
from skipweave.training.run.summary import EpochRow
from skipweave_config.errors import Stopped
from skipweave_config.recipe import EarlyStoppingConfig

Tiny = Callable[..., FitConfig]


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], MagicMock]:
    """Put a module of a name in the place of a tracker."""

    def install(name: str) -> MagicMock:
        module = MagicMock(name=name)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    monkeypatch.delenv("WANDB_MODE", raising=False)
    return install


def test_wandb_gets_config_rows_and_test_metrics(tiny: Tiny, tracker: Callable[[str], MagicMock]):
    wandb = tracker("wandb")
    summary = fit(tiny(batch_size=256, loggers=("wandb",)))
    options = wandb.init.call_args.kwargs
    assert options["mode"] == "offline"
    assert (options["name"], options["config"]["epochs"]) == (summary.run_dir.name, 2)
    logged = wandb.init.return_value
    assert [call.kwargs["step"] for call in logged.log.call_args_list] == [2, 4]
    assert logged.log.call_args.args[0]["val_top1_error"] is not None
    logged.summary.update.assert_called_once_with({f"test_{k}": v for k, v in summary.test_metrics.items()})
    logged.finish.assert_called_once_with(exit_code=0)


def test_mlflow_gets_config_rows_and_test_metrics(tiny: Tiny, tracker: Callable[[str], MagicMock]):
    mlflow = tracker("mlflow")
    summary = fit(tiny(epochs=1, batch_size=256, loggers=("mlflow",)))
    assert mlflow.log_params.call_args.args[0]["optim.lr"] == 0.1
    row, test = mlflow.log_metrics.call_args_list
    assert row.kwargs["step"] == test.kwargs["step"] == 2
    assert test.args[0]["test_top1_error"] == summary.test_value
    mlflow.end_run.assert_called_once_with(status="FINISHED")


@pytest.mark.parametrize("error", [RuntimeError("no\nnetwork"), SystemExit(1)])
@pytest.mark.parametrize("event", ["init", "log", "finish"])
def test_an_exception_becomes_one_warning(
    tiny: Tiny, tracker: Callable[[str], MagicMock], event: str, error: BaseException
):
    wandb = tracker("wandb")
    failing = {"init": wandb.init, "log": wandb.init.return_value.log, "finish": wandb.init.return_value.finish}
    failing[event].side_effect = error
    config = tiny(batch_size=512)
    with pytest.warns(UserWarning, match=f"wandb.*{type(error).__name__}") as caught:
        logged = fit(replace(config, loggers=("wandb",)))
    assert len(caught) == 1
    assert failing[event].call_count == 1
    assert wandb.init.return_value.finish.call_count == (event != "init")
    digests = [open_saved(RunDirectory(run.run_dir).weights).info["sha256"] for run in (logged, fit(config))]
    assert digests[0] == digests[1]


def test_a_tracker_that_is_not_installed_is_reported(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.warns(UserWarning, match="mlflow.*ModuleNotFoundError"):
        assert fit(tiny(epochs=1, batch_size=512, loggers=("mlflow",))).epochs == 1


class Raises(Callback):
    """Ends the run after its first epoch."""

    def __init__(self, end: Callable[[], None]) -> None:
        self.end = end

    def on_epoch_end(self, row: EpochRow) -> None:
        self.end()


def fail() -> None:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("end", "error"), [(fail, RuntimeError), (lambda: signal.raise_signal(signal.SIGTERM), Stopped)]
)
def test_trackers_are_closed_as_failed_however_a_run_ends(
    tiny: Tiny, tracker: Callable[[str], MagicMock], end: Callable[[], None], error: type[BaseException]
):
    wandb, mlflow = tracker("wandb"), tracker("mlflow")
    with pytest.raises(error):
        fit(tiny(epochs=3, batch_size=512, loggers=("wandb", "mlflow")), callbacks=[Raises(end)])
    wandb.init.return_value.finish.assert_called_once_with(exit_code=1)
    mlflow.end_run.assert_called_once_with(status="FAILED")


def test_trackers_are_closed_after_early_stopping(tiny: Tiny, tracker: Callable[[str], MagicMock]):
    mlflow = tracker("mlflow")
    still = OptimConfig(lr=1e-12, weight_decay=0)
    config = tiny(epochs=4, batch_size=512, early_stopping=EarlyStoppingConfig(1), optim=still, loggers=("mlflow",))
    assert fit(replace(config, monitor="top1_error")).stopped_early
    mlflow.end_run.assert_called_once_with(status="FINISHED")


def test_a_failing_tracker_is_closed_and_the_other_goes_on(tiny: Tiny, tracker: Callable[[str], MagicMock]):
    wandb, mlflow = tracker("wandb"), tracker("mlflow")
    mlflow.log_params.side_effect = RuntimeError("too long")
    with pytest.warns(UserWarning, match="mlflow.*too long"):
        fit(tiny(epochs=1, batch_size=512, loggers=("mlflow", "wandb")))
    mlflow.end_run.assert_called_once_with(status="FAILED")
    mlflow.log_metrics.assert_not_called()
    wandb.init.return_value.finish.assert_called_once_with(exit_code=0)


def test_mlflow_gets_names_that_it_accepts_for_any_classes(tracker: Callable[[str], MagicMock], tmp_path: Path):
    mlflow = tracker("mlflow")
    classes = ["a/b", "a:b", "../x", "ä (1)", "n" * 300, "n" * 301]
    figures = {f"iou_{name}": float(number) for number, name in enumerate(classes)}
    row = EpochRow(1, 2, 0.1, 0.5, {}, 0.5, figures, 1.0, 0.1)
    logger = MlflowLogger(FitConfig(output=tmp_path))
    logger.on_fit_start(MagicMock())
    logger.on_epoch_end(row)
    logged = mlflow.log_metrics.call_args.args[0]
    for name in (*logged, *mlflow.log_params.call_args.args[0]):
        assert re.fullmatch(r"[\w.\- ]{1,250}", name)
    values = [value for name, value in logged.items() if name.startswith("val_iou_")]
    assert values == list(figures.values())
