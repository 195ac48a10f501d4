"""Scale and shift folded into layers: equal outputs in float64."""

import pytest
import torch
from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d, ConcatRead, CrossConv
from skipweave.transforms.inference.channel_affine import (
    ChannelAffine,
    affine_of_norm,
    is_invertible,
    output_channels,
    scale_input,
    scale_output,
    scale_source,
)

LAYERS = {
    "convolution": lambda: nn.Conv2d(6, 4, 3, padding=1),
    "no bias": lambda: nn.Conv2d(6, 4, 3, bias=False),
    "groups": lambda: nn.Conv2d(6, 4, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, bias=False),
    "transposed, groups": lambda: nn.ConvTranspose2d(6, 4, 3, groups=2),
    "channel-sparse": lambda: ChannelSparseConv2d(6, 4, 3, bias=False, fan_in=2, seed=1),
    "across normalized nodes": lambda: CrossConv(1, 6, normalized=True),
    "across raw nodes": lambda: CrossConv(1, 6, normalized=False),
}


def random_affine(width: int) -> ChannelAffine:
    return ChannelAffine(torch.randn(width, dtype=torch.float64), torch.randn(width, dtype=torch.float64))


def applied(affine: ChannelAffine, x: Tensor) -> Tensor:
    return affine.scale.view(-1, 1, 1) * x + affine.shift.view(-1, 1, 1)


def randomized(layer: nn.Module) -> nn.Module:
    layer = layer.double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_scale_output(make) -> None:
    layer, x = randomized(make()), torch.randn(2, 6, 5, 7, dtype=torch.float64)
    affine = random_affine(output_channels(layer))
    expected = applied(affine, layer(x))
    scale_output(layer, affine)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_scale_output_of_several_nodes() -> None:
    layer, nodes = randomized(CrossConv(3, 6, normalized=True)), torch.randn(3, 2, 6, 5, 7, dtype=torch.float64)
    affine = random_affine(6)
    expected = applied(affine, layer(*nodes))
    scale_output(layer, affine)
    torch.testing.assert_close(layer(*nodes), expected, rtol=1e-12, atol=1e-12)


def test_scale_source() -> None:
    read, nodes = randomized(ConcatRead([2, 3, 1])), [torch.randn(2, n, 5, 7, dtype=torch.float64) for n in (2, 3, 1)]
    affine = random_affine(3)
    expected = read(nodes[0], applied(affine, nodes[1]), nodes[2])
    scale_source(read, 1, affine)
    torch.testing.assert_close(read(*nodes), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
def test_affine_of_norm(affine: bool) -> None:
    norm = randomized(nn.BatchNorm2d(6, affine=affine, eps=0.5)).eval()
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(applied(affine_of_norm(norm), x), norm(x), rtol=1e-12, atol=1e-12)


def test_scale_input() -> None:
    norm = randomized(nn.BatchNorm2d(6)).eval()
    nn.init.uniform_(norm.running_var)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    affine = random_affine(3)
    expected = norm(x)
    scale_input(norm, 2, affine)
    scaled = torch.cat([x[:, :2], applied(affine, x[:, 2:5]), x[:, 5:]], dim=1)
    torch.testing.assert_close(norm(scaled), expected, rtol=1e-9, atol=1e-9)


def test_norms_with_small_weights_are_not_invertible() -> None:
    norm = nn.BatchNorm2d(2)
    assert is_invertible(norm)
    norm.weight.data = torch.tensor([1.0, 1e-4])
    norm.bias.data = torch.tensor([1.0, 1.0])
    assert not is_invertible(norm)
    assert is_invertible(nn.BatchNorm2d(2, affine=False))
