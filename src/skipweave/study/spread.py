"""Spread of a network's metric over seeds, pooled over the networks of a study, and intervals of means."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy import stats

#: Confidence of all intervals, each of a single mean or difference.
CONFIDENCE = 0.95

# Level of the tests for outlying spreads, all together, and the fewest networks with two seeds to test.
_OUTLYING_LEVEL = 0.01
_FEWEST_TESTED = 3


@dataclass(frozen=True)
class Spread:
    """Standard deviation of one run's value over seeds.

    Attributes:
        value: The standard deviation, in the metric's unit.
        freedom: Its degrees of freedom.
    """

    value: float
    freedom: int

    def variance_of_mean(self, seeds: int) -> float:
        """Variance of the mean over seeds."""
        return self.value**2 / seeds

    def half_width(self, seeds: int) -> float:
        """Half of the 95 % interval of a mean over seeds, by Student's t."""
        return half_width(math.sqrt(self.variance_of_mean(seeds)), self.freedom)


def pooled_spread(networks: Iterable[Sequence[float]]) -> Spread | None:
    """The spread over seeds, from the values of each network.

    With few seeds a network's own deviation is hardly known; pooled it has sum(seeds - 1) degrees of freedom.

    Returns:
        None where no network has two seeds.

    >>> pooled_spread([(1.0, 3.0), (4.0, 10.0), (5.0,)])  # (1 + 1 + 9 + 9) / 2 = 10
    Spread(value=3.1622776601683795, freedom=2)
    """
    groups = [(values, fmean(values)) for values in networks]
    squares = sum((value - mean) ** 2 for values, mean in groups for value in values)
    freedom = sum(len(values) - 1 for values, _ in groups)
    return Spread(math.sqrt(squares / freedom), freedom) if freedom else None


def outlying_spreads(networks: Sequence[Sequence[float]]) -> tuple[int, ...]:
    """Networks that vary more over seeds than the others do, beyond chance, such as those that may not converge.

    The largest variance is compared with that pooled over the others by a one-sided F test at 1 %, adjusted for the
    number of networks (of equal numbers of seeds it is Cochran's C test), then the next one, until one is not larger.

    Args:
        networks: The values of each network.

    Returns:
        Indices of the networks, largest variance first; none of fewer than three networks with two seeds.

    >>> outlying_spreads([(1.0, 1.1, 1.2), (1.3, 1.5, 1.4), (2.0, 2.2, 2.0), (70.0, 80.0, 60.0)])
    (3,)
    """
    left = {index: spread for index, values in enumerate(networks) if (spread := pooled_spread([values]))}
    found: list[int] = []
    while len(left) >= _FEWEST_TESTED:
        index = max(left, key=lambda i: left[i].value)
        largest, others = left.pop(index), pooled_spread(networks[i] for i in left)
        if not others or not others.value:
            break
        ratio = (largest.value / others.value) ** 2
        if stats.f.sf(ratio, largest.freedom, others.freedom) * (len(left) + 1) >= _OUTLYING_LEVEL:
            break
        found.append(index)
    return tuple(found)


def half_width(standard_error: float, freedom: float) -> float:
    """Half of the 95 % interval of an estimate, by Student's t."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * standard_error
