"""Intervals of means against tables of Student's t, and against their definition on simulated runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.study.results import Network, Results, Run
from skipweave.study.spread import half_width, pooled_spread
from skipweave.training.tasks.metrics import LOSS, TOP1_ERROR


def test_squares_are_pooled_over_networks():
    # deviations -1, 1 and -3, 3 with one degree of freedom each: (2 + 18) / 2 = 10
    spread = pooled_spread([(1.0, 3.0), (4.0, 10.0), (7.0,)])
    assert (spread.value, spread.freedom) == (pytest.approx(10**0.5), 2)
    assert pooled_spread([(1.0,), (4.0,)]) is None


@given(st.lists(st.lists(st.floats(0, 100), min_size=3, max_size=3), min_size=1, max_size=5))
def test_of_equal_numbers_of_seeds_it_is_the_mean_variance(networks: list[list[float]]):
    spread = pooled_spread(networks)
    assert spread.value**2 == pytest.approx(np.var(networks, axis=1, ddof=1).mean(), abs=1e-9)
    assert spread.freedom == 2 * len(networks)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042), (float("inf"), 1.960)]
)
def test_half_widths_are_those_of_printed_tables(freedom: float, quantile: float):
    assert half_width(1.0, freedom) == pytest.approx(quantile, abs=5e-4)


@pytest.mark.parametrize(
    ("values", "metric", "interval"),
    [
        ((50.0, 52.0), TOP1_ERROR, (51 - 12.7062, 51 + 12.7062)),  # a standard error of sqrt(2) / sqrt(2)
        ((1.0, 3.0), TOP1_ERROR, (0.0, 2 + 12.7062)),
        ((97.0, 99.0), TOP1_ERROR, (98 - 12.7062, 100.0)),
        ((97.0, 99.0), LOSS, (98 - 12.7062, 98 + 12.7062)),
        ((97.0,), TOP1_ERROR, None),
    ],
)
def test_intervals_end_where_the_metric_does(values, metric, interval):
    runs = tuple(Run("a", seed, "", value, 1.0) for seed, value in enumerate(values))
    results = Results("", (Network("a", "m", {}),), runs, metric=metric)
    assert results.interval(results.summaries[0]) == (interval and pytest.approx(interval, abs=1e-3))
