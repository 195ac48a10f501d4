"""Comparisons of two networks of a study: difference of their mean test values, its interval and p value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from skipweave.study.results import Results, Summary
from skipweave.study.spread import CONFIDENCE, Spread, half_width
from skipweave.study.tables import rounded, write_table

#: Networks of which all pairs are compared; of more, each is compared with the best.
MOST_PAIRED = 8


@dataclass(frozen=True)
class Comparison:
    """A network compared with one of better mean.

    Attributes:
        network: The network.
        reference: The one of better mean.
        standard_error: Of the difference; None where nothing is known about it: one seed each, of a metric that is no
            proportion of images.
        freedom: Degrees of freedom of the standard error.
        paired_images: Test images on which they are compared image by image; 0 where this is not known.
        only_wrong: Images that only the network, and only the reference, has wrong; where each network has one seed.
        holm_p: The p value adjusted for all comparisons of the study.
    """

    network: Summary
    reference: Summary
    standard_error: float | None = None
    freedom: float = math.inf
    paired_images: int = 0
    only_wrong: tuple[int, int] | None = None
    holm_p: float | None = None

    @property
    def difference(self) -> float:
        """Mean of the network minus that of the reference."""
        return self.network.mean - self.reference.mean

    @property
    def half_width(self) -> float | None:
        """Half of the difference's 95 % interval, by Student's t."""
        return None if self.standard_error is None else half_width(self.standard_error, self.freedom)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The difference's 95 % interval, of this comparison alone."""
        half = self.half_width
        return None if half is None else (self.difference - half, self.difference + half)

    @property
    def test(self) -> str:
        """The test of `p`: `McNemar` (exact), `t`, or empty without one."""
        return "McNemar" if self.only_wrong else "t" if self.standard_error is not None else ""

    @property
    def p(self) -> float | None:
        """The two-sided p value of this comparison alone."""
        if self.only_wrong:
            return mcnemar(*self.only_wrong)
        if self.standard_error is None:
            return None
        if not self.standard_error:
            return float(self.difference == 0)
        return float(2 * stats.t.sf(abs(self.difference) / self.standard_error, self.freedom))

    @property
    def differs(self) -> bool:
        """Whether the adjusted p value is below 0.05."""
        return self.holm_p is not None and self.holm_p < 1 - CONFIDENCE

    @property
    def within_chance(self) -> bool:
        """Whether there is a p value of this comparison alone, and it is not below 0.05."""
        return self.p is not None and self.p >= 1 - CONFIDENCE

    @property
    def undecided(self) -> bool:
        """Whether the p value is below 0.05 alone, but not adjusted: too few seeds for so many comparisons."""
        return self.p is not None and not self.within_chance and not self.differs


def comparisons(results: Results) -> tuple[Comparison, ...]:
    """Compare all pairs of up to 8 networks, of more each with the best; best means first."""
    ranked = results.ranked
    paired = len(ranked) <= MOST_PAIRED
    pairs = combinations(ranked, 2) if paired else ((ranked[0], other) for other in ranked[1:])
    found = [compare(network, reference, results) for reference, network in pairs]
    tested = [one for one in found if one.p is not None]
    adjusted = iter(holm([one.p for one in tested if one.p is not None]))
    return tuple(one if one.p is None else replace(one, holm_p=next(adjusted)) for one in found)


def compare(network: Summary, reference: Summary, results: Results) -> Comparison:
    """Compare two networks.

    Whether network k is wrong with seed s on image i is mu_k + I_ki + S_ks + E_kis, with random effects of the image,
    of the seed and of both. The difference of the means over N images, and n seeds of one and m of the other, has the
    variance

        var(I_1i - I_2i) / N + var(S) (1/n + 1/m) + var(E) (1/n + 1/m) / N.

    It is estimated by two terms. Images: var(d_i) / N, where d_i is the difference of the networks on image i, each a
    mean over its seeds; this has the first and the third part. Seeds: pooled spread^2 (1/n + 1/m), with the second and
    the third; a network that varies more than the others (`Results.outlying`) has its own spread there. So the third is
    counted twice, and the sum is slightly conservative: at most, where seeds differ image by image only, it is twice
    the variance. Degrees of freedom are Satterthwaite's: nearly those of the pooled spread where the seeds' term is the
    larger, and many where that of the images is. They are estimated too: with two or three degrees of the pooled
    spread, p values below 0.05 occur by chance in up to about 7 % of comparisons (simulated).

    Without predictions for the same images, the images' term is the sum of both binomial variances, p (100 - p) / N,
    which is larger, as it does not use that both networks have seen the same images. With one seed each, the spread
    is not known: what is compared are two trained networks, by McNemar's exact test if there are predictions.
    """
    differences, spread = _differences(network, reference, results), results.spread
    both = (network, reference)
    terms = _seeds_terms(both, results)
    if differences is not None:
        images = len(differences)
        terms.append((float(differences.var(ddof=1)) / images, images - 1))
    elif results.test_images:
        terms.append((sum(s.mean * (100 - s.mean) for s in both) / results.test_images, math.inf))
    if not terms:
        return Comparison(network, reference)
    return Comparison(
        network,
        reference,
        standard_error=math.sqrt(sum(variance for variance, _ in terms)),
        freedom=satterthwaite(terms),
        paired_images=0 if differences is None else len(differences),
        only_wrong=(
            None if differences is None or spread else (int((differences > 0).sum()), int((differences < 0).sum()))
        ),
    )


def _seeds_terms(both: Sequence[Summary], results: Results) -> list[tuple[float, float]]:
    """Variance and degrees of freedom from the spread over seeds: one term, or one per network if theirs differ."""
    variances: dict[Spread, float] = {}
    for summary in both:
        if spread := results.spread_of(summary):
            variances[spread] = variances.get(spread, 0.0) + spread.variance_of_mean(len(summary.values))
    return [(variance, spread.freedom) for spread, variance in variances.items()]


def _differences(network: Summary, reference: Summary, results: Results) -> NDArray[np.float64] | None:
    """In percent of the seeds, by how much more often the network is wrong on each test image, (images,).

    None where the metric is no proportion of images, a run has no predictions, or they are not for the same images.
    """
    runs = [*network.predictions, *reference.predictions]
    if not (results.test_images and network.predictions and reference.predictions and len(runs[0].labels) > 1):
        return None
    if not all(np.array_equal(run.labels, runs[0].labels) for run in runs):
        return None
    of_network, of_reference = (
        np.mean([run.wrong for run in summary.predictions], axis=0) for summary in (network, reference)
    )
    return 100 * (of_network - of_reference)


def satterthwaite(terms: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of estimated variances, from (variance, degrees of freedom) of each.

    >>> satterthwaite([(2.0, 5.0), (0.0, 9.0)]), satterthwaite([(1.0, 5.0), (1.0, 5.0)])
    (5.0, 10.0)
    """
    weight = sum(variance**2 / freedom for variance, freedom in terms)
    return sum(variance for variance, _ in terms) ** 2 / weight if weight else math.inf


def mcnemar(first: int, second: int) -> float:
    """P value of McNemar's exact test, two-sided: a binomial test of the images that only one of two has wrong.

    >>> mcnemar(1, 6), mcnemar(0, 0)
    (0.125, 1.0)
    """
    return float(stats.binomtest(first, first + second).pvalue) if first + second else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number by Holm's step-down method.

    >>> holm([0.01, 0.04, 0.03, 0.005])
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def write_comparisons(path: Path, results: Results) -> None:
    """Write comparisons.csv, one row per comparison."""
    write_table(path, [_row(one, results.metric.name) for one in comparisons(results)])


def _row(one: Comparison, metric: str) -> dict[str, Any]:
    low, high = one.interval or (None, None)
    return {
        "label": one.network.network.label,
        "reference": one.reference.network.label,
        f"difference_test_{metric}": rounded(one.difference),
        "interval_low": rounded(low),
        "interval_high": rounded(high),
        "standard_error": rounded(one.standard_error),
        "degrees_of_freedom": None if math.isinf(one.freedom) else round(one.freedom, 1),
        "test": one.test,
        "p": None if one.p is None else f"{one.p:.3g}",
        "holm_p": None if one.holm_p is None else f"{one.holm_p:.3g}",
        "seeds": len(one.network.values),
        "reference_seeds": len(one.reference.values),
        "paired_images": one.paired_images,
        "only_wrong": one.only_wrong and one.only_wrong[0],
        "reference_only_wrong": one.only_wrong and one.only_wrong[1],
    }
