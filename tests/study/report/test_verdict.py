from dataclasses import replace

import pytest

from skipweave.study.report.verdict import pooled_spread, standard_error, verdict
from skipweave.study.results import Cost, Network, Results, Run
from skipweave.training.tasks.metrics import MEAN_IOU


def study(errors, test_images=10_000):
    networks = tuple(Network(label, "m", {}, Cost(100 + i, 100, 1, 1, 1.0)) for i, label in enumerate(errors))
    runs = tuple(Run(label, seed, "", e, 1.0) for label, es in errors.items() for seed, e in enumerate(es))
    return Results("t", networks, runs, test_images=test_images)


def test_pooled_spread_pools_squares_over_networks():
    # deviations -1, 1 and -3, 3 with one degree of freedom each: (2 + 18) / 2 = 10
    assert pooled_spread(study({"a": (1.0, 3.0), "b": (4.0, 10.0)}).summaries) == pytest.approx(10**0.5)
    assert pooled_spread(study({"a": (1.0,), "b": (4.0,)}).summaries) is None


def test_standard_error_adds_seeds_and_test_set():
    a, b = study({"a": (2.0, 2.0), "b": (5.0, 5.0)}).summaries
    assert standard_error(a, b, 1.0, 0) == pytest.approx(1.0)  # 1/2 + 1/2
    assert standard_error(a, b, None, 100) == pytest.approx(((2 * 98 + 5 * 95) / 100) ** 0.5)
    assert standard_error(a, b, 1.0, 100) == pytest.approx((1 + (2 * 98 + 5 * 95) / 100) ** 0.5)


def test_a_significant_lead_is_reported():
    headline = verdict(study({"plain": (8.0, 8.1), "sparse": (3.0, 3.1)}))[0]
    assert headline == (
        "Lowest mean test top-1 error: sparse (3.05 ± 0.07 %). It leads by more than chance: plain (8.05 ± 0.07 %)."
    )


def test_a_higher_mean_iou_is_better():
    found = replace(study({"plain": (30.0, 30.1), "sparse": (60.0, 60.1)}, test_images=0), metric=MEAN_IOU)
    assert [s.network.label for s in found.ranked] == ["sparse", "plain"]
    assert found.front("parameters") == ("plain", "sparse")
    headline, price, *_ = verdict(found)
    assert headline.startswith("Highest mean test mIoU: sparse (60.05 ± 0.07 %). It leads by more than chance")
    assert price.startswith("Highest mean mIoU for its cost")


def test_differences_within_chance_are_reported():
    headline = verdict(study({"a": (3.0, 3.4), "b": (3.1, 3.3)}))[0]
    assert "all differences are within chance" in headline


def test_some_within_and_some_beyond_chance():
    headline = verdict(study({"a": (3.0, 3.1), "b": (3.05, 3.1), "c": (9.0, 9.1)}))[0]
    assert headline.startswith("Lowest mean test top-1 error: a (3.05")
    assert "Within chance: b" in headline
    assert "Worse by more than chance: c" in headline


def test_a_small_test_set_widens_chance():
    errors = {"a": (1.0, 1.0), "b": (2.0, 2.0)}
    assert "more than chance" in verdict(study(errors, test_images=10_000))[0]
    assert "within chance" in verdict(study(errors, test_images=100))[0]


def test_the_spread_of_one_seed_is_unknown():
    headline, *_, doubt = verdict(study({"a": (3.0,), "b": (9.0,)}))
    assert "the spread over seeds is unknown" in doubt
    assert "chance" not in headline
    assert "It leads by more than what the size of the test set explains: b" in headline


def test_the_front_is_named_for_each_cost():
    assert (
        "By parameters: cheap and good; by multiply-accumulates: good"
        in verdict(study({"cheap": (4.0, 4.0), "good": (3.0, 3.0)}))[1]
    )


@pytest.mark.parametrize(("errors", "said"), [({}, "No network finished"), ({"a": (3.0,)}, "Only one network")])
def test_too_little_to_compare(errors, said):
    assert verdict(study(errors))[0].startswith(said)
