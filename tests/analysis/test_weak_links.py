import pytest
import torch

from skipweave.analysis.weak_links import LinkWeight, link_weights, weak_links
from skipweave.models import create_model
from skipweave.topology import Link
from skipweave.transforms.node_readers import readers
from tests.errors import raises


def dense(**arguments):
    torch.manual_seed(0)
    return create_model("densenet40_12", **{"units": 3, "growth": 1, "stem_width": 2, **arguments})


def set_weights(model, stage, node, by_source):
    """Set all weights of each source of a reader to one value."""
    reader = next(r for r in readers(model) if (r.stage, r.node) == (stage, node))
    if reader.cross:
        for row, source in zip(reader.cross[1].weight.data, reader.sources, strict=True):
            row.fill_(by_source[source])
        return
    parts = reader.convolution[1].weight.data.split(reader.concat.widths, dim=1)
    for part, source in zip(parts, reader.sources, strict=True):
        part.fill_(by_source[source])


def as_tuples(weak):
    return [tuple(entry.link) for entry in weak.removable], {tuple(e.link): reason for e, reason in weak.kept}


def test_weights_are_products_with_the_norm_weight_relative_to_the_largest():
    model = dense()
    set_weights(model, 1, 2, {1: 2.0, 0: 1.0})
    model.stages[1].units[1].read.weight.data = torch.tensor([-1.0, *[3.0] * (model.stages[1].widths[0])])
    weights = {entry.link: entry.weight for entry in link_weights(model)}
    assert weights[Link(1, 2, 0)] == 1.0
    assert weights[Link(1, 2, 1)] == pytest.approx(2 / 3)
    assert len(weights) == 3 * (1 + 2 + 3)


def test_weight_across_nodes_is_the_l2_norm():
    model = create_model("delugenet146", units=3, widths=1)
    model.stages[1].collect.weight.data = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [0.0, -5.0]])
    weights = [entry for entry in link_weights(model) if entry.link.stage == 1 and entry.link.reader == 4]
    assert weights == [
        LinkWeight(Link(1, 4, 3), 0.5),
        LinkWeight(Link(1, 4, 2), 0.1),
        LinkWeight(Link(1, 4, 1), 1.0),
        LinkWeight(Link(1, 4, 0), 0.5),
    ]


def test_weak_links_are_those_below_the_threshold():
    model = dense()
    set_weights(model, 0, 3, {2: 1.0, 1: 0.2, 0: 0.0})
    assert as_tuples(weak_links(model, 0.1))[0] == [(0, 3, 0)]
    assert as_tuples(weak_links(model, 0.2))[0] == [(0, 3, 0)]  # 0.2 is not below 0.2
    assert as_tuples(weak_links(model, 0.21))[0] == [(0, 3, 1), (0, 3, 0)]
    for below in (0, -1, 1.5, float("nan")):
        with raises("below", below):
            weak_links(model, below)


def test_a_reader_with_zero_weights_keeps_a_source():
    model = dense()
    set_weights(model, 0, 3, {2: 0.0, 1: 0.0, 0: 0.0})
    removable, kept = as_tuples(weak_links(model, 0.1))
    assert removable == [(0, 3, 1), (0, 3, 0)]
    assert kept == {(0, 3, 2): "its reader needs a source"}


def test_a_filter_across_nodes_keeps_two_sources():
    model = create_model("delugenet146", units=4, widths=1)
    set_weights(model, 1, 5, {4: 0.0, 3: 0.01, 2: 1.0, 1: 0.02, 0: 0.0})
    removable, kept = as_tuples(weak_links(model, 0.1))
    assert removable == [(1, 5, 3), (1, 5, 0)]
    assert kept == {(1, 5, 1): "its reader needs two sources", (1, 5, 4): "node 4 has no other reader"}


def test_a_node_keeps_its_strongest_reader():
    graph = [[0], [0, 1], [0, 1, 2], [3]]  # node 1 is read by nodes 2 and 3 only
    model = dense(topology=graph)
    set_weights(model, 2, 2, {1: 0.01, 0: 1.0})
    set_weights(model, 2, 3, {2: 1.0, 1: 0.05, 0: 0.9})
    removable, kept = as_tuples(weak_links(model, 0.1))
    assert removable == [(2, 2, 1)]
    assert kept == {(2, 3, 1): "node 1 has no other reader"}


def test_links_of_nodes_before_a_head_are_kept():
    model = create_model("logdensenet_v1_12_16", units=2, growth=1)
    set_weights(model, 0, 6, {5: 1.0, 4: 0.0, 2: 0.0})
    set_weights(model, 0, 5, {4: 1.0, 3: 0.0, 1: 0.0})
    removable, kept = as_tuples(weak_links(model, 0.1))
    assert removable == [(0, 5, 3), (0, 5, 1)]
    assert set(kept.values()) == {"heads read the sources of node 6"}


def test_sums_have_no_link_weights():
    with raises("link", "weights"):
        link_weights(create_model("preact_resnet56", units=1))
