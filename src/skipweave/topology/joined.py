"""`joined`: the topologies of a network's stages as one topology of the whole network."""

from collections.abc import Iterable, Sequence

from skipweave.topology.graph import Topology


def joined(stages: Sequence[Topology]) -> Topology:
    """One index space through all stages, so that distances can be measured across them.

    Whoever reads a later stage's input reads what the stage before hands out: a transition adds no link, it counts as
    part of the unit behind it (as in Log-DenseNet, section 3).

    Args:
        stages: Topologies of the stages, first to last; a single one, which may span all stages, comes back as it is.

    Returns:
        A topology of the units of all stages; node 0 is the first stage's input.

    >>> joined([Topology.from_lists([[0], [1, 0]])] * 2).sources(2)
    (1, 0)
    """
    if len(stages) == 1:
        return stages[0]
    reads: list[set[int]] = []
    entry = {0}
    for graph in stages:
        first = len(reads)
        *units, output = (_lifted(sources, first, entry) for sources in graph.reads)
        reads.extend(units)
        entry = output
    return Topology.from_lists([*reads, entry], name="joined")


def _lifted(sources: Iterable[int], first: int, entry: set[int]) -> set[int]:
    """Number a stage's nodes through the network; its node 0 is `entry`, its others follow node `first`."""
    return {node for source in sources for node in (entry if source == 0 else (first + source,))}
