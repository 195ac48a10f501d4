"""Layers that return maps before norm and ReLU."""

import pytest
import torch

from skipweave.layers import RawDownsampling, RawSeqConv2d


def test_groups_are_returned_before_the_norm() -> None:
    layer = RawSeqConv2d(4, 8, group_size=4)
    x = torch.randn(2, 4, 5, 5)
    raw = layer(x)
    torch.testing.assert_close(raw[:, :4], layer.groups[0].make.conv(x))
    assert (raw < 0).any()
    assert len(list(layer.parameters())) == 4


def test_bias_is_added_to_the_output_only() -> None:
    layer = RawSeqConv2d(4, 8, group_size=4, bias=True).eval()
    x = torch.randn(2, 4, 5, 5)
    raw = layer(x)
    layer.bias.data += torch.arange(8.0)
    torch.testing.assert_close(layer(x), raw + torch.arange(8.0).view(-1, 1, 1))


@pytest.mark.parametrize(("out_channels", "keeps_input"), [(12, True), (8, False), (4, False)])
def test_downsampling(out_channels: int, keeps_input: bool) -> None:
    layer = RawDownsampling(8, out_channels, group_size=4, stride=2, padding=0, bias=True)
    x = torch.randn(2, 8, 7, 9)
    new = layer.extension(x)
    assert new.shape == (2, out_channels - 8 if keeps_input else out_channels, 7, 9)
    assert layer.downsize.groups == out_channels // 4
    made = layer(x)
    assert made.shape == (2, out_channels, 3, 4)
    torch.testing.assert_close(made, layer.downsize(torch.cat([x, new], 1) if keeps_input else new))
    made.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
