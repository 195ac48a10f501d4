"""Which convolutions can be replaced, why others cannot, and sizes of groups."""

import pytest
import torch
from torch import nn

from skipweave.transforms.conversion.replacement import Replacement, set_zero
from tests.errors import raises

DEFAULTS: dict[str, object] = dict(
    group_size=None,
    min_width=64,
    kernel_sizes=(3,),
    windowed=True,
    bottleneck=False,
    subgroups=None,
    strided=False,
    drop_rate=0.0,
    dropout="groups",
    norm_layer="batch",
)


def form(**options: object) -> Replacement:
    return Replacement(**{**DEFAULTS, **options})


class Special(nn.Conv2d):
    pass


@pytest.mark.parametrize(
    ("options", "conv", "named"),
    [
        ({}, nn.Conv2d(64, 64, 3), "padding changes the size"),
        ({}, nn.Conv2d(64, 64, 3, padding="valid"), "padding changes the size"),
        ({}, nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"), "reflect"),
        ({}, nn.Conv2d(64, 64, 3, padding=1, groups=2), "2 groups"),
        ({}, nn.Conv2d(64, 64, 3, padding=1, stride=2), "strided"),
        ({}, nn.Conv2d(64, 64, 5, padding=2), "5x5, not 3x3"),
        (dict(kernel_sizes=[(1, 7), 5]), nn.Conv2d(64, 64, 3, padding=1), "3x3, not 1x7 or 5x5"),
        (dict(kernel_sizes=None), nn.Conv2d(64, 64, (1, 2), padding=0), "1x2"),
        ({}, Special(64, 64, 3, padding=1), "Special"),
        ({}, nn.Conv2d(96, 60, 3, padding=1), "96 to 60"),
        (dict(bottleneck=True), nn.Conv2d(64, 64, 3, padding=1, groups=64), "depthwise"),
        (dict(group_size=48), nn.Conv2d(64, 96, 3, padding=1), "group_size, 48"),
        (dict(group_size=64), nn.Conv2d(64, 64, 3, padding=1), "single group"),
        (dict(bottleneck=True, group_size=8), nn.Conv2d(96, 96, 3, padding=1, groups=32), "32 groups"),
        (dict(bottleneck=True, subgroups=3), nn.Conv2d(64, 64, 3, padding=1), "3 subgroups"),
    ],
)
def test_reasons_of_kept_convolutions(options: dict[str, object], conv: nn.Conv2d, named: str) -> None:
    assert named in form(**options).why_not(conv)


@pytest.mark.parametrize(
    ("options", "conv", "size"),
    [
        ({}, nn.Conv2d(64, 128, 3, padding="same"), 16),
        ({}, nn.Conv2d(64, 128, 3, padding=(2, 3), dilation=(2, 3)), 16),
        ({}, nn.Conv2d(96, 128, 3, padding=1), 16),
        ({}, nn.Conv2d(72, 128, 3, padding=1), 8),
        (dict(windowed=False), nn.Conv2d(67, 128, 3, padding=1), 16),
        (dict(windowed=False, strided=True), nn.Conv2d(72, 128, 3, stride=2), 8),
        (dict(windowed=False, strided=True), nn.Conv2d(67, 64, 3, stride=2), 8),
        (dict(kernel_sizes=None), nn.Conv2d(64, 64, 7, padding=3), 8),
        (dict(kernel_sizes=[1]), nn.Conv2d(64, 64, 1), 8),
        (dict(bottleneck=True), nn.Conv2d(128, 128, 3, padding=1, groups=32), 16),
        (dict(bottleneck=True), nn.Conv2d(72, 72, 3, padding=1, groups=3), 24),
        (dict(bottleneck=True, subgroups=4), nn.Conv2d(96, 96, 3, padding=1), 12),
    ],
)
def test_sizes_of_groups(options: dict[str, object], conv: nn.Conv2d, size: int) -> None:
    replacement = form(**options)
    assert replacement.concerns(conv)
    assert replacement.why_not(conv) == ""
    assert replacement.size_of(conv) == size
    layer = replacement.layer(conv)
    assert all(part.bias is not None for part in [getattr(layer, "downsize", layer)])


@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize("bottleneck", [False, True])
@pytest.mark.parametrize(("stride", "out"), [(1, 32), (1, 16), (2, 32), (2, 16)])
def test_the_bias_is_kept(windowed: bool, bottleneck: bool, stride: int, out: int) -> None:
    """With zero weights the layer returns its bias, as the convolution does; `set_zero` sets both to zero."""
    conv = nn.Conv2d(16, out, 3, stride, 1, dtype=torch.float64)
    layer = form(windowed=windowed, bottleneck=bottleneck, strided=True).layer(conv)
    images = torch.randn(2, 16, 8, 8, dtype=torch.float64)
    bias = getattr(layer, "downsize", layer).bias
    torch.testing.assert_close(bias, conv.bias, rtol=0, atol=0)
    assert bias is not conv.bias
    set_zero(layer)
    torch.testing.assert_close(layer(images), torch.zeros_like(conv(images)), rtol=0, atol=0)
    bias.data.copy_(conv.bias)
    conv.weight.data.zero_()
    torch.testing.assert_close(layer(images), conv(images), rtol=0, atol=0)


def test_narrow_convolutions_of_any_width() -> None:
    conv = nn.Conv2d(16, 16, 3, padding=1)
    assert "min_width, 64" in form().why_not(conv)
    assert form().why_not(conv, any_width=True) == ""


def test_all_invalid_arguments_are_named() -> None:
    with raises("group_size", 0, "min_width", "True", "kernel_sizes", "[2]", "windowed", 1, "drop_rate", 1):
        form(group_size=0, min_width=True, kernel_sizes=[2], windowed=1, drop_rate=1)
    with raises("subgroups", 2, "dropout", "'all'", "norm_layer", "'none'"):
        form(subgroups=2, dropout="all", norm_layer="none")
    with raises("kernel_sizes", "3"):
        form(kernel_sizes=3)
