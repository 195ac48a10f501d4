"""Intervals of means against tables of Student's t, and against their definition on simulated runs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave.study.results import Network, Results, Run
from skipweave.study.spread import half_width, outlying_spreads, pooled_spread
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
    ("seeds", "networks", "critical"),  # of Cochran's C at 1 %, as printed
    [(2, 3, 0.9933), (3, 3, 0.9423), (3, 5, 0.7885), (5, 10, 0.3934)],
)
def test_spreads_are_outlying_beyond_the_printed_values_of_cochran(seeds: int, networks: int, critical: float):
    """C is the largest variance over the sum of all."""
    unit = np.arange(seeds) / np.std(np.arange(seeds), ddof=1)  # a variance of 1

    def found(c: float) -> tuple[int, ...]:
        return outlying_spreads([*[unit] * (networks - 1), unit * (c / (1 - c) * (networks - 1)) ** 0.5])

    assert found(critical - 0.002) == ()
    assert found(critical + 0.002) == (networks - 1,)


def test_several_spreads_may_be_outlying():
    alike = [(1.0, 1.1, 1.2), (2.0, 2.2, 2.1), (3.0, 3.1, 3.2), (4.0, 4.2, 4.1)]
    assert outlying_spreads([(50.0, 90.0, 70.0), *alike, (60.0, 55.0, 58.0), (7.0,)]) == (0, 5)
    assert outlying_spreads([(50.0, 90.0, 70.0), *alike[:1], (7.0,)]) == ()  # two cannot be told apart
    assert outlying_spreads([(50.0, 90.0, 70.0), (1.0, 1.0), (2.0, 2.0)]) == ()  # nothing to compare with


def test_alike_networks_have_no_outlying_spread():
    rng = np.random.default_rng(0)
    found = [bool(outlying_spreads(rng.normal(size=(5, 3)))) for _ in range(1000)]
    assert 0.002 < np.mean(found) < 0.02


def test_an_outlying_network_has_its_own_spread():
    values = {"a": (1.0, 1.1, 1.2), "b": (2.0, 2.2, 2.1), "c": (3.0, 3.1, 3.2), "bad": (50.0, 70.0, 60.0)}
    runs = tuple(Run(label, seed, "", value, 1.0) for label in values for seed, value in enumerate(values[label]))
    results = Results("", tuple(Network(label, "m", {}) for label in values), runs)
    first, *_, bad = results.summaries
    assert results.outlying == (bad,)
    assert (results.spread.value, results.spread.freedom) == (pytest.approx(0.1), 6)
    assert (results.spread_of(bad).value, results.spread_of(bad).freedom) == (pytest.approx(10), 2)
    assert results.interval(first) == pytest.approx((1.1 - 2.447 * 0.1 / 3**0.5, 1.1 + 2.447 * 0.1 / 3**0.5), abs=1e-3)
    assert results.interval(bad) == pytest.approx((60 - 4.303 * 10 / 3**0.5, 60 + 4.303 * 10 / 3**0.5), abs=1e-2)


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
