"""Paths of channels into units, and how many units differ by them."""

from math import factorial, log10

import pytest
import torch
from torch import nn

from skipweave.analysis.channel_paths import channel_paths
from skipweave.layers import ChannelSparseConv2d
from skipweave.topology import ChannelPattern
from skipweave.transforms import sparsify

SIZE = (3, 8, 8)


def sparse(inputs: int, rows: list[list[int]]) -> ChannelSparseConv2d:
    return ChannelSparseConv2d(inputs, len(rows), 1, pattern=ChannelPattern(inputs, len(rows), rows))


def test_paths_and_units_of_a_chain() -> None:
    """Outputs 0 and 1 of the first layer have the same inputs, but other readers; 3 and 4 of the second the same."""
    first = sparse(3, [[0, 1], [0, 1], [1, 2], [0, 2]])
    second = sparse(4, [[0, 2], [1, 2], [0, 1], [2, 3], [2, 3]])
    model = nn.Sequential(first, nn.ReLU(), second, nn.BatchNorm2d(5), nn.Conv2d(5, 2, 1))
    one, two, last = channel_paths(model, SIZE)
    assert (one.units, one.fan_in, one.paths, one.distinct) == (4, 2, 2.0, 3)
    assert (two.units, two.fan_in, two.paths, two.distinct) == (5, 2, 4.0, 4)
    assert (last.units, last.fan_in, last.paths, last.distinct) == (2, 5, 20.0, 1)
    permutations = [layer.log10_permutations for layer in (one, two, last)]
    assert permutations == pytest.approx([0, log10(2), 0])


def test_paths_through_a_residual_sum_and_groups() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)
            self.groups = nn.Conv2d(4, 4, 3, padding=1, groups=2)
            self.fc = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.fc((x + self.groups(x)).mean((2, 3)))

    stem, groups, fc = channel_paths(Residual(), SIZE)
    assert (stem.paths, groups.paths, fc.paths) == (3.0, 6.0, 36.0)
    assert (stem.distinct, groups.distinct, fc.distinct) == (1, 2, 1)


def test_a_dense_network_has_the_permutations_of_the_lemma_and_a_sparse_one_few() -> None:
    model = nn.Sequential(nn.Conv2d(3, 40, 1), nn.ReLU(), nn.Conv2d(40, 60, 1), nn.ReLU(), nn.Conv2d(60, 80, 1))
    dense = channel_paths(model, SIZE)
    assert [layer.distinct for layer in dense] == [1, 1, 1]
    permutations = [log10(factorial(40)), log10(factorial(60)), 0]  # outputs are not hidden
    assert [layer.log10_permutations for layer in dense] == pytest.approx(permutations)
    random = sparsify(model, 0.2, choice="uniform", fully_connected=True, keep=[], seed=0, input_size=SIZE).model
    paths = [layer.paths for layer in channel_paths(random, SIZE)]
    assert paths == [1.0, 8.0, 96.0]
    assert [layer.distinct for layer in channel_paths(random, SIZE)] == [3, 60, 80]
    assert [layer.log10_permutations for layer in channel_paths(random, SIZE)] == [0, 0, 0]
