from dataclasses import replace

import pytest

from skipweave.study.report.curves import Curve, curve_of, has_validation
from skipweave.study.results import Epoch, Network, Results, Run

CURVES = {0: (Epoch(1, 2.0, 50.0, 60.0), Epoch(2, 1.0, 30.0, 40.0)), 1: (Epoch(1, 4.0, 70.0, 20.0),)}
RESULTS = Results(
    "", (Network("a", "m", {}),), tuple(Run("a", seed, "", curve=curve) for seed, curve in CURVES.items())
)
WITHOUT = replace(
    RESULTS,
    runs=tuple(replace(run, curve=tuple(replace(e, val_value=None) for e in run.curve)) for run in RESULTS.runs),
)


@pytest.mark.parametrize(
    ("results", "key", "means", "lows", "highs"),
    [
        (RESULTS, "loss", (3.0, 1.0), (2.0, 1.0), (4.0, 1.0)),
        (RESULTS, "curves", (40.0, 40.0), (20.0, 40.0), (60.0, 40.0)),
        (WITHOUT, "curves", (60.0, 30.0), (50.0, 30.0), (70.0, 30.0)),
    ],
)
def test_mean_and_range_over_the_seeds_that_reached_an_epoch(results, key, means, lows, highs):
    assert curve_of(results, "a", key) == Curve((1, 2), means, lows, highs)


def test_without_epochs_there_is_no_curve():
    assert curve_of(RESULTS, "b", "loss") is None
    assert has_validation(RESULTS)
    assert not has_validation(WITHOUT)
