import itertools
import math

import pytest

from skipweave.study.report.distance_ordering import equal_links, ordering
from skipweave.study.report.verdict import verdict
from skipweave.study.results import Cost, Network, Results, Run


def network(label, links, mean_distance, topology, **args):
    return Network(label, "m", {"topology": topology, **args}, Cost(100, 100, links, 9, mean_distance))


LOG = (network("N", 10, 3.0, "nearest"), network("LD", 10, 2.0, "exponential"), network("E", 10, 2.5, [[0], [1]]))
HALF = (network("N/2", 20, 1.8, "nearest_half"), network("E/2", 20, 1.5, "every_other"))


def study(networks, errors):
    runs = tuple(Run(label, seed, "", e, 1.0) for label, es in errors.items() for seed, e in enumerate(es))
    return Results("t", networks, runs, test_images=1000)


def found(networks, errors):
    results = study(networks, errors)
    return ordering(equal_links(results.summaries), results)


def labels_of_groups(*networks):
    results = study(networks, {network.label: (1.0,) for network in networks})
    return [[s.network.label for s in group] for group in equal_links(results.summaries)]


def test_groups_have_equal_links_and_are_ordered_by_distance():
    assert labels_of_groups(*LOG, *HALF) == [["LD", "E", "N"], ["E/2", "N/2"]]


def test_only_the_topology_may_differ():
    wide = network("wide", 10, 1.0, "exponential", growth=8)
    other = Network("other", "another", {"topology": "exponential"}, LOG[0].cost)
    assert labels_of_groups(LOG[0], wide, other) == []


def test_equal_and_infinite_distances_are_no_order():
    twin, cut = network("twin", 10, 2.0, "x"), network("cut", 10, math.inf, "y")
    assert labels_of_groups(LOG[1], twin, cut) == []


def test_networks_of_equal_distance_are_not_compared_with_each_other():
    found_ = found((*LOG, network("twin", 10, 2.0, "x")), {"LD": (1.0,), "twin": (9.0,), "E": (2.0,), "N": (3.0,)})
    assert (found_.comparisons, found_.worse, found_.better) == (5, 3, 2)


def test_margins_and_chance_by_hand():
    # One seed: of the 6 orders of three errors only the one found has all three comparisons right.
    assert found(LOG, {"LD": (1.0,), "E": (2.0,), "N": (3.0,)}).chance == pytest.approx(1 / 6)
    # Two seeds of two networks: one of 4, and of the opposite order all 4.
    right = found(HALF, {"E/2": (1.0, 1.1), "N/2": (2.0, 2.1)})
    assert (right.comparisons, right.worse, right.better) == (2, 2, 0)
    assert (right.chance, right.chance_of_reverse) == (0.25, 1.0)


def test_chance_is_the_fraction_of_all_orders():
    errors = {"LD": (1.0, 2.0), "E": (3.0, 1.0), "N": (2.0, 2.0), "E/2": (4.0, 4.0), "N/2": (5.0, 3.0)}

    def margin(ld, e, n):
        return sum((b > a) - (b < a) for a, b in itertools.combinations((ld, e, n), 2))

    first, second = ([errors[label][seed] for label in ("LD", "E", "N")] for seed in (0, 1))
    pairs = [(4.0, 5.0), (4.0, 3.0)]
    every = [
        margin(*a) + margin(*b) + sum((y > x) - (y < x) for x, y in chosen)
        for a in itertools.permutations(first)
        for b in itertools.permutations(second)
        for chosen in itertools.product(*(itertools.permutations(pair) for pair in pairs))
    ]
    seen = margin(*first) + margin(*second)  # the two pairs cancel
    result = found((*LOG, *HALF), errors)
    assert result.worse - result.better == seen
    assert result.chance == pytest.approx(sum(value >= seen for value in every) / len(every))
    assert result.chance_of_reverse == pytest.approx(sum(value <= seen for value in every) / len(every))


def test_ties_count_for_neither():
    tied = found(HALF, {"E/2": (1.0, 1.0), "N/2": (1.0, 2.0)})
    assert (tied.comparisons, tied.worse, tied.better) == (2, 1, 0)
    assert tied.chance == 0.5


def test_seeds_that_did_not_finish_for_every_network_are_skipped():
    assert found(HALF, {"E/2": (1.0, 1.0), "N/2": (2.0,)}).comparisons == 1
    results = study(HALF, {"E/2": (1.0,), "N/2": (2.0,)})
    late = Results("t", HALF, (results.runs[0], Run("N/2", 7, "", 2.0, 1.0)))
    assert ordering(equal_links(late.summaries), late) is None


def test_more_than_eight_networks_are_not_counted():
    many = tuple(network(str(i), 10, float(i), str(i)) for i in range(9))
    assert found(many, {str(i): (float(i),) for i in range(9)}) is None


@pytest.mark.parametrize(
    ("short", "long", "answer"),
    [((1.0,) * 5, (2.0,) * 5, "holds"), ((2.0,) * 5, (1.0,) * 5, "the reverse"), ((1.0, 2.0), (2.0, 1.0), "chance.")],
)
def test_the_verdict_reports_whether_the_order_holds(short, long, answer):
    sentences = verdict(study((*LOG[:2], *HALF), {"LD": short, "N": long, "E/2": short, "N/2": long}))
    at_log, at_half, over_all = (s for s in sentences if "permutation test" in s)
    assert at_log.startswith("At 10 links (mean distance: LD 2.00 and N 3.00), ")
    assert at_half.startswith("At 20 links (mean distance: E/2 1.50 and N/2 1.80), ")
    assert over_all.startswith("Over all such groups, ")
    assert all(answer in s for s in (at_log, at_half, over_all))


def test_without_equal_links_the_verdict_has_no_distances():
    assert not any("distance" in s for s in verdict(study((LOG[0], HALF[0]), {"N": (1.0,), "N/2": (2.0,)})))
