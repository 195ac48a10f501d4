"""What a user may give for a network's arguments, checked where it enters, all mistakes at once."""

import itertools
from collections.abc import Sequence
from numbers import Integral, Real

from skipweave import topology as patterns
from skipweave.errors import SkipweaveError
from skipweave.models.exits import Heads
from skipweave.topology import Topology, TopologySpec

PerStage = int | Sequence[int]
TopologyArgument = TopologySpec | Sequence[TopologySpec]

#: Units of a network; the links between more would not fit into memory where each reads all.
MOST_UNITS = 2048


class Arguments:
    """Collects the mistakes in a network's arguments and raises them together.

    >>> check = Arguments()
    >>> check.per_stage("growth", 12, stages=3)
    (12, 12, 12)
    """

    def __init__(self) -> None:
        self._mistakes: list[str] = []

    def require(self, condition: bool, mistake: str) -> None:
        """Note a mistake unless the condition holds."""
        if not condition:
            self._mistakes.append(mistake)

    def done(self) -> None:
        """Raise what was noted.

        Raises:
            SkipweaveError: At least one mistake was noted.
        """
        if self._mistakes:
            raise SkipweaveError(*self._mistakes)

    def per_stage(self, name: str, value: PerStage, stages: int, least: int = 1) -> tuple[int, ...]:
        """One whole number for all stages, or one a stage; on a mistake, a stand-in that lets checking go on."""
        values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * stages
        fits = len(values) == stages and all(_is_whole(v) and v >= least for v in values)
        self.require(
            fits,
            f"{name} is {value!r}: expected a whole number of at least {least}, or one for each of {stages} stages",
        )
        return tuple(int(v) for v in values) if fits else (least,) * stages

    def units(self, value: PerStage, stages: int) -> tuple[int, ...]:
        """Units a stage, as `per_stage`, and at most 2048 in all."""
        lengths = self.per_stage("units", value, stages)
        fits = sum(lengths) <= MOST_UNITS
        self.require(fits, f"units is {value!r}: expected at most {MOST_UNITS:,} over {stages} stages")
        return lengths if fits else (1,) * stages

    def whole(self, name: str, value: int, least: int = 1) -> None:
        """A whole number of at least `least`."""
        self.require(
            _is_whole(value) and value >= least, f"{name} is {value!r}: expected a whole number of at least {least}"
        )

    def fraction(self, name: str, value: float, *, zero: bool, one: bool) -> None:
        """A number between 0 and 1, either end included or not."""
        number = isinstance(value, Real) and not isinstance(value, bool)
        fits = number and (0 < value < 1 or (zero and value == 0) or (one and value == 1))
        span = f"{'0 <=' if zero else '0 <'} {name} {'<= 1' if one else '< 1'}"
        self.require(fits, f"{name} is {value!r}: expected a number with {span}")

    def one_of(self, name: str, value: object, choices: Sequence[object]) -> None:
        """One of a few values."""
        self.require(value in choices, f"{name} is {value!r}: expected one of {', '.join(map(repr, choices))}")

    def classifier(
        self, *, heads: Heads, units: Sequence[int], num_classes: int, in_chans: int, drop_rate: float
    ) -> tuple[int, ...]:
        """What every classification network takes; return the units after which its exits are (`exits`)."""
        self.whole("num_classes", num_classes, least=0)
        self.whole("in_chans", in_chans)
        self.fraction("drop_rate", drop_rate, zero=True, one=False)
        return self.exits(heads, units)

    def exits(self, heads: Heads, units: Sequence[int]) -> tuple[int, ...]:
        """Return the units after which exits are, counted from 1 through all stages.

        >>> Arguments().exits("stages", units=(4, 4, 4))
        (4, 8)
        """
        *ends, last = itertools.accumulate(units)
        if heads in ("last", "stages"):
            return tuple(ends) if heads == "stages" else ()
        places = tuple(heads) if isinstance(heads, Sequence) and not isinstance(heads, str) else ()
        fits = bool(places) and all(_is_whole(place) for place in places)
        fits = fits and all(a < b for a, b in itertools.pairwise((0, *places, last)))
        self.require(
            fits,
            f"heads is {heads!r}: expected 'last', 'stages', or, in ascending order, the units from 1 to {last - 1} "
            "after which exits are to be",
        )
        return places if fits else ()

    def stride_limit(self, output_stride: int | None, strides: Sequence[int]) -> int:
        """Largest stride against the image, one of those that the stages have; None is that of the last stage."""
        limit = strides[-1] if output_stride is None else output_stride
        self.one_of("output_stride", limit, strides)
        return limit

    def topologies(self, value: TopologyArgument, units: Sequence[int]) -> tuple[Topology, ...]:
        """One topology for all stages, or one a stage. A mistake that is the same in all stages is told once."""
        made = []
        mistakes: dict[str, list[int]] = {}
        for stage, (spec, n) in enumerate(zip(_one_a_stage(value, len(units)), units, strict=True)):
            try:
                made.append(patterns.make(spec, n))
            except SkipweaveError as mistake:
                mistakes.setdefault(str(mistake), []).append(stage)
                made.append(patterns.plain(n))
        for problem, stages in mistakes.items():
            where = "" if len(stages) == len(units) else f"stage {', '.join(map(str, stages))}: "
            self.require(False, f"{where}{problem}")
        return tuple(made)


def units_of_depth(depth: int, *, layers_a_unit: int, other_layers: int, stages: int) -> int:
    """Units a stage of a network of so many layers, as the papers name their networks.

    Raises:
        SkipweaveError: No whole number of units gives this depth.

    >>> units_of_depth(40, layers_a_unit=1, other_layers=4, stages=3)
    12
    """
    step = layers_a_unit * stages
    units, rest = divmod(depth - other_layers, step)
    if rest or units < 1:
        near = [n * step + other_layers for n in (max(1, units), max(1, units) + 1)]
        raise SkipweaveError(
            f"depth is {depth}: expected {step}n+{other_layers} with n >= 1, for instance {near[0]} or {near[1]}; "
            "or give units instead"
        )
    return units


def _one_a_stage(value: TopologyArgument, stages: int) -> list[TopologySpec]:
    """Tell a topology a stage (names, Topologies, lists of lists of lists) from one list of lists for all."""
    single = isinstance(value, str | Topology) or any(_holds_numbers(item) for item in value)
    if single:
        return [value] * stages  # type: ignore[list-item]
    specs: list[TopologySpec] = list(value)  # type: ignore[arg-type]
    if len(specs) != stages:
        raise SkipweaveError(
            f"topology has {len(specs)} entries: expected one for all or one for each of {stages} stages"
        )
    return specs


def _holds_numbers(item: object) -> bool:
    return isinstance(item, Sequence) and not isinstance(item, str) and all(_is_whole(v) for v in item)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
