import os
import signal

import pytest

from skipweave.data.parallel_map import parallel_map
from tests.errors import raises


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_are_in_order(workers):
    assert list(parallel_map(lambda number: [number] * number, 20, workers)) == [
        [number] * number for number in range(20)
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_empty_map_is_empty(workers):
    assert list(parallel_map(str, 0, workers)) == []


def test_a_killed_worker_raises():
    with raises("1 workers"):
        list(parallel_map(lambda number: os.kill(os.getpid(), signal.SIGKILL), 3, 1))


def test_other_errors_are_not_hidden():
    def fail(number):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(parallel_map(fail, 1, 0))
