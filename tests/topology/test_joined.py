import networkx
import pytest

from skipweave import topology
from skipweave.topology import Topology, joined

CHAINS = [
    [topology.exponential(5), topology.nearest(3), topology.dense(4)],
    [topology.plain(2), topology.every_other(6)],
    [topology.dense(3), Topology.from_lists([[0]]), topology.evenly_spaced(9), topology.plain(1)],
]


def chained(stages: list[Topology]) -> networkx.DiGraph:
    """The stages as they stand, one after the other; the edge into a unit weighs 1, that into a stage's input 0."""
    graph = networkx.DiGraph()
    for place, stage in enumerate(stages):
        for node in range(1, stage.units + 1):
            graph.add_weighted_edges_from(((place, node), (place, source), 1) for source in stage.sources(node))
        graph.add_weighted_edges_from(((place + 1, 0), (place, source), 0) for source in stage.output)
    return graph


@pytest.mark.parametrize("stages", CHAINS)
def test_distances_are_those_of_the_stages_one_after_the_other(stages: list[Topology]) -> None:
    whole, graph = joined(stages), chained(stages)
    nodes = [(0, 0), *((place, node) for place, s in enumerate(stages) for node in range(1, s.units + 1))]
    assert whole.units == len(nodes) - 1
    for i, node in enumerate(nodes):
        for j, earlier in enumerate(nodes[:i]):
            assert whole.distance(i, j) == networkx.dijkstra_path_length(graph, node, earlier)


def test_one_stage_is_itself() -> None:
    graph = topology.loglog(9)
    assert joined([graph]) is graph


def test_plain_and_dense_stages_join_to_plain_and_dense_networks() -> None:
    assert joined([topology.plain(3)] * 3) == topology.plain(9)
    assert joined([topology.dense(3)] * 3) == topology.dense(9)


def test_no_stages_have_no_distance() -> None:
    whole = joined([])
    assert (whole.units, whole.max_distance, whole.mean_distance) == (0, 0, 0)
