"""Early stopping: a function of the recorded rows."""

import csv
from collections.abc import Callable
from dataclasses import replace

import pytest

from skipweave.data import DataConfig
from skipweave.inference import evaluate
from skipweave.training import EarlyStoppingConfig, FitConfig, ScheduleConfig, fit
from skipweave.training.run.run_directory import RunDirectory
from skipweave_config.errors import SkipweaveError

Tiny = Callable[..., FitConfig]


def test_a_run_stops_once_the_metric_has_not_improved_for_so_many_epochs(tiny: Tiny):
    config = tiny(
        epochs=50,
        batch_size=256,
        schedule=ScheduleConfig("cosine", min_lr=0.0),
        optim=replace(tiny().optim, lr=1e-7),
        early_stopping=EarlyStoppingConfig(2),
    )
    summary = fit(config)
    folder = RunDirectory(summary.run_dir)
    assert summary.stopped_early
    assert 3 <= summary.epochs < 50
    folder.summary.unlink()  # as after a kill between the last epoch and the summary
    again = fit(config, resume=folder.path)
    assert replace(again, train_seconds=0) == replace(summary, train_seconds=0)
    assert folder.metrics.read_text().count("\n") == summary.epochs + 1


@pytest.mark.parametrize("monitor", ["loss", "balanced_accuracy"])
def test_the_monitored_metric_chooses_the_best_epoch_and_the_end(tiny: Tiny, monitor: str):
    config = tiny(epochs=9, batch_size=256, monitor=monitor, early_stopping=EarlyStoppingConfig(2))
    summary = fit(config)
    with (summary.run_dir / "metrics.csv").open(newline="") as file:
        values = [float(row[f"val_{monitor}"]) for row in csv.DictReader(file)]
    best = min(values) if monitor == "loss" else max(values)
    assert summary.metric == monitor
    assert summary.val_value == best
    assert summary.epochs == min(9, values.index(best) + 3)
    assert evaluate(summary.run_dir, "validation")[-1].value == pytest.approx(best)


@pytest.mark.parametrize(
    "changes", [{"early_stopping": EarlyStoppingConfig(2)}, {"schedule": ScheduleConfig("plateau")}]
)
def test_validation_images_are_needed(tiny: Tiny, changes: dict[str, object]):
    with pytest.raises(SkipweaveError, match="digits has no validation images"):
        fit(tiny(data=DataConfig(validation=0), **changes))
