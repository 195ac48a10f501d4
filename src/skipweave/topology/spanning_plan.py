"""`SpanningPlan`: the execution plan of a topology that spans stages of several resolutions."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from skipweave.topology.graph import Topology
from skipweave_config.errors import SkipweaveError

Prune = Literal["exact", "birth", "none"]


class Version(NamedTuple):
    """A node at the resolution of a stage."""

    node: int
    stage: int


@dataclass(frozen=True)
class Step:
    """A step of the forward pass: compute a node from others, or carry a node from one stage to the next.

    Attributes:
        makes: The result.
        reads: The inputs, all at one resolution. A carry step reads the node itself at the stage before.
        frees: Versions that no later step reads.
    """

    makes: Version
    reads: tuple[Version, ...]
    frees: tuple[Version, ...]

    @property
    def is_carry(self) -> bool:
        """Whether the step carries a node rather than computing one."""
        return self.reads[0].node == self.makes.node


@dataclass(frozen=True)
class SpanningPlan:
    """The steps of a network in which one topology counts nodes through all stages.

    (Log-DenseNet V1, section 3.1; segmentation, section 4.2.) A node that is read in a later stage is carried there
    stage by stage, each time by its own transition, and shared by all its readers at that resolution.

    Args:
        topology: Links of the nodes 1..L; node 0 is the stem's output.
        units: Number of units per stage, L in total.
        scales: Resolution of each stage as a power of two, 0 the finest; neighbors differ by one. None is 0, 1, 2, ...
        prune: How far nodes are carried: `"exact"` (default), to their last reader; `"birth"`, at least back up to the
            resolution at which they were computed; `"none"`, to the last stage.
        reuse: Whether a stage takes a node from an earlier stage of the same resolution, if it existed there, instead
            of having it carried back.

    Raises:
        SkipweaveError: `units` or `scales` do not match the topology or each other.

    >>> from skipweave.topology import exponential
    >>> plan = SpanningPlan(exponential(4), units=(2, 2))
    >>> plan.carried(1)
    (2, 1, 0)
    """

    topology: Topology
    units: tuple[int, ...]
    scales: tuple[int, ...] | None = None
    prune: Prune = "exact"
    reuse: bool = True

    def __post_init__(self) -> None:
        if sum(self.units) != self.topology.units:
            raise SkipweaveError(
                f"topology {self.topology.name!r} has {self.topology.units} units, but the stages "
                f"{list(self.units)} have {sum(self.units)}"
            )
        scales = tuple(range(len(self.units))) if self.scales is None else tuple(self.scales)
        steps = {abs(b - a) for a, b in itertools.pairwise(scales)}
        if len(scales) != len(self.units) or steps - {1} or min(scales, default=0) < 0:
            raise SkipweaveError(
                f"scales are {list(scales)} for {len(self.units)} stages: expected one per stage, each one more or "
                "one less than the one before"
            )
        object.__setattr__(self, "scales", scales)

    def scale(self, stage: int) -> int:
        """Resolution of a stage as a power of two: 0 is the finest, 1 half of it, and so on."""
        assert self.scales is not None
        return self.scales[stage]

    @cached_property
    def births(self) -> tuple[int, ...]:
        """The stage in which each of the nodes 0..L is computed."""
        return (0, *(stage for stage, count in enumerate(self.units) for _ in range(count)))

    def carried(self, stage: int) -> tuple[int, ...]:
        """Nodes that are carried to a stage from the one before, newest first."""
        return self._carried[stage]

    @cached_property
    def _carried(self) -> tuple[tuple[int, ...], ...]:
        """Propagate the nodes that each stage needs from the last stage to the first."""
        needed: list[set[int]] = [set() for _ in self.units]
        for node in range(1, self.topology.units + 1):
            needed[self.births[node]].update(self.topology.sources(node))
        carried: list[tuple[int, ...]] = []
        for stage in reversed(range(len(self.units))):
            here = []
            for node in reversed(range(len(self.births))):
                if self.births[node] >= stage:
                    continue
                if (home := self._reusable(node, stage)) is not None:
                    if node in needed[stage]:
                        needed[home].add(node)
                elif node in needed[stage] or self._is_kept(node, stage):
                    here.append(node)
                    needed[stage - 1].add(node)
            carried.append(tuple(here))
        return tuple(reversed(carried))

    def _reusable(self, node: int, stage: int) -> int | None:
        """The latest earlier stage of the same resolution that can have the node; None without `reuse`."""
        if not self.reuse:
            return None
        earlier = range(stage - 1, self.births[node] - 1, -1)
        return next((other for other in earlier if self.scale(other) == self.scale(stage)), None)

    def _is_kept(self, node: int, stage: int) -> bool:
        """Whether `prune` keeps a node that has no reader in this or a later stage."""
        if self.prune == "birth":
            return self.scale(self.births[node]) <= self.scale(stage)
        return self.prune == "none"

    def version(self, node: int, stage: int) -> Version:
        """The version of a node that the units of a stage read."""
        if self.births[node] == stage or node in self._carried[stage]:
            return Version(node, stage)
        home = self._reusable(node, stage)
        assert home is not None
        return self.version(node, home)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The last node of each stage."""
        return tuple(itertools.accumulate(self.units))

    @property
    def as_read(self) -> Topology:
        """The topology with the sources of the last head in place of those of its virtual node.

        >>> from skipweave.topology import exponential
        >>> plan = SpanningPlan(exponential(4), units=(2, 2))
        >>> plan.topology.output, plan.as_read.output
        ((4, 3, 1), (4, 3, 2, 0))
        """
        return Topology(
            (*self.topology.reads[:-1], self.topology.node_and_sources(self.topology.units)), self.topology.name
        )

    @cached_property
    def steps(self) -> tuple[tuple[Step, ...], ...]:
        """The steps of the forward pass in order, stage by stage, computed backwards from the last use of each version.

        A head reads the result of a step and the step's inputs (section 3.1), so no version outlives its last step for
        the sake of a head.
        """
        needed: set[Version] = set()
        stages = []
        for stage in reversed(range(len(self.units))):
            steps = []
            for makes, reads in reversed(self._made_in(stage)):
                frees = tuple(version for version in (*reads, makes) if version not in needed)
                needed.update(reads)
                steps.append(Step(makes, reads, frees))
            stages.append(tuple(reversed(steps)))
        return tuple(reversed(stages))

    def _made_in(self, stage: int) -> list[tuple[Version, tuple[Version, ...]]]:
        """Results and inputs of a stage's steps: first the nodes carried there, then its own."""
        made: list[tuple[Version, tuple[Version, ...]]] = [
            (Version(node, stage), (self.version(node, stage - 1),)) for node in self.carried(stage)
        ]
        first = sum(self.units[:stage]) + 1
        for node in range(first, first + self.units[stage]):
            made.append((Version(node, stage), tuple(self.version(s, stage) for s in self.topology.sources(node))))
        return made
