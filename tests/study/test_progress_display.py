import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from skipweave.study.progress_display import RichDisplay
from skipweave.study.results import Run, Rung, Standing
from skipweave.training import EpochRow, RunStart
from skipweave.training.tasks.metrics import TOP1_ERROR


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_printed(results, terminal):
    text = io.StringIO()
    start = RunStart(Path("runs/a"), "m", 9, 9, "digits", {}, "cpu", 1, TOP1_ERROR, 4, 10, 2, 5, ())
    row = EpochRow(3, 30, 0.1, 1.0, {"top1_error": 9.0}, None, {"top1_error": 2.5}, 1.0, 0.1)
    done, failed = results.runs[0], results.runs[3]
    with RichDisplay(Console(file=text, width=160, force_terminal=terminal)) as display:
        display.on_study_start(results.networks, 5, 2)
        callback, _ = [display.on_run_start((run.label, run.seed)) for run in (done, failed)]
        callback.on_fit_start(start)
        callback.on_step_end(2, 10)
        callback.on_epoch_end(row)
        callback.on_epoch_end(replace(row, val_metrics={}))
        display.on_run_end(done, TOP1_ERROR)
        display.on_run_end(failed, TOP1_ERROR)
        display.on_run_start(("plain", 1))
        display.on_run_end(Run("plain", 1, "runs/a", curve=done.curve[:2]), TOP1_ERROR)
        display.on_rung_end(Rung(2, (Standing("sum", 4.0, True), Standing("plain", 9.0, False))), 1, TOP1_ERROR)
        display.on_timing_round_end(1, 2)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    for part in (
        "growth has 2 entries & needs 3",
        "2 of 5 runs",
        "plain, seed 0",
        "epoch 3, step 5",
        "top-1 error 3.25 %",
        "12 s",
        "SparseNet <2>, seed 1",
        "loss became NaN at step 12",
        "Stopped after 2 epochs by mean validation top-1 error: plain (9.00 %)",
        "5/5 runs",
        "1/2 rounds",
    ):
        assert part in shown
