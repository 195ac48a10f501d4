from pathlib import Path

import pytest

from skipweave.training import EpochRow, RunStart, RunSummary
from skipweave.training.tasks.metrics import TOP1_ERROR
from skipweave_cli.training_display import RunDisplay
from tests.errors import assert_each_reports, assert_reports


@pytest.mark.parametrize("skipped", [0, 2])
def test_the_number_of_skipped_images_is_printed(skipped: int, capsys: pytest.CaptureFixture[str]):
    summary = RunSummary(Path("runs/a"), "net", {}, 0, 1, 10, "last", "top1_error", {}, {}, 1.0, 0.1, skipped=skipped)
    display = RunDisplay()
    display.on_image_checked(1, 2)
    display.on_fit_end(summary)
    *notes, last = capsys.readouterr().out.splitlines()
    assert_reports(last, "runs/a")
    assert_each_reports(notes, *[(2, "skipped.csv")] * bool(skipped))


def test_the_lines_of_epochs_align(capsys: pytest.CaptureFixture[str]):
    display = RunDisplay()
    for epoch, lr, loss, error, seconds in ((1, 0.1, 12.5, 100.0, 9.9), (2, 1.23e-05, 0.25, 8.5, 10.0)):
        metrics = {"top1_error": error}
        display.on_epoch_end(EpochRow(epoch, epoch, lr, loss, metrics, 1.0, metrics, seconds, 0.1))
    first, second = capsys.readouterr().out.splitlines()
    assert len(first) == len(second)
    assert [first.index(word) for word in ("loss", "training", "validation")] == [
        second.index(word) for word in ("loss", "training", "validation")
    ]


@pytest.mark.parametrize(("trained", "named"), [(9000, [9000]), (70, [9000, 70])])
def test_frozen_parameters_are_told_apart(trained: int, named: list[int], capsys: pytest.CaptureFixture[str]):
    display = RunDisplay()
    display.on_fit_start(RunStart(Path("runs"), "m", 9000, trained, "digits", {}, "cpu", 1, TOP1_ERROR, 1, 1, 0, 0, ()))
    display.teardown()
    line, *_ = capsys.readouterr().out.splitlines()
    assert_reports(line, *(f"{number:,}" for number in named))
    assert ("trained" in line) == (trained != 9000)
