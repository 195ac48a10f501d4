"""The study's conclusions: which network is best for its cost, and which differences are within chance."""

from collections.abc import Sequence
from statistics import median

from skipweave.study.comparisons import Comparison, comparisons
from skipweave.study.report.distance_ordering import Ordering, equal_links, links_of, mean_distance, ordering
from skipweave.study.results import Results, Summary, cost_of
from skipweave.study.spread import CONFIDENCE

_MOST_NAMES = 3  # in a list of a sentence

_COST_WORDS = {
    "parameters": "parameters",
    "macs": "multiply-accumulates",
    "training_bytes": "training memory",
    "inference_ms": "measured inference time",
    "step_ms": "measured training time",
}
_LEAST_RATIO = 1.25  # of costs that are called different; measured times vary by less


def verdict(results: Results) -> tuple[str, ...]:
    """The conclusions as a few sentences, most important first.

    Two networks are called different when the p value of their comparison, adjusted for the number of comparisons, is
    below 0.05.
    """
    ranked = results.ranked
    if not ranked:
        return ("No network finished training, so this study has no result yet.",)
    if len(ranked) == 1:
        return (_of_one(ranked[0], results),)
    compared = comparisons(results)
    return (
        *_headline(compared, results),
        *_costs_at_equal_error(compared, results),
        *_price(results),
        *_order(results),
        *_doubt(compared, results),
    )


def _with_best(compared: Sequence[Comparison], results: Results) -> list[Comparison]:
    """The comparisons with the best network."""
    return [one for one in compared if one.reference.network.label == results.ranked[0].network.label]


def _headline(compared: Sequence[Comparison], results: Results) -> tuple[str, str]:
    """The best network, and which others differ from it."""
    leading = f"{_superlative(results)} mean test {results.metric.label}: {_with_value(results.ranked[0], results)}."
    with_best = _with_best(compared, results)
    if with_best[0].p is None:
        others = _some(tuple(one.network for one in with_best), results)
        return leading, f"Then {others}. With one seed these differences may be chance."
    worse = _some(tuple(one.network for one in with_best if one.differs), results)
    same = _some(tuple(one.network for one in with_best if one.within_chance), results)
    unclear = _some(tuple(one.network for one in with_best if one.undecided), results)
    # A single seed has no estimate of the spread over seeds.
    chance = "chance" if results.spread else "what the size of the test set explains"
    undecided = f"Undecided, beyond {chance} alone but not among all comparisons: {unclear}." if unclear else ""
    if same and worse:
        decided = f"Within {chance}: {same}. Worse by more than {chance}: {worse}."
    elif worse:
        decided = f"It leads by more than {chance}: {worse}."
    elif same:
        decided = f"{'Within' if unclear else 'But all differences are within'} {chance}: {same}."
    else:
        decided = ""
    return leading, f"{decided} {undecided}".strip()


def _some(summaries: tuple[Summary, ...], results: Results) -> str:
    """Networks with their values, best first; of more than three only the number, and the lowest and highest mean."""
    if len(summaries) <= _MOST_NAMES:
        return _names(tuple(_with_value(summary, results) for summary in summaries))
    first, last = (results.metric.text(summary.mean) for summary in (summaries[0], summaries[-1]))
    return f"{len(summaries)} others, from {first.removesuffix(' %')} to {last}"


def _superlative(results: Results) -> str:
    return "Highest" if results.metric.higher_is_better else "Lowest"


def _costs_at_equal_error(compared: Sequence[Comparison], results: Results) -> tuple[str, ...]:
    """One sentence: how much the costs of the best network and of those within chance of it differ, largest first."""
    equal = [one.network for one in _with_best(compared, results) if one.within_chance]
    ratios_of: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for key, words in _COST_WORDS.items():
        costs = [(cost, s.network.label) for s in (results.ranked[0], *equal) if (cost := cost_of(s, key))]
        if costs and (ratio := max(costs)[0] / min(costs)[0]) >= _LEAST_RATIO:
            ratios_of.setdefault((max(costs)[1], min(costs)[1]), []).append((ratio, words))
    parts = [
        f"{high} has {_names(tuple(f'{ratio:.1f} times the {words}' for ratio, words in ratios))} of {low}"
        for (high, low), ratios in sorted(ratios_of.items(), key=lambda entry: max(entry[1]), reverse=True)
    ]
    return (f"At equal {results.metric.label} within chance, costs differ: {'; '.join(parts)}.",) if parts else ()


def _price(results: Results) -> tuple[str, ...]:
    """One sentence: the networks on the Pareto front of each cost, cheapest first."""
    costs_of: dict[tuple[str, ...], list[str]] = {}
    for key, words in _COST_WORDS.items():
        costs_of.setdefault(results.front(key), []).append(words)
    parts = [f"by {_names(tuple(costs))}: {_few(front)}" for front, costs in costs_of.items() if front]
    title = f"{_superlative(results)} mean {results.metric.label} for its cost, cheapest first (Pareto front)"
    return (f"{title}, {'; '.join(parts)}.",) if parts else ()


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


def _doubt(compared: Sequence[Comparison], results: Results) -> tuple[str, ...]:
    """The difference within chance, and how it is estimated."""
    images, spread = results.test_images, results.spread
    halves = [one.half_width for one in _with_best(compared, results) if one.half_width is not None]
    typical = median(halves) if halves else 0.0
    if not spread:
        size = f"; the test set's size ({images:,} images) alone makes up to about {typical:.2f} points chance"
        return (f"Each network was trained once, so the spread over seeds is unknown{size if images else ''}.",)
    paired = ", compared image by image" if all(one.paired_images for one in compared) else ""
    size = f" and the size of the test set ({images:,} images, {100 / max(images, 1):.2g} points each{paired})"
    several = f", adjusted for the {len(compared)} comparisons by Holm's method" if len(compared) > 1 else ""
    own = f"; {outlying_note(results)}" if results.outlying else ""
    return (
        f"Chance here means a p value of at least {1 - CONFIDENCE:.2g} in a two-sided t test{several}. The 95 % "
        f"interval of a difference is about ± {typical:.2f} points, from the spread of one network's "
        f"{results.metric.label} over seeds ({spread.value:.2f} points{own}){size if images else ''}.",
    )


def outlying_note(results: Results) -> str:
    """The networks that vary more over seeds than the others, which have their own spread, as `a and b have ...`."""
    labels = _few(tuple(s.network.label for s in results.outlying))
    has = "has its own, as it varies" if len(results.outlying) == 1 else "have their own, as they vary"
    return f"{labels} {has} more than the others"


def _of_one(summary: Summary, results: Results) -> str:
    """The result of a study of one network, or in which only one finished."""
    if len(results.networks) > 1:
        return f"Only one network finished: {_with_value(summary, results)}."
    seeds = len(summary.values)
    value = mean_text(summary.mean, results.interval(summary), results)
    text = f"Test {results.metric.label} of {summary.network.label}, {seeds} seed{'s' * (seeds > 1)}: {value}"
    if summary.tta_mean is None:
        return f"{text}."
    augmented = mean_text(summary.tta_mean, results.tta_interval(summary), results)
    return f"{text}; with test-time augmentation {augmented}."


def mean_text(mean: float, interval: tuple[float, float] | None, results: Results) -> str:
    """A mean with its unit and interval, as `1.39 % [1.02, 1.76]`."""
    return f"{results.metric.text(mean)} {interval_text(interval)}".rstrip()


def interval_text(interval: tuple[float, float] | None) -> str:
    """The 95 % interval of a mean, as `[1.02, 1.76]`; empty where it is not known."""
    return f"[{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""


def _with_value(summary: Summary, results: Results) -> str:
    """A network with its mean and interval, as `plain (1.39 % [1.02, 1.76])`."""
    return f"{summary.network.label} ({mean_text(summary.mean, results.interval(summary), results)})"


def _few(names: tuple[str, ...]) -> str:
    """The first three names, and how many more there are."""
    more = len(names) - _MOST_NAMES
    return _names((*names[:_MOST_NAMES], f"{more} more") if more > 1 else names)


def _names(names: tuple[str, ...]) -> str:
    """A list in a sentence, with semicolons where names have commas."""
    separator = "; " if any("," in name for name in names) else ", "
    return "".join(names) if len(names) < 2 else f"{separator.join(names[:-1])} and {names[-1]}"
