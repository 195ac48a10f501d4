import csv
import random

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
    write_results,
    write_summary,
)

SMALL = Network("small", "sparsenet40_24", {"growth": 4}, Cost(100, 2000, 12, 3, 1.75))
LARGE = Network("large", "densenet40_12", {"growth": 8}, Cost(200, 3000, 30, 1, 1.0))
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
        "inference_ms": ("large",),
        "step_ms": ("small", "large"),
    }


def test_an_unmeasured_cost_is_none():
    summary = Summary(SMALL, (1.0,), 1.0, None)
    assert [cost_of(summary, key) for key in COSTS] == [100.0, 2000.0, None, None]


def test_results_csv_has_one_row_per_run(tmp_path):
    write_results(tmp_path / "results.csv", RESULTS)
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    assert [(row["label"], row["seed"], row["test_top1_error"]) for row in rows] == [
        ("small", "0", "3.0"),
        ("small", "1", "5.0"),
        ("large", "0", "2.5"),
        ("large", "1", ""),
    ]
    expected = {"overrides": '{"growth": 4}', "macs": "2000", "mean_distance": "1.75", "exit_top1_error": ""}
    assert rows[0].items() >= (expected | {"inference_ms": "1.5", "run": "runs/small/0", "failure": ""}).items()
    assert rows[3]["failure"] == "loss became NaN"


def test_summary_csv_has_one_row_per_network(tmp_path):
    write_summary(tmp_path / "summary.csv", RESULTS)
    small, large = csv.DictReader((tmp_path / "summary.csv").read_text().splitlines())
    assert (small["seeds"], small["mean_test_top1_error"], small["spread"]) == ("2", "4.0", "1.4142")
    assert (small["min_test_top1_error"], small["max_test_top1_error"]) == ("3.0", "5.0")
    assert small["on_front_of"] == "parameters macs step_ms"
    assert (large["seeds"], large["spread"]) == ("1", "")
    # a spread of sqrt(2) with one degree of freedom: t is 12.7062, and errors end at 0
    assert (small["interval_low"], small["interval_high"]) == ("0.0", "16.7062")
    assert (large["interval_low"], large["interval_high"]) == ("0.0", "20.4693")


def test_csv_of_no_runs_has_no_rows(tmp_path):
    write_results(tmp_path / "results.csv", Results("nothing", (), ()))
    assert list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines())) == []
