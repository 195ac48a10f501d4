"""The study's conclusions: which network is best for its cost, and which differences are within chance."""

import math
from statistics import fmean

from skipweave.study.report.distance_ordering import Ordering, equal_links, links_of, mean_distance, ordering
from skipweave.study.results import COSTS, Results, Summary

_COST_WORDS = {
    "parameters": "By parameters",
    "macs": "by multiply-accumulates",
    "inference_ms": "by measured inference time",
    "step_ms": "by measured training time",
}


def pooled_spread(summaries: tuple[Summary, ...]) -> float | None:
    """Standard deviation of one run's value over seeds, pooled over all networks (percentage points).

    With few seeds a network's own deviation is hardly known; pooled it has sum(seeds - 1) degrees of freedom.
    None when no network has two finished seeds.
    """
    squares = sum((value - s.mean) ** 2 for s in summaries for value in s.values)
    freedom = sum(len(s.values) - 1 for s in summaries)
    return math.sqrt(squares / freedom) if freedom else None


def standard_error(a: Summary, b: Summary, pooled: float | None, test_images: int) -> float:
    """Standard error of the difference of two networks' mean test values, in percentage points.

    The sum of the variance over seeds (pooled^2 / seeds per network) and the binomial variance of the test split
    (p (100 - p) / images per network; taken as independent, which is conservative: both saw the same images).
    """
    variance = sum(pooled**2 / len(s.values) for s in (a, b)) if pooled is not None else 0.0
    if test_images:
        variance += sum(s.mean * (100.0 - s.mean) / test_images for s in (a, b))
    return math.sqrt(variance)


def verdict(results: Results) -> tuple[str, ...]:
    """The conclusions as a few sentences, most important first.

    Two networks are called different when their means differ by more than two standard errors.
    """
    ranked = results.ranked
    if not ranked:
        return ("No network finished training, so this study has no result yet.",)
    if len(ranked) == 1:
        return (f"Only one network finished: {_with_value(ranked[0])}.",)
    return (_headline(ranked, results), *_price(results), *_order(results), *_doubt(ranked, results))


def _headline(ranked: tuple[Summary, ...], results: Results) -> str:
    best, rest, test_images = ranked[0], ranked[1:], results.test_images
    leading = f"{_superlative(results)} mean test {results.metric.label}: {_with_value(best)}"
    pooled = pooled_spread(ranked)
    if pooled is None and not test_images:
        return f"{leading}, then {_listed(list(rest))}. With one seed these differences may be chance."
    same = [s for s in rest if abs(s.mean - best.mean) <= 2 * standard_error(best, s, pooled, test_images)]
    worse = [s for s in rest if s not in same]
    # A single seed has no estimate of the spread over seeds.
    chance = "chance" if pooled is not None else "what the size of the test set explains"
    if not same:
        return f"{leading}. It leads by more than {chance}: {_listed(worse)}."
    if not worse:
        return f"{leading}. But all differences are within {chance}: {_listed(same)}."
    return f"{leading}. Within {chance}: {_listed(same)}. Worse by more than {chance}: {_listed(worse)}."


def _superlative(results: Results) -> str:
    return "Highest" if results.metric.higher_is_better else "Lowest"


def _price(results: Results) -> tuple[str, ...]:
    """One sentence: the networks on the Pareto front of each cost, cheapest first."""
    fronts = {key: results.front(key) for key in COSTS}
    parts = [f"{words}: {_names(fronts[key])}" for key, words in _COST_WORDS.items() if fronts[key]]
    title = f"{_superlative(results)} mean {results.metric.label} for its cost, cheapest first (Pareto front)"
    return (f"{title}. {'; '.join(parts)}.",) if parts else ()


def _order(results: Results) -> tuple[str, ...]:
    """Whether a shorter back-propagation distance is better, in each group of equal links and over all of them."""
    groups = equal_links(results.summaries)
    asked = [(f"At {links_of(group):,} links (mean distance: {_distances(group)})", [group]) for group in groups]
    if len(groups) > 1:
        asked.append(("Over all such groups", list(groups)))
    return tuple(f"{title}, {_in_words(found)}" for title, them in asked if (found := ordering(them, results)))


def _distances(group: tuple[Summary, ...]) -> str:
    return _names(tuple(f"{s.network.label} {mean_distance(s):.2f}" for s in group))


def _in_words(found: Ordering) -> str:
    if found.chance <= 0.05:
        answer = "the order by distance holds"
    elif found.chance_of_reverse <= 0.05:
        answer = "the order is the reverse"
    else:
        answer = "the order is within chance"
    return (
        f"the longer back-propagation distance is worse in {found.worse} and better in {found.better} of "
        f"{found.comparisons} comparisons of two networks from one seed (exact permutation test, one-sided "
        f"p = {found.chance:.2g}): {answer}."
    )


def _doubt(ranked: tuple[Summary, ...], results: Results) -> tuple[str, ...]:
    """The difference within chance, and how it is estimated."""
    pooled = pooled_spread(ranked)
    images = results.test_images
    typical = 2 * fmean(standard_error(ranked[0], s, pooled, images) for s in ranked[1:])
    if pooled is None:
        size = f"; the test set's size ({images} images) alone makes up to about {typical:.2f} points chance"
        return (f"Each network was trained once, so the spread over seeds is unknown{size if images else ''}.",)
    size = f" and the size of the test set ({images} images, {100 / max(images, 1):.2g} points each)"
    return (
        f"Chance here means a difference up to about {typical:.2f} points: two standard errors, from the spread of one "
        f"network's {results.metric.label} over seeds ({pooled:.2f} points){size if images else ''}.",
    )


def value_text(summary: Summary, unit: str = " %") -> str:
    """`1.39 ± 0.20 %`, or without the spread when there is one seed."""
    spread = "" if summary.spread is None else f" ± {summary.spread:.2f}"
    return f"{summary.mean:.2f}{spread}{unit}"


def _with_value(summary: Summary) -> str:
    return f"{summary.network.label} ({value_text(summary)})"


def _listed(summaries: list[Summary]) -> str:
    return _names(tuple(_with_value(s) for s in summaries))


def _names(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
