"""Gathers folded into the convolutions before them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from skipweave.engines.gather_folding import fold_gathers
from skipweave.engines.grouped_conv import GroupedConv
from skipweave.layers import ChannelSparseConv2d

SIZE = (3, 12, 10)


class Net(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor], fan_in: int = 8) -> None:
        super().__init__()
        self.dense = nn.Conv2d(3, 16, 3)
        self.between = between
        pattern = dict(pattern="block", block=8, seed=0)
        self.sparse = GroupedConv(ChannelSparseConv2d(16, 24, 3, fan_in=fan_in, **pattern))
        self.next = GroupedConv(ChannelSparseConv2d(24, 16, 1, fan_in=16, **pattern))

    def forward(self, x: Tensor) -> Tensor:
        return self.next(self.sparse(self.between(self.dense(x))))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


@pytest.mark.parametrize(
    ("between", "folds"),
    [
        (nn.Identity(), True),
        (nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2)), True),
        (nn.GELU(), True),
        (nn.Softmax(1), False),
        (nn.BatchNorm2d(16), False),
        (Twice(), False),
        (Scaled(), False),
    ],
)
def test_gathers_of_outputs_without_other_readers_are_folded(between: nn.Module, folds: bool):
    network = Net(between).eval()
    images = torch.randn(2, *SIZE)
    with torch.inference_mode(False), torch.no_grad():
        expected = network(images)
        fold_gathers(network, SIZE)
        torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-6)
    assert isinstance(network.sparse, nn.Conv2d) == folds
    assert isinstance(network.next, GroupedConv)  # it follows a grouped convolution
    assert network.dense.out_channels == (24 if folds else 16)


class Unpooled(Net):
    def forward(self, x: Tensor) -> Tensor:
        pooled, places = nn.functional.max_pool2d(self.dense(x), 2, return_indices=True)
        return nn.functional.max_unpool2d(pooled, places, 2).mean() + self.sparse(pooled)


class Tied(Net):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv_transpose2d(self.next(self.sparse(self.dense(x))), self.dense.weight)


class Aliased(Net):
    def __init__(self) -> None:
        super().__init__(nn.ReLU())
        self.both = nn.Sequential(nn.ReLU(), self.sparse)

    def forward(self, x: Tensor) -> Tensor:
        return self.next(self.both(self.dense(x)))


@pytest.mark.parametrize("make", [lambda: Unpooled(nn.ReLU()), lambda: Tied(nn.ReLU()), Aliased])
def test_outputs_do_not_change(make: Callable[[], nn.Module]):
    network = make().eval()
    images = torch.randn(2, *SIZE)
    with torch.no_grad():
        expected = network(images)
        fold_gathers(network, SIZE)
        torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-5)


def test_outputs_are_not_computed_many_times():
    network = Net(nn.ReLU(), fan_in=16).eval()  # gathers 48 of 16
    fold_gathers(network, SIZE)
    assert isinstance(network.sparse, GroupedConv)
