import os
import signal

import pytest

from skipweave.data.parallel_map import each
from skipweave.errors import SkipweaveError


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_answers_come_in_order(workers):
    assert list(each(lambda number: [number] * number, 20, workers)) == [[number] * number for number in range(20)]


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_to_do_is_done(workers):
    assert list(each(str, 0, workers)) == []


def test_a_process_that_is_killed_is_told():
    with pytest.raises(SkipweaveError, match=r"was ended from outside.* try fewer than 1 workers"):
        list(each(lambda number: os.kill(os.getpid(), signal.SIGKILL), 3, 1))


def test_other_errors_are_not_hidden():
    def fail(number):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(each(fail, 1, 0))
