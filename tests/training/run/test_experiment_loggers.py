"""Loggers of experiment trackers: what they get, and that they cannot stop a run."""

import sys
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import MagicMock

import pytest

from skipweave.training import FitConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory

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
    logged.finish.assert_called_once_with()


def test_mlflow_gets_config_rows_and_test_metrics(tiny: Tiny, tracker: Callable[[str], MagicMock]):
    mlflow = tracker("mlflow")
    summary = fit(tiny(epochs=1, batch_size=256, loggers=("mlflow",)))
    assert mlflow.log_params.call_args.args[0]["optim.lr"] == 0.1
    row, test = mlflow.log_metrics.call_args_list
    assert row.kwargs["step"] == test.kwargs["step"] == 2
    assert test.args[0]["test_top1_error"] == summary.test_value
    mlflow.end_run.assert_called_once_with()


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
    digests = [open_saved(RunDirectory(run.run_dir).weights).info["sha256"] for run in (logged, fit(config))]
    assert digests[0] == digests[1]


def test_a_tracker_that_is_not_installed_is_reported(tiny: Tiny, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.warns(UserWarning, match="mlflow.*ModuleNotFoundError"):
        assert fit(tiny(epochs=1, batch_size=512, loggers=("mlflow",))).epochs == 1
