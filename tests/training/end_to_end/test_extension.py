"""A run resumed with more epochs goes on as a run of so many epochs, from its last checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from skipweave.training import Callback, EarlyStoppingConfig, FitConfig, RunStart, ScheduleConfig, fit
from skipweave.training.checkpoint.tensor_file import open_saved
from skipweave.training.run.run_directory import RunDirectory
from skipweave_cli import main
from skipweave_config.errors import SkipweaveError

Tiny = Callable[..., FitConfig]


class Notes(Callback):
    def on_fit_start(self, start: RunStart) -> None:
        self.notes = start.notes


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return open_saved(RunDirectory(folder).last).tensors()


def test_with_a_constant_rate_it_is_the_longer_run(tiny: Tiny):
    constant = ScheduleConfig(milestones=())
    short = fit(tiny(epochs=1, schedule=constant))
    longer = fit(tiny(epochs=3, schedule=constant))
    folder = RunDirectory(short.run_dir)
    notes = Notes()
    summary = fit(replace(folder.read_config(), epochs=3), resume=folder.path, callbacks=[notes])
    assert (summary.epochs, summary.run_dir) == (3, short.run_dir)
    ours, theirs = tensors(summary.run_dir), tensors(longer.run_dir)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert (summary.val_metrics, summary.test_metrics) == (longer.val_metrics, longer.test_metrics)
    assert folder.read_config().epochs == 3
    (note,) = (line for line in notes.notes if "extended" in line)
    assert "epochs: 3, not 1" in note
    assert "0.1" in note
    assert fit(folder.read_config(), resume=folder.path) == folder.read_summary()


def test_learning_rates_are_those_of_the_new_total(tiny: Tiny, capsys: pytest.CaptureFixture):
    run = fit(tiny(epochs=1, schedule=ScheduleConfig("linear")))
    assert main(["fit", "--resume", str(run.run_dir), "--epochs", "2"]) == 0
    rows = open_saved(RunDirectory(run.run_dir).last).info["state"]["rows"]
    assert [row["lr"] for row in rows] == pytest.approx([0.1 / 11, 0.1 / 22])
    assert "the schedule is now that of a run of 2 epochs; the next step has a learning rate of 0.05" in (
        capsys.readouterr().out
    )


def test_a_run_that_stopped_early_needs_another_patience(tiny: Tiny):
    config = tiny(epochs=9, batch_size=256, optim=replace(tiny().optim, lr=1e-9))
    config = replace(config, early_stopping=EarlyStoppingConfig(1))
    run = fit(config)
    assert run.stopped_early
    with pytest.raises(SkipweaveError, match="stopped early"):
        fit(replace(config, epochs=10), resume=run.run_dir)
    again = fit(replace(config, early_stopping=EarlyStoppingConfig()), resume=run.run_dir)
    assert (again.epochs, again.stopped_early) == (9, False)


def test_fewer_epochs_and_other_changes_are_refused(tiny: Tiny):
    run = fit(tiny(epochs=2, batch_size=256))
    config = RunDirectory(run.run_dir).read_config()
    for wrong in (replace(config, epochs=1), replace(config, epochs=3, seed=1)):
        with pytest.raises(SkipweaveError, match="cannot resume"):
            fit(wrong, resume=run.run_dir)
    assert RunDirectory(run.run_dir).read_summary() == run
