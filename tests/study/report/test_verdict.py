from dataclasses import replace

import numpy as np

from skipweave.study.report.verdict import verdict
from skipweave.study.results import Cost, Network, Results, Run, Timing
from skipweave.training.tasks.metrics import MEAN_IOU
from skipweave.training.tasks.predictions import Predictions


def study(errors, test_images=10_000):
    networks = tuple(Network(label, "m", {}, Cost(100 + i, 100, 1, 1, 1.0)) for i, label in enumerate(errors))
    runs = tuple(Run(label, seed, "", e, 1.0) for label, es in errors.items() for seed, e in enumerate(es))
    return Results("t", networks, runs, test_images=test_images)


def test_a_significant_lead_is_reported():
    assert verdict(study({"plain": (8.0, 8.1), "sparse": (3.0, 3.1)}))[:2] == (
        "Lowest mean test top-1 error: sparse (3.05 % [2.83, 3.27]).",
        "It leads by more than chance: plain (8.05 % [7.83, 8.27]).",
    )


def test_a_higher_mean_iou_is_better():
    found = replace(study({"plain": (30.0, 30.1), "sparse": (60.0, 60.1)}, test_images=0), metric=MEAN_IOU)
    assert [s.network.label for s in found.ranked] == ["sparse", "plain"]
    assert found.front("parameters") == ("plain", "sparse")
    headline, others, price, *_ = verdict(found)
    assert headline == "Highest mean test mIoU: sparse (60.05 % [59.83, 60.27])."
    assert others.startswith("It leads by more than chance")
    assert price.startswith("Highest mean mIoU for its cost")


def test_differences_within_chance_are_reported():
    assert "all differences are within chance" in verdict(study({"a": (3.0, 3.4), "b": (3.1, 3.3)}))[1]


def test_some_within_and_some_beyond_chance():
    headline, others, *_ = verdict(study({"a": (3.0, 3.1), "b": (3.05, 3.1), "c": (9.0, 9.1)}))
    assert headline.startswith("Lowest mean test top-1 error: a (3.05")
    assert "Within chance: b" in others
    assert "Worse by more than chance: c" in others


def test_of_many_networks_only_the_number_and_the_range_are_reported():
    near = {f"near{i}": (3.0 + i / 100, 3.1 + i / 100) for i in range(10)}
    far = {f"far{i}": (9.0 + i, 9.1 + i) for i in range(4)}
    headline, others, price, *_ = verdict(study({"a": (2.95, 3.05), **near, **far}))
    assert "a (3.00" in headline
    assert others == (
        "Within chance: 10 others, from 3.05 to 3.14 %. Worse by more than chance: 4 others, from 9.05 to 12.05 %."
    )
    falling = verdict(study({f"n{i}": (9.0 - i,) * 2 for i in range(6)}))[2]
    assert "n0, n1, n2 and 3 more" not in price
    assert "by parameters: n0, n1, n2 and 3 more;" in falling


def test_a_small_test_set_widens_chance():
    errors = {"a": (1.0, 1.0), "b": (2.0, 2.0)}
    assert "more than chance" in verdict(study(errors, test_images=10_000))[1]
    assert "within chance" in verdict(study(errors, test_images=100))[1]


def test_images_that_both_networks_have_wrong_are_not_chance():
    """With half of the images wrong for both, 12 of 400 more are significant only if compared image by image."""
    half = np.arange(400) % 2
    more = half | (np.arange(400) < 24)
    found = study({"a": (50.0,) * 2, "b": (53.0,) * 2}, test_images=400)
    wrong = {"a": half, "b": more}
    paired = [replace(run, predictions=Predictions(np.zeros_like(half), wrong[run.label])) for run in found.runs]
    assert "all differences are within chance" in verdict(found)[1]
    assert "It leads by more than chance: b" in verdict(replace(found, runs=tuple(paired)))[1]


def test_the_verdict_is_of_adjusted_p_values():
    errors = {"a": (1.0, 1.2), "b": (1.65, 1.85), "c": (1.3, 1.5)}
    assert "more than chance: b" in verdict(study({label: errors[label] for label in "ab"}, test_images=0))[1]
    second = verdict(study(errors, test_images=0))[1]
    assert second.startswith("Within chance: c (1.40")
    assert "Undecided, beyond chance alone but not among all comparisons: b (1.75" in second


def test_the_spread_of_one_seed_is_unknown():
    _, others, *_, doubt = verdict(study({"a": (3.0,), "b": (9.0,)}))
    assert "the spread over seeds is unknown" in doubt
    assert "It leads by more than what the size of the test set explains: b" in others


def test_the_front_is_named_for_each_cost():
    assert (
        "by parameters: cheap and good; by multiply-accumulates: good"
        in verdict(study({"cheap": (4.0, 4.0), "good": (3.0, 3.0)}))[2]
    )


def of_costs(errors, costs, steps):
    """Networks with parameters, multiply-accumulates and training memory, and the time of a step."""
    networks = tuple(
        Network(label, "m", {}, Cost(parameters, macs, 1, 1, 1.0, training_bytes=memory))
        for label, (parameters, macs, memory) in costs.items()
    )
    timings = {label: Timing(1.0, step) for label, step in steps.items()}
    return replace(study(errors), networks=networks, timings=timings)


def test_costs_at_equal_error_are_compared():
    """Of the networks within chance of the best, in the order of the largest ratio; not those of the worse one."""
    errors = {"plain": (60.0, 60.2), "sum": (3.0, 3.2), "dense": (3.1, 3.2), "sparse": (3.1, 3.3)}
    costs = {"plain": (1, 1, 1), "sum": (250, 550, 600), "dense": (1000, 500, 220), "sparse": (200, 500, 200)}
    found = verdict(of_costs(errors, costs, {"plain": 1.0, "sum": 2.2, "dense": 5.0, "sparse": 2.0}))
    assert found[2] == (
        "At equal top-1 error within chance, costs differ: dense has 5.0 times the parameters and 2.5 times the "
        "measured training time of sparse; sum has 3.0 times the training memory of sparse."
    )


def test_a_difference_that_is_beyond_chance_alone_is_undecided():
    """Three seeds that vary much do not suffice for ten comparisons; the network is not called equal to the best."""
    errors = {
        "plain": (43.2, 65.7, 55.7),
        "a": (1.7, 1.9, 1.7),
        "b": (0.8, 1.4, 0.8),
        "c": (1.9, 1.7, 1.9),
        "d": (2.0, 3.0, 2.0),
    }
    costs = {label: (1000 * (label == "b") + 1, 1, 1) for label in errors}
    found = replace(of_costs(errors, costs, {}), test_images=359)
    headline, second, *rest = verdict(found)
    assert headline.startswith("Lowest mean test top-1 error: b (1.00")
    others, undecided = second.split(" Undecided, ")
    assert others.startswith("Within chance: a (1.77")
    assert undecided.startswith("beyond chance alone but not among all comparisons: plain (54.87")
    assert not any("costs differ" in sentence and "plain" in sentence for sentence in rest)


def test_costs_are_not_compared_where_errors_differ_or_may():
    costs = {"a": (1000, 1, 1), "b": (10, 1, 1)}
    for errors in ({"a": (3.0, 3.1), "b": (60.0, 60.2)}, {"a": (3.0,), "b": (3.0,)}):
        found = replace(of_costs(errors, costs, {}), test_images=0)
        assert not any("costs differ" in sentence for sentence in verdict(found))


def test_a_network_that_varies_more_does_not_widen_the_chance_of_others():
    errors = {"a": (3.0, 3.2, 3.1), "b": (3.9, 4.1, 4.0), "c": (5.1, 5.0, 4.9), "bad": (40.0, 60.0, 50.0)}
    _, others, *_, doubt = verdict(study(errors, test_images=0))
    assert others.startswith("It leads by more than chance: b (4.00")
    assert "(0.10 points; bad has its own, as it varies more than the others)" in doubt


def test_too_little_to_compare():
    assert verdict(study({}))[0].startswith("No network finished")
    one_of_two = study({"a": (3.0,), "b": (4.0,)})
    one_of_two = replace(one_of_two, runs=one_of_two.runs[:1])
    assert verdict(one_of_two) == ("Only one network finished: a (3.00 %).",)


def test_one_network_has_its_result_with_and_without_augmentation():
    one = study({"a": (3.0, 3.2)})
    assert verdict(one) == ("Test top-1 error of a, 2 seeds: 3.10 % [1.83, 4.37].",)
    augmented = replace(one, runs=tuple(replace(run, tta_value=2.0) for run in one.runs))
    assert verdict(augmented)[0].endswith("[1.83, 4.37]; with test-time augmentation 2.00 % [2.00, 2.00].")
    assert verdict(study({"a": (3.0,)})) == ("Test top-1 error of a, 1 seed: 3.00 %.",)
