"""The path rule: every channel has a reader; links change their source, and are added only where too few exist."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from skipweave.topology import ChannelPattern, channel_patterns
from skipweave.tracing.channel_graph import ChannelGraph, channel_graph
from skipweave.tracing.replicas import trials_of
from skipweave.transforms.compression.path_rule import apply_path_rule, unread


def chain(widths: list[int]) -> ChannelGraph:
    layers = [nn.Conv2d(a, b, 1) for a, b in pairwise(widths)]
    model = nn.Sequential(*layers)
    return channel_graph(model, trials_of(model, (widths[0], 2, 2)))


def extend(name: str, pattern: ChannelPattern) -> ChannelPattern:
    return channel_patterns.exact(pattern.in_channels, pattern.out_channels, pattern.fan_in + 1, seed=99, start=pattern)


@given(
    widths=st.lists(st.integers(2, 24), min_size=3, max_size=5),
    fan_in=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_every_channel_of_a_chain_has_a_reader(widths: list[int], fan_in: int, seed: int) -> None:
    graph = chain(widths)
    patterns = {
        str(number): channel_patterns.exact(a, b, min(fan_in, a), choice="uniform", seed=seed + number)
        for number, (a, b) in enumerate(pairwise(widths))
    }
    handled = apply_path_rule(graph, patterns, extend)
    assert unread(graph, handled) == []
    for name, before in patterns.items():
        after = handled[name]
        first = name == "0"  # its inputs are the image's, which need no reader
        enough = first or before.mask().sum() >= before.in_channels
        needed = -(-before.in_channels // before.out_channels)
        assert after.fan_in == (before.fan_in if enough else needed)
        assert first or after.readers.min() >= 1


def test_one_link_changes_per_unread_channel() -> None:
    graph = chain([3, 4, 4])
    before = ChannelPattern(4, 4, np.array([[0, 1], [0, 1], [0, 2], [0, 1]]))
    after = apply_path_rule(graph, {"1": before}, extend)["1"]
    assert unread(graph, {"1": before}) == [("0", 3)]
    assert (after.mask() != before.mask()).sum() == 2
    assert after.readers.tolist() == [3, 3, 1, 1]


class Branches(nn.Module):
    """Two narrow layers read one wide one: only together have they enough links."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(1, 8, 1)
        self.left = nn.Conv2d(8, 4, 1)
        self.right = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.wide(x)
        return self.left(x), self.right(x)


def test_readers_of_one_map_share_its_channels() -> None:
    graph = channel_graph(Branches(), trials_of(Branches(), (1, 2, 2)))
    patterns = {name: ChannelPattern(8, 4, np.array([[0], [1], [2], [3]])) for name in ("left", "right")}
    handled = apply_path_rule(graph, patterns, extend)
    assert [pattern.fan_in for pattern in handled.values()] == [1, 1]
    assert (handled["left"].readers + handled["right"].readers).tolist() == [1] * 8


def test_blocks_remain_blocks() -> None:
    graph = chain([3, 8, 8])
    before = ChannelPattern(8, 8, np.array([[0, 1], [0, 1], [0, 1], [2, 3]]))
    after = apply_path_rule(graph, {"1": before}, extend)["1"]
    assert after.block == 2
    assert after.readers.min() == 2
