"""`Stage` against its definition."""

import weakref

import pytest
import torch
from torch import Tensor, nn

from skipweave import topology
from skipweave.layers import Concat, Stage, Sum, conv1x1
from skipweave.topology import Topology
from tests.errors import raises


def conv(in_width: int, width: int) -> nn.Module:
    return nn.Conv2d(in_width, width, 3, padding=1, bias=False)


def sum_stage(graph: Topology) -> Stage:
    torch.manual_seed(0)
    return Stage(graph, Sum(), conv1x1(3, 4), [4] * (graph.units + 1), conv, first_body=conv, input_width=3).double()


@pytest.mark.parametrize("name", topology.names())
def test_sum_stage_equals_its_definition(name: str) -> None:
    stage = sum_stage(topology.make(name, 6))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    nodes: list[Tensor] = [stage.entry(x), stage.units[0](x)]
    for node in range(2, 7):
        nodes.append(stage.units[node - 1](sum(nodes[s] for s in stage.topology.sources(node))))
    expected = sum(nodes[s] for s in stage.topology.output)
    torch.testing.assert_close(stage(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", topology.names())
def test_exits_read_a_node_and_its_sources(name: str) -> None:
    stage = sum_stage(topology.make(name, 6))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    nodes: list[Tensor] = []
    for module in (stage.entry, *stage.units):
        module.register_forward_hook(lambda module, given, made: nodes.append(made))
    run = stage.run(x, [1, 4])
    for stop in (1, 4):
        read = next(run)
        assert len(nodes) == stop + 1  # nothing after the stop has run
        expected = sum(nodes[s] for s in (stop, *stage.topology.sources(stop)))
        torch.testing.assert_close(sum(read), expected, rtol=1e-12, atol=1e-12)
        reader, width = stage.exit_reader(stop)
        assert reader.double()(*read).shape == (2, width, 8, 8)
    torch.testing.assert_close(next(run), (stage(x),), rtol=0, atol=0)


def test_dense_sum_equals_a_residual_network() -> None:
    stage = sum_stage(topology.dense(6))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    stream = stage.entry(x) + stage.units[0](x)
    for unit in stage.units[1:]:
        stream = stream + unit(stream)
    torch.testing.assert_close(stage(x), stream, rtol=1e-12, atol=1e-12)


def test_nodes_are_freed_after_their_last_reader() -> None:
    alive: list[int] = []
    live: set[int] = set()

    class Counted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            made = x[:, :1] + 1
            key = id(made)
            live.add(key)
            weakref.finalize(made, live.discard, key)
            alive.append(len(live))
            return made

    class Passing(Concat):
        def node(self, width: int) -> nn.Module:
            return nn.Identity()

    for name, most in (("plain", 3), ("window(size=3)", 5), ("dense", 33)):
        alive.clear()
        stage = Stage(topology.make(name, 32), Passing(), nn.Identity(), [1] * 33, lambda i, o: Counted())
        with torch.no_grad():
            stage(torch.zeros(1, 1, 2, 2))
        assert max(alive) <= most, name


def test_running_sum_frees_the_nodes() -> None:
    stage = sum_stage(topology.dense(4))
    made: list[weakref.ref[Tensor]] = []
    left: list[int] = []
    for unit in stage.units:
        unit.register_forward_pre_hook(lambda *_: left.append(sum(ref() is not None for ref in made)))
        unit.register_forward_hook(lambda module, given, out: made.append(weakref.ref(out)))
    with torch.inference_mode():
        stage(torch.zeros(1, 3, 2, 2, dtype=torch.float64))
    assert left == [0, 0, 0, 0]


def test_number_of_widths_must_match() -> None:
    with raises("widths", 2):
        Stage(topology.dense(3), Concat(), nn.Identity(), [1, 1], conv)


def test_sums_need_one_width() -> None:
    with raises("widths", "[4, 4, 3]"):
        Stage(topology.dense(2), Sum(), nn.Identity(), [3, 4, 4], conv)
