import json

import pytest

from skipweave.errors import SkipweaveError
from skipweave.training.scores import Scores
from skipweave.training.state import RunState, best_row
from skipweave.training.summary import EpochRow


def row(epoch: int, val_error: float | None) -> EpochRow:
    return EpochRow(epoch, 10 * epoch, 0.1, 1 / 3, 50.0, 0.2, val_error, None, 1.5, 0.1)


def test_the_state_survives_json_exactly():
    state = RunState(Scores(10, 0.1 + 0.2, 3, 0, 64), epoch=2, step=7, seconds=1.1, rows=[row(1, 2.0), row(2, None)])
    assert RunState.from_plain(json.loads(json.dumps(state.as_plain()))) == state


def test_a_state_of_another_version_is_told():
    with pytest.raises(SkipweaveError, match="not of this version"):
        RunState.from_plain({"scores": {"classes": 3}, "rows": [], "speed": 3})
    with pytest.raises(SkipweaveError, match="not of this version"):
        RunState.from_plain({})


def test_an_epoch_ends_with_its_row_and_a_fresh_count():
    state = RunState(Scores(10, 1.0, 1, 1, 1), step=5, seconds=2.0)
    state.finish_epoch(row(1, 3.0))
    assert state == RunState(Scores(10), epoch=1, rows=[row(1, 3.0)])


def test_the_best_epoch_is_the_first_of_lowest_error():
    assert best_row([row(1, 3.0), row(2, 0.0), row(3, 0.0)]) == row(2, 0.0)
    assert best_row([row(1, None)]) is None
    assert best_row([]) is None
