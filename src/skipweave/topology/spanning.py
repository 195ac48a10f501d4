"""`SpanningPlan`: a topology over several resolutions, and which node exists at which of them, made how."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from skipweave.errors import SkipweaveError
from skipweave.topology.graph import Topology


class Version(NamedTuple):
    """A node at the resolution of a stage."""

    node: int
    stage: int


@dataclass(frozen=True)
class Step:
    """One thing the forward pass does: make a node from nodes, or carry a node from one stage to the next.

    Attributes:
        makes: What exists afterwards.
        reads: What it is made from, all at one resolution; a carried node reads just itself.
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
    """One index space through all stages (Log-DenseNet V1, section 3.1).

    A node that is read in a later stage than its own is carried there by a transition of its own, stage by stage; it is
    carried only where some reader needs it, and all readers at a resolution share it.

    Args:
        topology: What the nodes 1..L read; node 0 is the stem's output.
        units: Units a stage; their sum is L.
        prune: Whether a node is carried no further than its last reader; otherwise every node goes to the last stage.

    Raises:
        SkipweaveError: The stages do not add up to the topology's units.

    >>> from skipweave.topology import exponential
    >>> plan = SpanningPlan(exponential(4), units=(2, 2))
    >>> plan.carried(1)
    (2, 1, 0)
    """

    topology: Topology
    units: tuple[int, ...]
    prune: bool = True

    def __post_init__(self) -> None:
        if sum(self.units) != self.topology.units:
            raise SkipweaveError(
                f"topology {self.topology.name!r} has {self.topology.units} units where the stages "
                f"{list(self.units)} have {sum(self.units)}"
            )

    @cached_property
    def births(self) -> tuple[int, ...]:
        """The stage in which each of the nodes 0..L is made."""
        return (0, *(stage for stage, count in enumerate(self.units) for _ in range(count)))

    def carried(self, stage: int) -> tuple[int, ...]:
        """Nodes that are carried from the stage before to this one, newest first."""
        return self._carried[stage]

    @cached_property
    def _carried(self) -> tuple[tuple[int, ...], ...]:
        wanted: set[int] = set()
        carried: list[tuple[int, ...]] = []
        for stage in reversed(range(len(self.units))):
            first = sum(self.units[:stage]) + 1
            for node in range(first, first + self.units[stage]):
                wanted.update(self.topology.sources(node))
            everything = {node for node, birth in enumerate(self.births) if birth < stage}
            earlier = {node for node in wanted if self.births[node] < stage} if self.prune else everything
            carried.append(tuple(sorted(earlier, reverse=True)))
        return tuple(reversed(carried))

    def exit(self, stage: int) -> tuple[Version, ...]:
        """What a head at a stage's end reads: the last node and what that node read (section 3.1); newest first.

        The topology's own virtual node is left aside: a head after the last stage follows the same rule.
        """
        last = sum(self.units[: stage + 1])
        nodes = (last, *self.topology.sources(last)) if last else (0,)
        return tuple(Version(node, stage) for node in nodes)

    @property
    def steps(self) -> tuple[tuple[Step, ...], ...]:
        """What the forward pass does, stage by stage, in order."""
        return self._schedule[0]

    def spent_at_exit(self, stage: int) -> tuple[Version, ...]:
        """What nobody reads any more after a stage's head has read it."""
        return self._schedule[1][stage]

    @cached_property
    def _schedule(self) -> tuple[tuple[tuple[Step, ...], ...], tuple[tuple[Version, ...], ...]]:
        """Find the last use of everything, going backwards."""
        needed: set[Version] = set()
        stages, ends = [], []
        for stage in reversed(range(len(self.units))):
            ends.append(tuple(version for version in self.exit(stage) if version not in needed))
            needed.update(self.exit(stage))
            steps = []
            for makes, reads in reversed(self._made_in(stage)):
                spent = tuple(version for version in (*reads, makes) if version not in needed)
                needed.update(reads)
                steps.append(Step(makes, reads, spent))
            stages.append(tuple(reversed(steps)))
        return tuple(reversed(stages)), tuple(reversed(ends))

    def _made_in(self, stage: int) -> list[tuple[Version, tuple[Version, ...]]]:
        """What a stage makes from what: first the nodes carried there, then its own."""
        made = [(Version(node, stage), (Version(node, stage - 1),)) for node in self.carried(stage)]
        first = sum(self.units[:stage]) + 1
        for node in range(first, first + self.units[stage]):
            made.append((Version(node, stage), tuple(Version(s, stage) for s in self.topology.sources(node))))
        return made
