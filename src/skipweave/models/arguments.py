"""Validation of the arguments of networks: all problems are reported at once."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple, TypeVar

from torch import nn

from skipweave import topology as patterns
from skipweave.layers import CifarStem, ImageNetStem, NormLayer, NormName, Stem, norm_name
from skipweave.layers.stem_and_head import POOLINGS
from skipweave.topology import Topology, TopologySpec
from skipweave.topology.graph import is_list
from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

PerStage = int | Sequence[int]
TopologyArgument = TopologySpec | Sequence[TopologySpec]
Heads = Literal["last", "stages"] | Sequence[int]
StemName = Literal["cifar", "imagenet"]
Choice = TypeVar("Choice")
AdaptPattern = Callable[[Topology, int], Topology]

#: Maximum number of units of a network; the links of more would not fit into memory if all read all.
MAX_UNITS = 2048


class Resolution(NamedTuple):
    """Resolution of a stage.

    Attributes:
        stride: Stride with respect to the image.
        dilation: Dilation of the stage's convolutions; more than 1 beyond the network's `output_stride`.
        downsamples: Whether the stage has half the resolution of the one before.
    """

    stride: int
    dilation: int
    downsamples: bool


@dataclass(frozen=True)
class StemSpec:
    """What the argument `stem` selects: the stem, and the number and resolutions of the stages.

    Attributes:
        make: Creates the stem, given image channels, its width and the norm.
        strides: Stride of each stage with respect to the image.
        max_pool: Whether the first stage begins with a 3x3 stride-2 max pool.
    """

    make: Callable[[int, int, NormName], Stem]
    strides: tuple[int, ...]
    max_pool: bool

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.strides)

    def entry(self) -> nn.Module:
        """Create the first layer of the first stage: the max pool, or identity."""
        return nn.MaxPool2d(3, stride=2, padding=1) if self.max_pool else nn.Identity()


_STEMS: dict[StemName, StemSpec] = {
    "cifar": StemSpec(lambda in_chans, width, _: CifarStem(in_chans, width), (1, 2, 4), max_pool=False),
    "imagenet": StemSpec(ImageNetStem, (4, 8, 16, 32), max_pool=True),
}


class Arguments:
    """Collects the problems of a network's arguments, and raises them together.

    Methods that return a value return a valid placeholder for an invalid argument, so that validation can continue.

    >>> check = Arguments()
    >>> check.per_stage("growth", 12, stages=3)
    (12, 12, 12)
    """

    def __init__(self) -> None:
        self._problems: list[str] = []

    def require(self, condition: bool, problem: str) -> None:
        """Add a problem unless the condition holds."""
        if not condition:
            self._problems.append(problem)

    def done(self) -> None:
        """Raise the collected problems, if there are any.

        Raises:
            SkipweaveError: There is at least one problem.
        """
        if self._problems:
            raise SkipweaveError(*self._problems)

    def per_stage(self, name: str, value: PerStage, stages: int, least: int = 1) -> tuple[int, ...]:
        """Check an integer for all stages, or one per stage; return one per stage."""
        values: tuple[Any, ...] = tuple(value) if is_list(value) else (value,) * stages
        valid = len(values) == stages and all(is_integer(v, least) for v in values)
        self.require(
            valid, f"{name} is {value!r}: expected an integer of at least {least}, or one for each of {stages} stages"
        )
        return tuple(int(v) for v in values) if valid else (least,) * stages

    def number_of_stages(self, name: str, values: Sequence[int]) -> int:
        """Check that there are values, one per stage; return their number."""
        valid = is_list(values) and len(values) > 0
        self.require(valid, f"{name} is {values!r}: expected integers, one per stage")
        return len(values) if valid else 1

    def units(self, value: PerStage, stages: int) -> tuple[int, ...]:
        """Check the number of units per stage, at most 2048 in total."""
        lengths = self.per_stage("units", value, stages)
        valid = sum(lengths) <= MAX_UNITS
        self.require(valid, f"units is {value!r}: expected at most {MAX_UNITS:,} over {stages} stages")
        return lengths if valid else (1,) * stages

    def units_or_depth(
        self,
        units: PerStage | None,
        depth: int | None,
        stages: int,
        *,
        default: int,
        layers_per_unit: int,
        other_layers: int,
    ) -> tuple[int, ...]:
        """Check the number of units per stage, given by `units` or by `depth` (`units_of_depth`), else the default.

        >>> Arguments().units_or_depth(None, 40, 3, default=1, layers_per_unit=1, other_layers=4)
        (12, 12, 12)
        """
        if depth is None:
            return self.units(default if units is None else units, stages)
        try:
            per_stage = units_of_depth(depth, layers_per_unit=layers_per_unit, other_layers=other_layers, stages=stages)
        except SkipweaveError as error:
            self.require(False, str(error))
            return (1,) * stages
        lengths = self.units(per_stage if units is None else units, stages)
        self.require(
            units is None or lengths == (per_stage,) * stages,
            f"depth is {depth} with units {units!r}: expected units {per_stage}, or only one of the two",
        )
        return lengths

    def integer(self, name: str, value: int, least: int = 1) -> int:
        """Check an integer of at least `least`; return it."""
        valid = is_integer(value, least)
        self.require(valid, f"{name} is {value!r}: expected an integer of at least {least}")
        return int(value) if valid else least

    def fraction(self, name: str, value: float, *, zero: bool, one: bool) -> None:
        """Check a number between 0 and 1; `zero` and `one` allow the ends."""
        number = isinstance(value, Real) and not isinstance(value, bool)
        valid = number and (0 < value < 1 or (zero and value == 0) or (one and value == 1))
        span = f"{'0 <=' if zero else '0 <'} {name} {'<= 1' if one else '< 1'}"
        self.require(valid, f"{name} is {value!r}: expected a number with {span}")

    def one_of(self, name: str, value: Choice, choices: Sequence[Choice]) -> Choice:
        """Check that a value is one of several; return it. 1 is accepted for True, but not True for 1."""
        valid = isinstance(value, str | Integral) and value in choices
        valid = valid and isinstance(value, bool) <= isinstance(choices[choices.index(value)], bool)
        self.require(valid, f"{name} is {value!r}: expected one of {', '.join(map(repr, choices))}")
        return value if valid else choices[0]

    def norm_layer(self, value: NormLayer) -> NormName:
        """Check the argument `norm_layer`; return the name of the norm."""
        try:
            return norm_name(value)
        except SkipweaveError as error:
            self.require(False, str(error))
            return "batch"

    def stem(self, stem: StemName) -> StemSpec:
        """Check the argument `stem`; return what it selects."""
        return _STEMS[self.one_of("stem", stem, list(_STEMS))]

    def classifier(
        self, heads: Heads, units: Sequence[int], num_classes: int, in_chans: int, global_pool: str, drop_rate: float
    ) -> tuple[int, ...]:
        """Check the arguments of all classification networks; return the units with early exits (`exits`)."""
        self.integer("num_classes", num_classes, least=0)
        self.integer("in_chans", in_chans)
        self.one_of("global_pool", global_pool, POOLINGS)
        self.fraction("drop_rate", drop_rate, zero=True, one=False)
        return self.exits(heads, units)

    def exits(self, heads: Heads, units: Sequence[int]) -> tuple[int, ...]:
        """Return the units after which there are early exits, counted from 1 through all stages.

        >>> Arguments().exits("stages", units=(4, 4, 4))
        (4, 8)
        """
        *ends, last = itertools.accumulate(units)
        if heads in ("last", "stages"):
            return tuple(ends) if heads == "stages" else ()
        chosen = tuple(heads) if is_list(heads) else ()
        valid = bool(chosen) and all(is_integer(unit) for unit in chosen)
        valid = valid and all(a < b for a, b in itertools.pairwise((0, *chosen, last)))
        self.require(
            valid, f"heads is {heads!r}: expected 'last', 'stages', or units from 1 to {last - 1} in ascending order"
        )
        return chosen if valid else ()

    def feature_indices(self, value: int | Sequence[int], count: int) -> None:
        """Check the argument `out_indices` of a network with this number of feature maps: a number of maps, or some."""
        number = is_integer(value, 1) and value <= count
        chosen = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else ()
        some = bool(chosen) and all(is_integer(index) and -count <= index < count for index in chosen)
        self.require(
            number or some,
            f"out_indices is {value!r}: expected indices from 0 to {count - 1} in a list, or how many of the last maps",
        )

    def resolutions(self, output_stride: int | None, strides: Sequence[int]) -> tuple[Resolution, ...]:
        """Check `output_stride`, the maximum stride; return the resolutions of stages with these nominal strides.

        >>> [tuple(stage) for stage in Arguments().resolutions(2, [1, 2, 4])]
        [(1, 1, False), (2, 1, True), (2, 2, False)]
        """
        limit = strides[-1] if output_stride is None else self.one_of("output_stride", output_stride, strides)
        return tuple(
            Resolution(min(stride, limit), max(1, stride // limit), downsamples=strides[0] < stride <= limit)
            for stride in strides
        )

    def topologies(
        self, value: TopologyArgument, units: Sequence[int], adapt: AdaptPattern = lambda graph, stage: graph
    ) -> tuple[Topology, ...]:
        """Create one topology for all stages, or one per stage; a problem of all stages is reported once.

        Args:
            value: The argument `topology`.
            units: Number of units per stage.
            adapt: Changes the pattern of a stage, as a family requires, if it is given by its name; a `Topology` and
                lists of sources stay as they are.
        """
        made = []
        problems: dict[str, list[int]] = {}
        for stage, (spec, n) in enumerate(zip(_specs(value, len(units)), units, strict=True)):
            try:
                graph = patterns.make(spec, n)
                made.append(adapt(graph, stage) if isinstance(spec, str) else graph)
            except SkipweaveError as error:
                problems.setdefault(str(error), []).append(stage)
                made.append(patterns.plain(n))
        for problem, stages in problems.items():
            where = "" if len(stages) == len(units) else f"stage {', '.join(map(str, stages))}: "
            self.require(False, f"{where}{problem}")
        return tuple(made)


def units_of_depth(depth: int, *, layers_per_unit: int, other_layers: int, stages: int) -> int:
    """Units per stage of a network with this number of layers, as the papers count them.

    Raises:
        SkipweaveError: No number of units gives this depth, or it is not an integer.

    >>> units_of_depth(40, layers_per_unit=1, other_layers=4, stages=3)
    12
    """
    if not is_integer(depth):
        raise SkipweaveError(f"depth is {depth!r}: expected an integer; or give units instead")
    step = layers_per_unit * stages
    units, rest = divmod(depth - other_layers, step)
    if rest or units < 1:
        near = [n * step + other_layers for n in (max(1, units), max(1, units) + 1)]
        raise SkipweaveError(
            f"depth is {depth}: expected {step}n+{other_layers} with n >= 1, for instance {near[0]} or {near[1]}; "
            "or give units instead"
        )
    return units


def _specs(value: TopologyArgument, stages: int) -> list[TopologySpec]:
    """One specification per stage; a list of lists of numbers is a single one, for all stages."""
    if not isinstance(value, str | Topology | Sequence):
        raise SkipweaveError(f"topology is {value!r}: expected the name of a pattern, a Topology or a list of lists")
    single = isinstance(value, str | Topology) or any(_holds_integers(item) for item in value)
    if single:
        return [value] * stages  # type: ignore[list-item]
    specs: list[TopologySpec] = list(value)  # type: ignore[arg-type]
    if len(specs) != stages:
        raise SkipweaveError(
            f"topology has {len(specs)} entries: expected one for all or one for each of {stages} stages"
        )
    return specs


def _holds_integers(item: object) -> bool:
    return is_list(item) and all(is_integer(v) for v in item)
