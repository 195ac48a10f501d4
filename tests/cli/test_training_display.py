from pathlib import Path

import pytest

from skipweave.training import RunSummary
from skipweave_cli.training_display import RunDisplay


@pytest.mark.parametrize("skipped", [0, 2])
def test_the_last_lines_tell_how_many_images_were_left_out(skipped: int, capsys: pytest.CaptureFixture[str]):
    summary = RunSummary(Path("runs/a"), "net", {}, 0, 1, 10, "last", "top1_error", {}, {}, 1.0, 0.1, skipped=skipped)
    display = RunDisplay()
    display.on_image_checked(1, 2)
    display.on_fit_end(summary)
    lines = capsys.readouterr().out.splitlines()
    told = ["2 training image(s) could not be read and were left out: see skipped.csv"] * bool(skipped)
    assert lines == [*told, "weights, metrics and curves are in runs/a"]
