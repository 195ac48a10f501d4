"""Channel dimensions and widths of layers."""

import pytest
import torch
import torchvision
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from skipweave.tracing.channel_layers import channel_dim, depthwise, output_width


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.Conv1d(5, 4, 3), torch.zeros(2, 5, 7)),
        (nn.Conv2d(5, 4, 3), torch.zeros(2, 5, 7, 7)),
        (nn.Conv2d(5, 4, 3), torch.zeros(5, 7, 7)),
        (nn.Conv3d(5, 4, 3), torch.zeros(2, 5, 7, 7, 7)),
        (nn.Linear(5, 4), torch.zeros(2, 7, 5)),
        (nn.LayerNorm(5), torch.zeros(2, 7, 5)),
        (LayerNorm2d(5), torch.zeros(2, 5, 7, 7)),
        (torchvision.models.convnext.LayerNorm2d(5), torch.zeros(2, 5, 7, 7)),
        (nn.GroupNorm(5, 5), torch.zeros(2, 5, 7)),
        (nn.BatchNorm2d(5), torch.zeros(2, 5, 7, 7)),
        (nn.BatchNorm1d(5), torch.zeros(2, 5)),
    ],
)
def test_channel_dim(layer: nn.Module, x: Tensor) -> None:
    layer(x)  # accepts it
    assert x.shape[channel_dim(layer, x)] == 5


@pytest.mark.parametrize(("groups", "expected"), [(1, False), (2, False), (4, True)])
def test_depthwise(groups: int, expected: bool) -> None:
    assert depthwise(nn.Conv2d(4, 8, 3, groups=groups)) is expected


def test_convolutions_of_one_channel_are_not_depthwise() -> None:
    assert not depthwise(nn.Conv2d(1, 8, 3))
    assert not depthwise(nn.Linear(4, 4))


def test_output_width() -> None:
    assert [output_width(layer) for layer in (nn.Conv2d(3, 5, 1), nn.ConvTranspose2d(3, 6, 2), nn.Linear(3, 7))] == [
        5,
        6,
        7,
    ]
