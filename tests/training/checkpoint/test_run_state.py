import json
from dataclasses import replace
from math import nan

import torch

from skipweave.training.checkpoint.run_state import RunState, best_row, last_improvement
from skipweave.training.run.summary import EpochRow
from skipweave.training.tasks.metrics import MEAN_IOU, TOP1_ERROR, ClassificationMetrics
from tests.errors import raises


def row(epoch: int, val_error: float | None) -> EpochRow:
    val = {} if val_error is None else {"top1_error": val_error, "top5_error": 0.1 + 0.2}
    return EpochRow(epoch, 10 * epoch, 0.1, 1 / 3, {"top1_error": 50.0}, 0.2, val, 1.5, 0.1)


def test_the_state_survives_json_exactly():
    state = RunState(ClassificationMetrics(10), epoch=2, step=7, seconds=1.1, rows=[row(1, 2.0), row(2, None)])
    state.metrics.add(torch.arange(33, dtype=torch.float64) / 10)
    again = RunState.from_plain(json.loads(json.dumps(state.as_plain())), ClassificationMetrics(10))
    assert again.as_plain() == state.as_plain()
    assert again.rows == state.rows


def test_a_state_of_another_version_raises():
    with raises("version"):
        RunState.from_plain({"metrics": [0.0, 0.0, 0.0, 0.0], "rows": [], "speed": 3}, ClassificationMetrics(10))
    with raises("version"):
        RunState.from_plain({"metrics": [0.0, 0.0], "rows": []}, ClassificationMetrics(10))
    with raises("version"):
        RunState.from_plain({}, ClassificationMetrics(10))


def test_an_epoch_ends_with_its_row_and_a_fresh_count():
    state = RunState(ClassificationMetrics(10), step=5, seconds=2.0)
    state.metrics.add(torch.ones(33, dtype=torch.float64))
    state.finish_epoch(row(1, 3.0))
    assert state.as_plain() == RunState(ClassificationMetrics(10), epoch=1, rows=[row(1, 3.0)]).as_plain()


def test_the_best_epoch_is_the_first_of_lowest_error():
    assert best_row([row(1, 3.0), row(2, 0.0), row(3, 0.0)], TOP1_ERROR) == row(2, 0.0)
    assert best_row([row(1, nan), row(2, 4.0)], TOP1_ERROR) == row(2, 4.0)
    assert best_row([row(1, None)], TOP1_ERROR) is None
    assert best_row([], TOP1_ERROR) is None


def test_ties_are_broken_by_the_lower_loss_and_then_by_the_earlier_epoch():
    values = ((1, 3.0, 0.1), (2, 1.0, 0.5), (3, 1.0, 0.3), (4, 1.0, 0.3), (5, 1.0, 0.4))
    rows = [replace(row(epoch, error), val_loss=loss) for epoch, error, loss in values]
    assert [best_row(rows[:count], TOP1_ERROR).epoch for count in range(1, 6)] == [1, 2, 3, 3, 3]
    assert [last_improvement(rows[:count], TOP1_ERROR).epoch for count in range(1, 6)] == [1, 2, 2, 2, 2]
    higher = [replace(each, val_metrics={"mean_iou": -each.val_metrics["top1_error"]}) for each in rows]
    assert best_row(higher, MEAN_IOU) == higher[2]


def test_a_higher_mean_iou_is_better():
    rows = [
        replace(row(epoch, None), val_metrics={"mean_iou": iou}) for epoch, iou in ((1, 50.0), (2, 70.0), (3, 60.0))
    ]
    assert best_row(rows, MEAN_IOU) == rows[1]
