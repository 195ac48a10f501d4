"""Transitions against plain torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from skipweave.layers import BlockCompression, ConcatTransition, NormTransition, carry_down


def test_concat_transition_is_bn_relu_conv_pool() -> None:
    torch.manual_seed(0)
    transition = ConcatTransition(6, 4).double()
    nn.init.normal_(transition.read.weight), nn.init.normal_(transition.read.bias)
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    scale, shift = transition.read.weight.view(-1, 1, 1), transition.read.bias.view(-1, 1, 1)
    expected = F.avg_pool2d(F.conv2d((scale * x + shift).relu(), transition.conv.weight), 2)
    torch.testing.assert_close(transition(x), expected)


def test_norm_transition_is_bn_conv() -> None:
    torch.manual_seed(0)
    transition = NormTransition(6, 4).double()
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    normalized = F.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(transition(x), F.conv2d(normalized, transition.conv.weight, stride=2, padding=1))


@pytest.mark.parametrize("kind", [ConcatTransition, NormTransition])
@pytest.mark.parametrize("dilation", [1, 2])
def test_dilated_transition_computes_the_same_values_more_densely(kind: type[nn.Module], dilation: int) -> None:
    torch.manual_seed(0)
    strided, dilated = kind(3, 4).double().eval(), kind(3, 4, dilation).double().eval()
    dilated.load_state_dict(strided.state_dict())
    x = torch.randn(1, 3, 16, 24, dtype=torch.float64)
    dense = dilated(x)
    assert dense.shape[-2:] == x.shape[-2:]
    expected = strided(x[..., ::dilation, ::dilation])
    torch.testing.assert_close(dense[..., :: 2 * dilation, :: 2 * dilation], expected)


def test_block_compression_compresses_both_parts_separately() -> None:
    torch.manual_seed(0)
    transition = BlockCompression(new_width=6, old_width=3, width=2)
    x = torch.randn(2, 9, 8, 8)
    out = transition(x)
    assert out.shape == (2, 5, 4, 4)
    torch.testing.assert_close(out[:, :2], transition.new(x[:, :6]), rtol=0, atol=0)
    torch.testing.assert_close(out[:, 2:], transition.old(x[:, 6:]), rtol=0, atol=0)


def test_carry_down_pools_incomplete_windows() -> None:
    carry = carry_down(2)
    nn.init.dirac_(carry.conv.weight)
    x = torch.arange(18.0).view(1, 2, 3, 3)
    torch.testing.assert_close(carry(x)[0, 0], torch.tensor([[2.0, 3.5], [6.5, 8.0]]))
