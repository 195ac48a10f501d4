"""`Topology`: which earlier nodes each node of a stage reads, as plain data."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from skipweave.errors import SkipweaveError

if TYPE_CHECKING:
    import networkx

_UNREACHED = np.iinfo(np.int32).max // 2


class Link(NamedTuple):
    """One in-link of a network: in the topology of a stage, counted from 0, `reader` reads `source`."""

    stage: int
    reader: int
    source: int


@dataclass(frozen=True)
class Topology:
    """The links of `n` units, immutable and hashable.

    Node 0 is the stage's input, nodes 1..n are what the units produce, and the virtual node n + 1 stands for whoever
    reads the stage (a transition or the classifier; SparseNet, section 3.1). Sources are kept newest first, the order
    in which they are concatenated. Two topologies are equal when their links are; the name is a label.

    Args:
        reads: For each of the nodes 1..n + 1, the nodes it reads; the last entry belongs to the virtual node.
        name: Label for tables and pictures.

    Raises:
        SkipweaveError: A node reads nothing, a node that does not exist yet, or the same node twice.

    >>> Topology(reads=((0,), (1, 0), (2, 1))).sources(2)
    (1, 0)
    """

    reads: tuple[tuple[int, ...], ...]
    name: str = field(default="custom", compare=False)

    def __post_init__(self) -> None:
        if problems := list(_problems(self.reads)):
            raise SkipweaveError(f"topology {self.name!r}: " + "; ".join(problems))
        object.__setattr__(self, "reads", tuple(tuple(sorted(sources, reverse=True)) for sources in self.reads))

    @classmethod
    def from_lists(cls, lists: Sequence[Iterable[int]], name: str = "custom") -> "Topology":
        """Make a topology from a list of lists, the last of which is what the stage's reader takes.

        >>> Topology.from_lists([[0], [0, 1], [2]]).units
        2
        """
        return cls(tuple(tuple(sources) for sources in lists), name)

    def without(self, links: Iterable[tuple[int, int]]) -> "Topology":
        """Return the topology minus some links.

        Args:
            links: Pairs of a reader (1..n + 1) and a node that it reads.

        Raises:
            SkipweaveError: There is no such link, or a reader would be left with nothing to read.

        >>> Topology.from_lists([[0], [0, 1], [1, 2]]).without([(2, 0), (3, 1)]).reads
        ((0,), (1,), (2,))
        """
        gone = set(links)
        strangers = [(reader, source) for reader, source in sorted(gone) if source not in self.sources(reader)]
        if strangers:
            told = ", ".join(f"node {reader} does not read node {source}" for reader, source in strangers)
            raise SkipweaveError(f"topology {self.name!r}: {told}")
        kept = [[s for s in sources if (reader, s) not in gone] for reader, sources in enumerate(self.reads, start=1)]
        return Topology.from_lists(kept, f"{self.name} minus {len(gone)}" if gone else self.name)

    @property
    def unread(self) -> tuple[int, ...]:
        """Nodes that neither another node nor the stage's reader reads."""
        read = {source for sources in self.reads for source in sources}
        return tuple(node for node in range(self.units + 1) if node not in read)

    @property
    def units(self) -> int:
        """Number of units n."""
        return len(self.reads) - 1

    @property
    def output(self) -> tuple[int, ...]:
        """What the virtual node n + 1 reads: the output of the stage."""
        return self.reads[-1]

    def sources(self, node: int) -> tuple[int, ...]:
        """Nodes that `node` (1..n + 1) reads, newest first.

        Raises:
            SkipweaveError: The node does not exist or, being node 0, reads nothing.
        """
        if not 1 <= node <= self.units + 1:
            raise SkipweaveError(f"node {node} reads nothing: expected a node from 1 to {self.units + 1}")
        return self.reads[node - 1]

    def node_and_sources(self, node: int) -> tuple[int, ...]:
        """A node and what it reads, newest first: what a head right behind the node reads (Log-DenseNet, section 3.1).

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
        """In-links of the n units; those of the virtual node are not counted, as in the papers."""
        return sum(self.in_degrees)

    @property
    def mean_in_degree(self) -> float:
        """Mean number of sources of a unit (0 where there are no units)."""
        return self.links / self.units if self.units else 0.0

    @property
    def max_in_degree(self) -> int:
        """Largest number of sources of a unit."""
        return max(self.in_degrees, default=0)

    @cached_property
    def last_readers(self) -> tuple[int, ...]:
        """For each of the nodes 0..n, the last node that reads it (itself if none does)."""
        last = list(range(self.units + 1))
        for reader, sources in enumerate(self.reads, start=1):
            for source in sources:
                last[source] = reader
        return tuple(last)

    def distance(self, node: int, earlier: int) -> float:
        """Back-propagation distance: links on the shortest path from `node` back to `earlier` (both 0..n).

        `math.inf` where no path exists. (Log-DenseNet, section 3, BD(i, j).)

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
        """Distances between all pairs, exactly: row i is one more than the least of the rows that i reads."""
        rows = np.full((self.units + 1, self.units + 1), _UNREACHED, dtype=np.int32)
        rows[0, 0] = 0
        for node in range(1, self.units + 1):
            rows[node, :node] = rows[list(self.reads[node - 1]), :node].min(axis=0) + 1
            rows[node, node] = 0
        return rows

    def adjacency(self) -> np.ndarray:
        """Boolean matrix (n + 2, n + 1): row = reader (0..n and the virtual node), column = source."""
        matrix = np.zeros((self.units + 2, self.units + 1), dtype=bool)
        for reader, sources in enumerate(self.reads, start=1):
            matrix[reader, list(sources)] = True
        return matrix

    def to_networkx(self) -> "networkx.DiGraph[Any]":
        """A networkx graph whose edges point from source to reader; the virtual node is called `"output"`."""
        import networkx

        graph: networkx.DiGraph[Any] = networkx.DiGraph(name=self.name)
        graph.add_nodes_from(range(self.units + 1))
        for reader, sources in enumerate(self.reads, start=1):
            graph.add_edges_from((source, reader if reader <= self.units else "output") for source in sources)
        return graph


def _as_distance(value: int) -> float:
    return math.inf if value >= _UNREACHED else int(value)


def _problems(reads: Sequence[Sequence[int]]) -> Iterable[str]:
    """Say what is wrong with the sources of each node, in words."""
    if not reads:
        yield "it is empty; give one list of sources a unit and one for the stage's reader"
    for node, sources in enumerate(reads, start=1):
        title = f"node {node}" if node < len(reads) else f"the stage's reader (virtual node {node})"
        if not sources:
            yield f"{title} reads nothing; give at least one of the nodes 0..{node - 1}"
        if strangers := [source for source in sources if not _is_node_before(source, node)]:
            yield f"{title} reads {strangers}, but only the nodes 0..{node - 1} come before it"
        elif len(set(sources)) < len(sources):
            repeated = sorted(source for source, times in Counter(sources).items() if times > 1)
            yield f"{title} reads {repeated} more than once"


def _is_node_before(source: object, node: int) -> bool:
    return isinstance(source, int) and not isinstance(source, bool) and 0 <= source < node
