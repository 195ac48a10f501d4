"""Aggregations against batch norm, concatenation and sum."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.layers import Concat, ConcatRead, Mean, MeanRead, PostActivation, Sum, SumRead
from skipweave.layers.aggregation import mean_nodes, sum_nodes
from tests.errors import raises


def maps(*widths: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [3 * torch.randn(4, width, 5, 5, dtype=torch.float64) + 1 for width in widths]


def test_concat_normalizes_once_and_equals_batch_norm_of_the_concatenation() -> None:
    aggregation, raw = Concat(), maps(2, 3)
    read = aggregation.reader([2, 3]).double()
    assert isinstance(read, ConcatRead)
    nn.init.normal_(read.weight), nn.init.normal_(read.bias)
    nodes = [aggregation.node(x.shape[1]).double()(x) for x in raw]
    expected = F.batch_norm(torch.cat(raw, 1), None, None, read.weight, read.bias, training=True).relu()
    torch.testing.assert_close(read(*nodes), expected)
    torch.testing.assert_close(aggregation.collector([2, 3])(*nodes), torch.cat(nodes, 1), rtol=0, atol=0)
    assert (aggregation.width([2, 3]), aggregation.is_running_sum()) == (5, False)


def test_sum_normalizes_the_sum() -> None:
    aggregation, raw = Sum(), maps(3, 3)
    read = aggregation.reader([3, 3]).double()
    assert isinstance(read, SumRead)
    nn.init.normal_(read.norm.weight), nn.init.normal_(read.norm.bias)
    expected = F.batch_norm(raw[0] + raw[1], None, None, read.norm.weight, read.norm.bias, training=True).relu()
    torch.testing.assert_close(read(*raw), expected)
    torch.testing.assert_close(aggregation.collector([3, 3])(*raw), raw[0] + raw[1], rtol=0, atol=0)
    assert aggregation.node(3)(raw[0]) is raw[0]
    assert (aggregation.width([3, 3]), aggregation.is_running_sum()) == (3, True)


def test_mean_normalizes_the_mean() -> None:
    aggregation, raw = Mean(), maps(3, 3, 3)
    mean = torch.stack(raw).mean(0)
    read = aggregation.reader([3, 3, 3]).double()
    assert isinstance(read, MeanRead)
    nn.init.normal_(read.norm.weight), nn.init.normal_(read.norm.bias)
    for training in (True, False):
        read.train(training)
        expected = F.batch_norm(
            mean, read.norm.running_mean, read.norm.running_var, read.norm.weight, read.norm.bias, training, momentum=0
        ).relu()
        torch.testing.assert_close(read(*raw), expected)
    torch.testing.assert_close(aggregation.collector([3, 3, 3])(*raw), mean)
    assert aggregation.node(3)(raw[0]) is raw[0]
    assert mean_nodes(raw[:1]) is raw[0]
    assert (aggregation.width([3, 3]), aggregation.is_running_sum()) == (3, False)


def test_sum_nodes_adds_from_first_to_last() -> None:
    assert sum_nodes([torch.full((1, 1, 2, 2), float(v)) for v in (1, 2, 4)]).eq(7).all()


def test_sums_need_equal_widths() -> None:
    for aggregation in (Sum(), Mean()):
        with raises("widths", "[4, 3]"):
            aggregation.reader([4, 3])


def test_activated_nodes_are_read_as_they_are() -> None:
    nodes = maps(3, 3)
    concat, summed, mean = (
        PostActivation(one, lambda width: nn.BatchNorm2d(width)) for one in (Concat(), Sum(), Mean())
    )
    for read in (concat.reader([3, 3]), concat.collector([3, 3])):
        assert torch.equal(read(*nodes), torch.cat(nodes, 1))
    assert torch.equal(summed.reader([3, 3])(*nodes), nodes[0] + nodes[1])
    assert torch.equal(mean.reader([3, 3])(*nodes), (nodes[0] + nodes[1]) / 2)
    assert (concat.width([2, 3]), concat.is_running_sum()) == (5, False)
    assert (summed.width([3, 3]), summed.is_running_sum()) == (3, True)
    assert not mean.is_running_sum()
    assert isinstance(concat.node(4), nn.BatchNorm2d)
    with raises([2, 3]):
        summed.width([2, 3])
