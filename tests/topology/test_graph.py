"""`Topology`: validation and measures."""

import math

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skipweave import topology
from skipweave.topology import Topology, join_stages
from tests.errors import raises


@st.composite
def random_topologies(draw: st.DrawFn) -> Topology:
    n = draw(st.integers(0, 12))
    return Topology.from_lists([draw(st.sets(st.integers(0, i - 1), min_size=1)) for i in range(1, n + 2)])


def as_networkx(graph: Topology) -> networkx.DiGraph:
    """The graph with edges from source to reader."""
    made = networkx.DiGraph()
    made.add_nodes_from(range(graph.units + 1))
    for reader, sources in enumerate(graph.reads, start=1):
        made.add_edges_from((source, reader) for source in sources)
    return made


@given(random_topologies())
def test_distances_are_networkx_shortest_paths(graph: Topology) -> None:
    peer = as_networkx(graph).reverse()
    for node in range(graph.units + 1):
        lengths = networkx.single_source_shortest_path_length(peer, node)
        for earlier in range(node + 1):
            assert graph.distance(node, earlier) == lengths.get(earlier, math.inf)


@given(random_topologies())
def test_measures_agree_with_the_adjacency_matrix(graph: Topology) -> None:
    matrix = graph.adjacency()
    assert matrix.shape == (graph.units + 2, graph.units + 1)
    assert not matrix[0].any()
    assert graph.in_degrees == tuple(matrix[1:-1].sum(axis=1))
    assert graph.links == matrix[1:-1].sum() == as_networkx(graph).number_of_edges() - len(graph.output)
    for source, last in enumerate(graph.last_readers):
        readers = np.flatnonzero(matrix[:, source])
        assert last == (readers.max() if readers.size else source)


@given(random_topologies())
def test_equality_depends_on_links_only(graph: Topology) -> None:
    twin = Topology.from_lists([reversed(graph.sources(i)) for i in range(1, graph.units + 2)], name="twin")
    assert twin == graph
    assert hash(twin) == hash(graph)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        topology.dense(3).name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("lists", "named"),
    [
        ([], ()),
        ([[0], []], ("node 2",)),
        ([[0], [0, 2], [1]], ("node 2", [2])),
        ([[0], [-1], [1]], ("node 2", [-1])),
        ([[0], [1, 1], [2]], ("node 2", [1])),
        ([[0], [True], [0]], ("node 2", [True])),
    ],
)
def test_an_invalid_source_is_named(lists: list[list[int]], named: tuple[object, ...]) -> None:
    with raises(*named):
        Topology.from_lists(lists)


@pytest.mark.parametrize("lists", [3, None, "ab", b"ab", [3], [[0], "a"], [[0], None], {0: 1}, []])
def test_what_is_not_a_list_of_lists_is_named(lists: list[list[int]]) -> None:
    named = [value for value in lists if value != [0]] if isinstance(lists, list) and lists else []
    for create in (Topology, Topology.from_lists):
        with raises("topology", *map(repr, named)):
            create(lists)


def test_integers_of_numpy_are_sources() -> None:
    graph = Topology.from_lists([np.array([0]), np.array([0, 1]), (np.int64(2),)])
    assert graph.reads == ((0,), (1, 0), (2,))
    assert {type(source) for sources in graph.reads for source in sources} == {int}


def test_all_invalid_sources_are_reported_at_once() -> None:
    with raises("node 1", [4], "node 2"):
        Topology.from_lists([[4], [], [0]])


@pytest.mark.parametrize("node", [0, 5, -1])
def test_a_node_without_sources_is_named(node: int) -> None:
    with raises(f"node {node}"):
        topology.dense(3).sources(node)


def test_distance_to_a_later_node_raises() -> None:
    with raises(1, 2):
        topology.dense(3).distance(1, 2)


def test_measures_of_thousands_of_nodes_are_exact() -> None:
    assert topology.exponential(4000).max_distance == 11
    assert topology.plain(4000).max_distance == 4000
    assert topology.plain(4000).mean_distance == pytest.approx(4002 / 3)


def test_an_unreachable_node_is_infinitely_far() -> None:
    graph = Topology.from_lists([[0], [0], [2]])
    assert graph.distance(2, 1) == math.inf
    assert graph.max_distance == graph.mean_distance == math.inf


def test_no_units_at_all() -> None:
    graph = topology.dense(0)
    assert (graph.links, graph.mean_in_degree, graph.max_in_degree, graph.max_distance, graph.mean_distance) == (0,) * 5
    assert graph.output == (0,)


def test_without_removes_links():
    graph = Topology.from_lists([[0], [0, 1], [0, 2], [1, 3]], name="mine")
    fewer = graph.without([(2, 0), (3, 2)])
    assert fewer.reads == ((0,), (1,), (0,), (3, 1))
    assert fewer.name == "mine minus 2"
    assert (graph.unread, fewer.unread) == ((), (2,))
    assert graph.without([]) == graph


@pytest.mark.parametrize(("links", "node"), [([(2, 2)], "node 2"), ([(1, 0)], "node 1"), ([(9, 0)], "node 9")])
def test_without_names_links_that_cannot_be_removed(links, node):
    with raises(node):
        Topology.from_lists([[0], [0, 1], [0, 2], [1, 3]]).without(links)


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
    whole, graph = join_stages(stages), chained(stages)
    nodes = [(0, 0), *((place, node) for place, s in enumerate(stages) for node in range(1, s.units + 1))]
    assert whole.units == len(nodes) - 1
    for i, node in enumerate(nodes):
        for j, earlier in enumerate(nodes[:i]):
            assert whole.distance(i, j) == networkx.dijkstra_path_length(graph, node, earlier)


def test_joining_one_stage_returns_it() -> None:
    graph = topology.loglog(9)
    assert join_stages([graph]) is graph


def test_plain_and_dense_stages_join_to_plain_and_dense_networks() -> None:
    assert join_stages([topology.plain(3)] * 3) == topology.plain(9)
    assert join_stages([topology.dense(3)] * 3) == topology.dense(9)


def test_joining_no_stages_gives_an_empty_topology() -> None:
    whole = join_stages([])
    assert (whole.units, whole.max_distance, whole.mean_distance) == (0, 0, 0)
