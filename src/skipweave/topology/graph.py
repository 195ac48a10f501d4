"""`Topology`: the earlier nodes that each node of a stage reads, and measures of this graph."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from skipweave_config.errors import SkipweaveError
from skipweave_config.integers import is_integer

_UNREACHED = np.iinfo(np.int32).max // 2


class Link(NamedTuple):
    """A link of a network: in the topology of `stage` (0-based), node `reader` reads node `source`."""

    stage: int
    reader: int
    source: int


@dataclass(frozen=True)
class Topology:
    """The links of `n` units, immutable and hashable.

    Node 0 is the stage's input, nodes 1..n are the outputs of the units, and the virtual node n + 1 stands for the
    stage's reader, a transition or the classifier (SparseNet, section 3.1). Sources are stored newest first, the order
    of their concatenation. Topologies with the same links are equal, whatever their names.

    Args:
        reads: For each of the nodes 1..n + 1, the nodes it reads; the last entry belongs to the virtual node.
        name: Label for tables and figures.

    Raises:
        SkipweaveError: A node reads nothing, a node that does not exist yet, or the same node twice; or `reads` is not
            a sequence of sequences.

    >>> Topology(reads=((0,), (1, 0), (2, 1))).sources(2)
    (1, 0)
    """

    reads: tuple[tuple[int, ...], ...]
    name: str = field(default="custom", compare=False)

    def __post_init__(self) -> None:
        if problems := list(_problems(self.reads)):
            raise SkipweaveError(f"topology {self.name!r}: " + "; ".join(problems))
        object.__setattr__(
            self, "reads", tuple(tuple(sorted(map(int, sources), reverse=True)) for sources in self.reads)
        )

    @classmethod
    def from_lists(cls, lists: Sequence[Iterable[int]], name: str = "custom") -> "Topology":
        """Create a topology from lists of sources for the nodes 1..n and, last, the stage's reader.

        Raises:
            SkipweaveError: As for `Topology`; or there are no lists.

        >>> Topology.from_lists([[0], [0, 1], [2]]).units
        2
        """
        rows = _as_tuple(lists)
        return cls(tuple(map(_as_tuple, rows)) if isinstance(rows, tuple) else rows, name)

    def without(self, links: Iterable[tuple[int, int]]) -> "Topology":
        """Return the topology with some links removed.

        Args:
            links: Pairs (reader, source) with reader in 1..n + 1.

        Raises:
            SkipweaveError: A link does not exist, or a reader would be left without sources.

        >>> Topology.from_lists([[0], [0, 1], [1, 2]]).without([(2, 0), (3, 1)]).reads
        ((0,), (1,), (2,))
        """
        removed = set(links)
        if missing := [(reader, source) for reader, source in sorted(removed) if source not in self.sources(reader)]:
            listed = ", ".join(f"node {reader} does not read node {source}" for reader, source in missing)
            raise SkipweaveError(f"topology {self.name!r}: {listed}")
        kept = [
            [source for source in sources if (reader, source) not in removed]
            for reader, sources in enumerate(self.reads, start=1)
        ]
        return Topology.from_lists(kept, f"{self.name} minus {len(removed)}" if removed else self.name)

    @property
    def unread(self) -> tuple[int, ...]:
        """Nodes without a reader."""
        read = {source for sources in self.reads for source in sources}
        return tuple(node for node in range(self.units + 1) if node not in read)

    @property
    def units(self) -> int:
        """Number of units n."""
        return len(self.reads) - 1

    @property
    def output(self) -> tuple[int, ...]:
        """Sources of the virtual node n + 1: the output of the stage."""
        return self.reads[-1]

    def sources(self, node: int) -> tuple[int, ...]:
        """Nodes that `node` (1..n + 1) reads, newest first.

        Raises:
            SkipweaveError: The node is not in 1..n + 1 (node 0 has no sources).
        """
        if not 1 <= node <= self.units + 1:
            raise SkipweaveError(f"node {node} has no sources: expected a node from 1 to {self.units + 1}")
        return self.reads[node - 1]

    def node_and_sources(self, node: int) -> tuple[int, ...]:
        """A node and its sources, newest first: the input of an auxiliary head (Log-DenseNet, section 3.1).

        >>> Topology(reads=((0,), (1, 0), (2, 1))).node_and_sources(2)
        (2, 1, 0)
        """
        return (node, *self.sources(node))

    @property
    def in_degrees(self) -> tuple[int, ...]:
        """Number of sources of each of the nodes 1..n."""
        return tuple(len(sources) for sources in self.reads[:-1])

    @property
    def links(self) -> int:
        """Number of links of the n units, without those of the virtual node, as in the papers."""
        return sum(self.in_degrees)

    @property
    def mean_in_degree(self) -> float:
        """Mean number of sources of a unit (0 without units)."""
        return self.links / self.units if self.units else 0.0

    @property
    def max_in_degree(self) -> int:
        """Largest number of sources of a unit."""
        return max(self.in_degrees, default=0)

    @cached_property
    def last_readers(self) -> tuple[int, ...]:
        """For each of the nodes 0..n, the last node that reads it (the node itself if it has no reader)."""
        last = list(range(self.units + 1))
        for reader, sources in enumerate(self.reads, start=1):
            for source in sources:
                last[source] = reader
        return tuple(last)

    def distance(self, node: int, earlier: int) -> float:
        """Back-propagation distance BD(i, j) of Log-DenseNet, section 3.

        The number of links on the shortest path from `node` back to `earlier` (both 0..n); `math.inf` without a path.

        Raises:
            SkipweaveError: The nodes do not satisfy 0 <= earlier <= node <= n.
        """
        if not 0 <= earlier <= node <= self.units:
            raise SkipweaveError(f"distance from {node} to {earlier}: expected 0 <= earlier <= node <= {self.units}")
        return _as_distance(self._distances[node, earlier])

    @cached_property
    def max_distance(self) -> float:
        """Maximum back-propagation distance MBD over all pairs of the nodes 0..n (`math.inf` if a pair has no path)."""
        pairs = self._distances[np.tril_indices(self.units + 1, -1)]
        return _as_distance(pairs.max(initial=0))

    @cached_property
    def mean_distance(self) -> float:
        """Mean back-propagation distance over all pairs of the nodes 0..n (`math.inf` if a pair has no path)."""
        pairs = self._distances[np.tril_indices(self.units + 1, -1)]
        if not pairs.size or math.isinf(self.max_distance):
            return 0.0 if not pairs.size else math.inf
        return float(pairs.mean(dtype=np.float64))

    @cached_property
    def _distances(self) -> np.ndarray:
        """Distances between all pairs: row i is 1 plus the minimum of the rows of the sources of i."""
        rows = np.full((self.units + 1, self.units + 1), _UNREACHED, dtype=np.int32)
        rows[0, 0] = 0
        for node in range(1, self.units + 1):
            rows[node, :node] = rows[list(self.reads[node - 1]), :node].min(axis=0) + 1
            rows[node, node] = 0
        return rows

    def adjacency(self) -> np.ndarray:
        """Boolean matrix (n + 2, n + 1): rows are readers (0..n and the virtual node), columns sources."""
        matrix = np.zeros((self.units + 2, self.units + 1), dtype=bool)
        for reader, sources in enumerate(self.reads, start=1):
            matrix[reader, list(sources)] = True
        return matrix


def join_stages(stages: Sequence[Topology]) -> Topology:
    """Join the topologies of a network's stages into one, so that distances can be measured across stages.

    A unit that reads node 0 of a later stage reads the output nodes of the stage before: a transition adds no link
    and counts as part of the unit that follows it (as in Log-DenseNet, section 3).

    Args:
        stages: Topologies of the stages in order. A single topology, which may span all stages, is returned as is.

    Returns:
        The topology of the units of all stages; node 0 is the first stage's input.

    >>> join_stages([Topology.from_lists([[0], [1, 0]])] * 2).sources(2)
    (1, 0)
    """
    if len(stages) == 1:
        return stages[0]
    reads: list[set[int]] = []
    entry = {0}
    for graph in stages:
        first = len(reads)
        *units, output = (_renumbered(sources, first, entry) for sources in graph.reads)
        reads.extend(units)
        entry = output
    return Topology.from_lists([*reads, entry], name="joined")


def _renumbered(sources: Iterable[int], first: int, entry: set[int]) -> set[int]:
    """Convert a stage's node indices to those of the network: node 0 becomes `entry`, node s becomes `first + s`."""
    return {node for source in sources for node in (entry if source == 0 else (first + source,))}


def _as_distance(value: int) -> float:
    return math.inf if value >= _UNREACHED else int(value)


def _problems(reads: Sequence[Sequence[int]]) -> Iterable[str]:
    """Describe every invalid list of sources."""
    if not is_list(reads) or not reads:
        yield f"it is {reads!r}; give one list of sources per unit and one for the stage's reader"
        return
    for node, sources in enumerate(reads, start=1):
        title = f"node {node}" if node < len(reads) else f"the stage's reader (virtual node {node})"
        if not is_list(sources):
            yield f"{title} has the sources {sources!r}; give a list of the nodes 0..{node - 1}"
            continue
        if not sources:
            yield f"{title} has no sources; give at least one of the nodes 0..{node - 1}"
        if invalid := [source for source in sources if not _is_node_before(source, node)]:
            yield f"{title} reads {invalid}, but only the nodes 0..{node - 1} come before it"
        elif len(set(sources)) < len(sources):
            repeated = sorted(source for source, times in Counter(sources).items() if times > 1)
            yield f"{title} reads {repeated} more than once"


def _as_tuple(values: Any) -> Any:
    """A tuple of what is iterable; other values, which are invalid, as they are."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else values


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a sequence, but not text."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_node_before(source: object, node: int) -> bool:
    return is_integer(source, 0) and source < node
