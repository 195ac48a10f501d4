"""Printed text has no control characters for the terminal."""

from pathlib import Path

import pytest

from skipweave.training import RunStart
from skipweave.training.tasks.metrics import TOP1_ERROR
from skipweave_cli.tables import complain, new_table, print_table, say
from skipweave_cli.training_display import RunDisplay

HOSTILE = "a\x1b[2J\x07\x9b31m[b]:cat:\u202e\udcff"
PRINTED = "a?[2J??31m[b]:cat:??"


def test_cells_lines_and_problems_have_no_control_characters(capsys: pytest.CaptureFixture[str]):
    table = new_table("name", HOSTILE)
    table.add_row(HOSTILE, "1")
    print_table(table)
    say(HOSTILE)
    complain(HOSTILE)
    shown = capsys.readouterr()
    words = [line.split() for line in shown.out.splitlines()]
    assert [line for line in words if PRINTED in line] == [["name", PRINTED], [PRINTED, "1"], [PRINTED]]
    assert shown.err == f"skipweave: error: {PRINTED}\n"


def test_printed_runs_have_no_control_characters(capsys: pytest.CaptureFixture[str]):
    images = {"train": 1}
    display = RunDisplay()
    start = RunStart(Path("runs"), "m", 1, 1, HOSTILE, images, "cpu", 1, TOP1_ERROR, 1, 1, 0, 0, (HOSTILE,))
    display.on_fit_start(start)
    display.teardown()
    shown = capsys.readouterr().out
    assert f"on {PRINTED} (1 train images)" in shown
    assert f"\n{PRINTED}\n" in shown
