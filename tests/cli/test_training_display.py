from pathlib import Path

import pytest

from skipweave.training import RunSummary
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
