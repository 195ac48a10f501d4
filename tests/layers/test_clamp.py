"""What is left of BN-ReLU: bounds a channel."""

import torch

from skipweave.layers import Clamp
from skipweave.ops import join, sum_nodes

INF = torch.inf


def test_each_channel_keeps_within_its_bounds() -> None:
    clamp = Clamp(torch.tensor([0.0, -INF, 0.5]), torch.tensor([INF, 0.25, 0.5]), join)
    x = torch.tensor([-1.0, 0.125, 2.0]).expand(1, 3, 1, 3)
    assert clamp(x)[0, :, 0].tolist() == [[0, 0.125, 2], [-1, 0.125, 0.25], [0.5, 0.5, 0.5]]


def test_nodes_are_joined_or_summed_and_stay_what_they_were() -> None:
    first, second = torch.full((1, 2, 1, 1), -3.0), torch.full((1, 2, 1, 1), 1.0)
    joined = Clamp(torch.tensor([-1.0, -2.0, 0.0, 2.0]), None, join)
    summed = Clamp(torch.tensor([-1.0, -INF]), None, sum_nodes)
    assert joined(first, second).flatten().tolist() == [-1, -2, 1, 2]
    assert summed(first, second).flatten().tolist() == [-1, -2]
    assert summed(first).flatten().tolist() == [-1, -3]
    assert first.unique().tolist() == [-3]
    assert second.unique().tolist() == [1]
