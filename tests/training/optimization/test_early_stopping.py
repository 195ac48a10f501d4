"""Early stopping: a function of the recorded rows."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from skipweave.data import DataConfig
from skipweave.inference import evaluate
from skipweave.training import EarlyStoppingConfig, FitConfig, ScheduleConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
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
    events = [json.loads(line) for line in folder.log_lines.read_text().splitlines()]
    assert [event["epoch"] for event in events if event["event"] == "stopped_early"] == [summary.epochs]
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


def test_the_best_of_equal_values_has_the_lowest_loss_also_after_a_kill(tiny: Tiny):
    config = tiny(epochs=6, batch_size=128, data=DataConfig(validation=10, augment=False))
    summary = fit(config)
    folder = RunDirectory(summary.run_dir)
    columns = ("val_top1_error", "val_loss", "epoch")
    with folder.metrics.open(newline="") as file:
        rows = [tuple(float(row[name]) for name in columns) for row in csv.DictReader(file)]
    *_, best = min(rows)
    assert [value for value, *_ in rows].count(min(rows)[0]) > 1  # else it tests nothing
    assert best != min(rows, key=lambda row: row[0])[2]
    assert open_saved(folder.best).info["epoch"] == best
    digest = open_saved(folder.weights).info["sha256"]
    for path in (folder.summary, folder.weights):
        path.unlink()
    fit(config, resume=folder.path)
    assert open_saved(folder.weights).info["sha256"] == digest


@pytest.mark.parametrize(
    "changes", [{"early_stopping": EarlyStoppingConfig(2)}, {"schedule": ScheduleConfig("plateau")}]
)
def test_validation_images_are_needed(tiny: Tiny, changes: dict[str, object]):
    with pytest.raises(SkipweaveError, match="digits has no validation images"):
        fit(tiny(data=DataConfig(validation=0), **changes))
