"""The cross-layer convolution against its definition and `F.conv2d`."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops import cross_layer, cross_layer_fast


def made(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype).requires_grad_()


def test_the_definition_is_a_depthwise_convolution_across_the_nodes() -> None:
    torch.manual_seed(0)
    nodes, weight, bias = [made(2, 3, 4, 5) for _ in range(4)], made(4, 3), made(3)
    interleaved = torch.stack(nodes, dim=2).flatten(1, 2)  # the four maps of a channel, then those of the next
    expected = F.conv2d(interleaved, weight.T.reshape(3, 4, 1, 1), bias, groups=3)
    torch.testing.assert_close(cross_layer(nodes, weight, bias), expected)


@pytest.mark.parametrize("sources", [1, 2, 7])
def test_fast_version_equals_the_definition(sources: int) -> None:
    torch.manual_seed(0)
    nodes, weight, bias = [made(2, 3, 4, 5) for _ in range(sources)], made(sources, 3), made(3)
    results = []
    for function in (cross_layer, cross_layer_fast):
        out = function(nodes, weight, bias)
        results.append((out, torch.autograd.grad(out.pow(3).sum(), [weight, bias, *nodes])))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-12)


def test_gradients_are_computed_only_where_needed() -> None:
    nodes, weight, bias = [made(2, 3, 4, 5), made(2, 3, 4, 5).detach()], made(2, 3), made(3).detach()
    cross_layer_fast(nodes, weight, bias).sum().backward()
    assert [t.grad is not None for t in (*nodes, weight, bias)] == [True, False, True, False]


def test_fast_version_under_autocast() -> None:
    torch.manual_seed(0)
    nodes = [made(2, 3, 4, 5, dtype=torch.bfloat16) for _ in range(3)]
    weight, bias = made(3, 3, dtype=torch.float32), made(3, dtype=torch.float32)
    results = []
    for function in (cross_layer, cross_layer_fast):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = function(nodes, weight, bias)
        results.append((out, torch.autograd.grad(out.sum(), [weight, *nodes])))
    (exact, gradients), (ours, our_gradients) = results
    torch.testing.assert_close(ours, exact.bfloat16())
    torch.testing.assert_close(our_gradients, gradients)
