"""`SpanningPlan`: a topology over several resolutions, and which node exists at which of them, made how."""

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from skipweave.errors import SkipweaveError
from skipweave.topology.graph import Topology

Prune = Literal["exact", "birth", "none"]


class Version(NamedTuple):
    """A node at the resolution of a stage."""

    node: int
    stage: int


@dataclass(frozen=True)
class Step:
    """One thing the forward pass does: make a node from nodes, or carry a node from one stage to the next.

    Attributes:
        makes: What exists afterwards.
        reads: What it is made from, all at one resolution; a carried node reads just itself, at the one before.
        spent: What nobody reads any more afterwards.
    """

    makes: Version
    reads: tuple[Version, ...]
    spent: tuple[Version, ...]

    @property
    def is_carry(self) -> bool:
        """Whether a node is carried rather than made."""
        return self.reads[0].node == self.makes.node


@dataclass(frozen=True)
class SpanningPlan:
    """One index space through all stages (Log-DenseNet V1, section 3.1; segmentation, section 4.3).

    A node that is read in a later stage than its own is carried there by a transition of its own, stage by stage, and
    shared by all its readers at that resolution.

    Args:
        topology: What the nodes 1..L read; node 0 is the stem's output.
        units: Units a stage; their sum is L.
        scales: Resolution a stage, 0 the finest, neighbors differing by one; None is 0, 1, 2, ...
        prune: How far nodes are carried: `"exact"`, to their last reader; `"birth"`, at least back up to the
            resolution they were made at; `"none"`, to the last stage.
        reuse: Whether a node that existed at a resolution is taken from there when a later stage has it again.

    Raises:
        SkipweaveError: The stages do not fit the topology or one another.

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
                f"topology {self.topology.name!r} has {self.topology.units} units where the stages "
                f"{list(self.units)} have {sum(self.units)}"
            )
        scales = tuple(range(len(self.units))) if self.scales is None else tuple(self.scales)
        steps = {abs(b - a) for a, b in itertools.pairwise(scales)}
        if len(scales) != len(self.units) or steps - {1} or min(scales, default=0) < 0:
            raise SkipweaveError(
                f"scales {list(scales)} of {len(self.units)} stages: expected one a stage, each one more or less than "
                "the one before"
            )
        object.__setattr__(self, "scales", scales)

    def scale(self, stage: int) -> int:
        """Resolution of a stage: 0 the finest, each further one half as fine."""
        assert self.scales is not None
        return self.scales[stage]

    @cached_property
    def births(self) -> tuple[int, ...]:
        """The stage in which each of the nodes 0..L is made."""
        return (0, *(stage for stage, count in enumerate(self.units) for _ in range(count)))

    def carried(self, stage: int) -> tuple[int, ...]:
        """Nodes that are carried from the stage before to this one, newest first."""
        return self._carried[stage]

    @cached_property
    def _carried(self) -> tuple[tuple[int, ...], ...]:
        """Pass on, from the last stage to the first, which nodes a stage wants to have."""
        wanted: list[set[int]] = [set() for _ in self.units]
        for node in range(1, self.topology.units + 1):
            wanted[self.births[node]].update(self.topology.sources(node))
        carried: list[tuple[int, ...]] = []
        for stage in reversed(range(len(self.units))):
            here = []
            for node in reversed(range(len(self.births))):
                if self.births[node] >= stage:
                    continue
                if (home := self._reusable(node, stage)) is not None:
                    if node in wanted[stage]:
                        wanted[home].add(node)
                elif node in wanted[stage] or self._is_kept(node, stage):
                    here.append(node)
                    wanted[stage - 1].add(node)
            carried.append(tuple(here))
        return tuple(reversed(carried))

    def _reusable(self, node: int, stage: int) -> int | None:
        """The latest earlier stage of this resolution that can have the node, if nodes are taken from there."""
        if not self.reuse:
            return None
        earlier = range(stage - 1, self.births[node] - 1, -1)
        return next((other for other in earlier if self.scale(other) == self.scale(stage)), None)

    def _is_kept(self, node: int, stage: int) -> bool:
        """Whether the node is carried on although nobody there or later reads it."""
        if self.prune == "birth":
            return self.scale(self.births[node]) <= self.scale(stage)
        return self.prune == "none"

    def version(self, node: int, stage: int) -> Version:
        """Where the units of a stage find a node that they read."""
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
        """The topology with what the last head reads in place of what its own virtual node reads.

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
        """What the forward pass does, stage by stage, in order; worked out backwards, from the last use of everything.

        A head reads the node that a step makes and what the step reads (section 3.1), so it needs nothing kept for it.
        """
        needed: set[Version] = set()
        stages = []
        for stage in reversed(range(len(self.units))):
            steps = []
            for makes, reads in reversed(self._made_in(stage)):
                spent = tuple(version for version in (*reads, makes) if version not in needed)
                needed.update(reads)
                steps.append(Step(makes, reads, spent))
            stages.append(tuple(reversed(steps)))
        return tuple(reversed(stages))

    def _made_in(self, stage: int) -> list[tuple[Version, tuple[Version, ...]]]:
        """What a stage makes from what: first the nodes carried there, then its own."""
        made: list[tuple[Version, tuple[Version, ...]]] = [
            (Version(node, stage), (self.version(node, stage - 1),)) for node in self.carried(stage)
        ]
        first = sum(self.units[:stage]) + 1
        for node in range(first, first + self.units[stage]):
            made.append((Version(node, stage), tuple(self.version(s, stage) for s in self.topology.sources(node))))
        return made
