"""Aggregation by cross-layer convolutions against its definition."""

import copy

import pytest
import torch
from torch import Tensor, nn

from skipweave import topology
from skipweave.layers import ConcatRead, Cross, CrossConv, CrossRead, NodeNorm, Stage, SumRead
from tests.errors import raises


def maps(count: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [3 * torch.randn(4, 2, 5, 5, dtype=torch.float64) + 1 for _ in range(count)]


def test_normalized_nodes_give_the_sum_of_batch_norms() -> None:
    """One batch norm per node, as in the released code, equals normalizing each node once."""
    raw = [x.requires_grad_() for x in maps(3)]
    cross = CrossConv(3, 2, normalized=True).double()
    norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in raw).double()
    for parameter in norms.parameters():
        nn.init.normal_(parameter)
    cross.weight.data = torch.stack([norm.weight.data for norm in norms])
    cross.bias.data = torch.stack([norm.bias.data for norm in norms])
    shared = [NodeNorm(2).double() for _ in raw]
    found = cross(*(norm(x) for norm, x in zip(shared, raw, strict=True)))
    expected = sum(norm(x) for norm, x in zip(norms, raw, strict=True))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.pow(3).sum(), [cross.weight, *raw])[1:],
        torch.autograd.grad(expected.pow(3).sum(), raw),
    )


def test_initially_it_is_the_mean_of_the_nodes() -> None:
    for normalized in (True, False):
        cross = CrossConv(4, 2, normalized=normalized).double()
        torch.testing.assert_close(cross(*maps(4)), torch.stack(maps(4)).mean(0))
        assert sum(p.numel() for p in cross.parameters()) == (16 if normalized else 10)


def test_a_single_node_is_read_without_a_convolution() -> None:
    assert isinstance(Cross(normalized=True).reader([2]), ConcatRead)
    assert isinstance(Cross(normalized=False).reader([2]), SumRead)
    assert isinstance(Cross(normalized=True).reader([2, 2]), CrossRead)
    assert isinstance(Cross(normalized=True).collector([2]), nn.Identity)
    assert isinstance(Cross(normalized=True).collector([2, 2]), CrossConv)


def test_nodes_need_one_width() -> None:
    with raises("widths", "[4, 3]"):
        Cross(normalized=True).reader([4, 3])


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("name", topology.names())
def test_stage_equals_its_definition(name: str, normalized: bool) -> None:
    aggregation = Cross(normalized=normalized)
    entry = aggregation.node(2)
    stage = Stage(topology.make(name, 5), aggregation, entry, [2] * 6, lambda i, o: nn.Conv2d(i, o, 1)).double()
    for parameter in stage.parameters():
        nn.init.normal_(parameter)
    twin = copy.deepcopy(stage)
    x = maps(1)[0]
    nodes = [twin.entry(x)]
    for node, unit in enumerate(twin.units, start=1):
        nodes.append(unit(*(nodes[source] for source in twin.topology.sources(node))))
    expected = twin.collect(*(nodes[source] for source in twin.topology.output))
    torch.testing.assert_close(stage(x), expected, rtol=0, atol=0)


def test_compiled_equals_eager() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(NodeNorm(2) for _ in range(2))
            self.read = CrossRead(2, 2, normalized=True)

        def forward(self, *nodes: Tensor) -> Tensor:
            return self.read(*(norm(node) for norm, node in zip(self.norms, nodes, strict=True)))

    pair = Pair().double()
    results = []
    for run in (pair, torch.compile(copy.deepcopy(pair), backend="aot_eager", fullgraph=True)):
        nodes = [node.requires_grad_() for node in maps(2)]
        run(*nodes).pow(3).sum().backward()
        results.append(([p.grad for p in (*nodes, *run.parameters())], list(run.buffers())))
    torch.testing.assert_close(results[0], results[1])
