"""Permutation test of whether a shorter back-propagation distance is better, among networks of equal links."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product

from skipweave.study.results import Results, Summary

#: Networks of a group: the orders of their values, 8! at most, are enumerated.
_MOST_COUNTED = 8


@dataclass(frozen=True)
class Ordering:
    """How often the longer distance was worse, comparing two networks of a group trained from one seed.

    Attributes:
        comparisons: Of two networks from one seed.
        worse: Comparisons in which the network of longer mean distance was worse.
        better: Comparisons in which it was better; the rest are ties.
        chance: Probability of a margin `worse - better` at least as large if what is read made no difference.
        chance_of_reverse: Probability of a margin at most as large.
    """

    comparisons: int
    worse: int
    better: int
    chance: float
    chance_of_reverse: float


def equal_links(summaries: Iterable[Summary]) -> tuple[tuple[Summary, ...], ...]:
    """Groups of networks that differ in their topology only, have equal links, and not all the same distance.

    Each group is ordered by mean distance; a network whose distance is infinite is in none.
    """
    groups: dict[str, list[Summary]] = {}
    for summary in summaries:
        network, cost = summary.network, summary.network.cost
        if cost is not None and math.isfinite(cost.mean_distance):
            rest = {key: value for key, value in network.args.items() if key != "topology"}
            groups.setdefault(json.dumps([network.model, rest, cost.links], sort_keys=True), []).append(summary)
    ordered = (tuple(sorted(group, key=mean_distance)) for group in groups.values())
    return tuple(group for group in ordered if mean_distance(group[0]) < mean_distance(group[-1]))


def mean_distance(summary: Summary) -> float:
    """The mean back-propagation distance of a network that could be built."""
    assert summary.network.cost is not None
    return summary.network.cost.mean_distance


def links_of(group: Sequence[Summary]) -> int:
    """The links that all networks of a group have."""
    assert group[0].network.cost is not None
    return group[0].network.cost.links


def ordering(groups: Iterable[Sequence[Summary]], results: Results) -> Ordering | None:
    """Compare the networks of each group seed by seed, over all groups together.

    The test is exact: within a group and a seed every order of the values is as likely as any other if what is read
    makes no difference; the margins of all groups and seeds add up.

    Returns:
        None where there is nothing to compare: no group of at most 8 networks that all finished with the same seed.
    """
    blocks = [block for group in groups if len(group) <= _MOST_COUNTED for block in _blocks(group, results)]
    signs = [sign for block in blocks for sign in _signs(*block)]
    if not signs:
        return None
    ways = Counter({0: 1})  # margin to the number of ways to order the ranks of all blocks that give it
    for distances, ranks in blocks:
        ways = _sums(ways, Counter(sum(_signs(distances, order)) for order in permutations(ranks)))
    chance = sum(number for margin, number in ways.items() if margin >= sum(signs)) / ways.total()
    reverse = sum(number for margin, number in ways.items() if margin <= sum(signs)) / ways.total()
    return Ordering(len(signs), signs.count(1), signs.count(-1), chance, reverse)


def _blocks(group: Sequence[Summary], results: Results) -> list[tuple[list[float], list[float]]]:
    """Distances and ranks of the group's networks, for each seed with which all of them finished."""
    rank = results.metric.rank
    ranks = {(run.label, run.seed): rank(run.value) for run in results.runs if run.value is not None}
    distances = [mean_distance(s) for s in group]
    rows = [[ranks.get((s.network.label, seed)) for s in group] for seed in sorted({seed for _, seed in ranks})]
    return [(distances, [rank for rank in row if rank is not None]) for row in rows if None not in row]


def _signs(distances: Sequence[float], ranks: Sequence[float]) -> list[int]:
    """For each two of unequal distance: 1 where the longer is worse, -1 where better, 0 where the ranks are equal."""
    pairs = combinations(zip(distances, ranks, strict=True), 2)
    return [_sign((b - a) * (f - e)) for (a, e), (b, f) in pairs if a != b]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _sums(a: Counter[int], b: Counter[int]) -> Counter[int]:
    """How often each sum of a number of `a` and one of `b` occurs."""
    sums: Counter[int] = Counter()
    for (x, times), (y, as_often) in product(a.items(), b.items()):
        sums[x + y] += times * as_often
    return sums
