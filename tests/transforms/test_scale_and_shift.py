"""Layers that take over gains and biases: the same function, in float64."""

import pytest
import torch
from torch import Tensor, nn

from skipweave.layers import ChannelSparseConv2d, ConcatRead, CrossConv
from skipweave.transforms.scale_and_shift import (
    Affine,
    absorb_behind,
    absorb_source,
    affine_of_norm,
    width_made,
)

BEHIND = {
    "convolution": lambda: nn.Conv2d(6, 4, 3, padding=1),
    "no bias": lambda: nn.Conv2d(6, 4, 3, bias=False),
    "groups": lambda: nn.Conv2d(6, 4, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, bias=False),
    "transposed, groups": lambda: nn.ConvTranspose2d(6, 4, 3, groups=2),
    "channel-sparse": lambda: ChannelSparseConv2d(6, 4, 3, bias=False, fan_in=2, seed=1),
    "across normalized nodes": lambda: CrossConv(1, 6, normalized=True),
    "across raw nodes": lambda: CrossConv(1, 6, normalized=False),
}


def drawn(width: int) -> Affine:
    return Affine(torch.randn(width, dtype=torch.float64), torch.randn(width, dtype=torch.float64))


def through(affine: Affine, x: Tensor) -> Tensor:
    return affine.gain.view(-1, 1, 1) * x + affine.bias.view(-1, 1, 1)


def shaken(layer: nn.Module) -> nn.Module:
    layer = layer.double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("make", BEHIND.values(), ids=BEHIND)
def test_gains_and_biases_behind_a_layer(make) -> None:
    layer, x = shaken(make()), torch.randn(2, 6, 5, 7, dtype=torch.float64)
    affine = drawn(width_made(layer))
    expected = through(affine, layer(x))
    absorb_behind(layer, affine)
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_gains_and_biases_behind_several_nodes() -> None:
    layer, nodes = shaken(CrossConv(3, 6, normalized=True)), torch.randn(3, 2, 6, 5, 7, dtype=torch.float64)
    affine = drawn(6)
    expected = through(affine, layer(*nodes))
    absorb_behind(layer, affine)
    torch.testing.assert_close(layer(*nodes), expected, rtol=1e-12, atol=1e-12)


def test_gains_and_biases_of_one_of_the_nodes_that_are_read() -> None:
    read, nodes = shaken(ConcatRead([2, 3, 1])), [torch.randn(2, n, 5, 7, dtype=torch.float64) for n in (2, 3, 1)]
    affine = drawn(3)
    expected = read(nodes[0], through(affine, nodes[1]), nodes[2])
    absorb_source(read, 1, affine)
    torch.testing.assert_close(read(*nodes), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
def test_what_a_batch_norm_does(affine: bool) -> None:
    norm = shaken(nn.BatchNorm2d(6, affine=affine, eps=0.5)).eval()
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var)
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(through(affine_of_norm(norm), x), norm(x), rtol=1e-12, atol=1e-12)
