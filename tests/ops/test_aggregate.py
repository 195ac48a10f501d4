"""Aggregation functions."""

import torch
import torch.nn.functional as F

from skipweave.ops import concat_read, dilated_avg_pool2d, sum_nodes


def test_concat_read_is_batch_norm_of_the_concatenation() -> None:
    torch.manual_seed(0)
    nodes = [torch.randn(4, width, 5, 5, dtype=torch.float64) for width in (2, 3)]
    gain, bias = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    normalized = [F.batch_norm(node, None, None, training=True) for node in nodes]
    expected = F.batch_norm(torch.cat(nodes, 1), None, None, gain, bias, training=True).relu()
    torch.testing.assert_close(concat_read(normalized, gain, bias), expected)


def test_sum_nodes() -> None:
    nodes = [torch.full((1, 1, 2, 2), float(v)) for v in (1, 2, 4)]
    assert torch.equal(sum_nodes(nodes), torch.full((1, 1, 2, 2), 7.0))


def test_shifted_mean_holds_the_pooled_values_of_the_thinned_map() -> None:
    x = torch.randn(2, 3, 16, 24)
    for shift in (1, 2, 4):
        thin = F.avg_pool2d(x[..., ::shift, ::shift], 2)
        found = dilated_avg_pool2d(x, shift)
        assert found.shape == x.shape
        torch.testing.assert_close(found[..., :: 2 * shift, :: 2 * shift], thin)
