"""Figure of the channels that sparse layers read."""

import numpy as np
from torch import nn

from skipweave.layers import ChannelSparseConv2d
from skipweave.plotting.channel_patterns import plot_channel_patterns
from tests.errors import raises


def test_the_connections_are_those_of_the_layers() -> None:
    layers = [ChannelSparseConv2d(5, 10, 3, fan_in=2, choice="uniform", seed=number) for number in range(14)]
    figure = plot_channel_patterns(nn.Sequential(*layers), "net")
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 12
    for axes, layer in zip(drawn, layers, strict=False):
        assert np.array_equal(axes.images[0].get_array(), layer.pattern.mask())
    assert "12 of 14" in figure.get_suptitle()


def test_dense_networks_raise() -> None:
    with raises("sparsify"):
        plot_channel_patterns(nn.Conv2d(3, 4, 1))
