import random

import numpy as np
import pytest

from skipweave.study.results import (
    COSTS,
    Cost,
    Network,
    Results,
    Run,
    Summary,
    Timing,
    cost_of,
    pareto_front,
)

SMALL = Network("small", "sparsenet40_24", {"growth": 4}, Cost(100, 2000, 12, 3, 1.75))
LARGE = Network("large", "densenet40_12", {"growth": 8}, Cost(200, 3000, 30, 1, 1.0, training_bytes=4096))
BROKEN = Network("broken", "sparsenet40_24", {"growth": [1, 2]}, failure="growth has 2 entries")
RESULTS = Results(
    "three networks",
    (SMALL, LARGE, BROKEN),
    (
        Run("small", 0, "runs/small/0", 3.0, 10.0),
        Run("small", 1, "runs/small/1", 5.0, 12.0),
        Run("large", 0, "runs/large/0", 2.5, 20.0),
        Run("large", 1, "runs/large/1", failure="loss became NaN"),
    ),
    {"small": Timing(1.5, 4.0), "large": Timing(1.0, 6.0)},
)


def beaten(point, points):
    return any(q != point and q[0] <= point[0] and q[1] <= point[1] for q in points)


@pytest.mark.parametrize("seed", range(20))
def test_pareto_front_equals_its_definition(seed):
    rng = random.Random(seed)
    points = [(float(rng.randint(0, 6)), float(rng.randint(0, 6))) for _ in range(12)]
    front = pareto_front(points)
    assert set(front) == {i for i, point in enumerate(points) if not beaten(point, points)}
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_pareto_front_of_nothing_is_empty():
    assert pareto_front([]) == ()


def test_mean_and_spread_are_over_the_finished_seeds():
    small, large = RESULTS.summaries
    assert (small.mean, small.train_seconds) == (4.0, 11.0)
    assert small.spread == pytest.approx(2**0.5)
    assert (large.mean, large.spread, large.values) == (2.5, None, (2.5,))


def test_failures_name_networks_and_runs():
    assert RESULTS.failures == (("broken", "growth has 2 entries"), ("large, seed 1", "loss became NaN"))


def test_fronts_differ_by_cost():
    fronts = {key: RESULTS.front(key) for key in COSTS}
    assert fronts == {
        "parameters": ("small", "large"),
        "macs": ("small", "large"),
        "training_bytes": ("large",),
        "inference_ms": ("large",),
        "step_ms": ("small", "large"),
    }


def test_an_unmeasured_cost_is_none():
    summary = Summary(SMALL, (1.0,), 1.0, None)
    assert [cost_of(summary, key) for key in COSTS] == [100.0, 2000.0, None, None, None]


def test_a_summary_is_over_the_seeds():
    first = Run(
        "small", 0, "a", 3.0, 1.0,
        class_values=(50.0, None, 20.0), confusion=np.array([[1, 2], [3, 4]]), calibration_error=2.0,
        energy_wh={"cpu": 1.0, "gpu": 4.0}, tta_value=2.0,
    )  # fmt: skip
    second = Run(
        "small", 1, "b", 3.0, 1.0,
        class_values=(100.0, None, None), confusion=np.array([[0, 1], [0, 1]]), calibration_error=4.0,
        energy_wh={"cpu": 2.0}, tta_value=3.0,
    )  # fmt: skip
    results = Results("", (SMALL,), (first, second))
    (summary,) = results.summaries
    assert (summary.tta_values, summary.tta_mean) == ((2.0, 3.0), 2.5)
    half = 12.7062 * 0.5**0.5 / 2**0.5  # Student's t of one degree of freedom, times the standard error
    assert results.tta_interval(summary) == pytest.approx((0.0, 2.5 + half), rel=1e-4)
    assert results.interval(summary) == (3.0, 3.0)
    assert summary.class_values == (75.0, None, 20.0)
    assert summary.confusion.tolist() == [[1, 3], [3, 5]]
    assert (summary.calibration_error, summary.calibration_spread) == (3.0, pytest.approx(2**0.5))
    assert summary.energy_wh == {"cpu": 1.5}


def test_what_a_run_lacks_has_no_mean():
    known = Run(
        "small", 0, "a", 3.0, 1.0, class_values=(50.0,), confusion=np.eye(1), calibration_error=2.0, tta_value=2.0
    )
    for runs in ((known, Run("small", 1, "b", 3.0, 1.0)), (Run("small", 0, "a", 3.0, 1.0),)):
        results = Results("", (SMALL,), runs)
        (summary,) = results.summaries
        assert (summary.tta_values, summary.tta_mean, results.tta_interval(summary)) == ((), None, None)
        found = (summary.class_values, summary.confusion, summary.calibration_errors, summary.calibration_error)
        assert found == ((), None, (), None)
        assert (summary.calibration_spread, summary.energy_wh, summary.mistakes(3)) == (None, {}, ())
