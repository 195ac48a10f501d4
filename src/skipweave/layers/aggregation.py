"""Aggregations: how the nodes that are read become the one activated tensor that a unit's convolutions see.

An aggregation has a producer's side (what becomes of a node where it is made), a reader's side (the first BN-ReLU of
every composite function, taken over what is read) and a collector (what leaves the stage as one tensor).
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from skipweave.errors import SkipweaveError
from skipweave.layers.norm import Affine, NodeNorm, before_affine
from skipweave.layers.saved_activations import Read, halves, norm_relu
from skipweave.ops import concat_read_fast, sum_nodes


class Aggregation(Protocol):
    """What a `Stage` asks of an aggregation."""

    def width(self, widths: Sequence[int]) -> int:
        """Channels that reading nodes of these widths gives."""

    def node(self, width: int) -> nn.Module:
        """Return the module that a unit's output (N, width, H, W) passes to become a node."""

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Return the `Read` that turns the nodes read into one activated tensor, called with one argument a node."""

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Return the module that turns the stage's output nodes into one tensor, called with one argument a node."""

    def is_running_sum(self) -> bool:
        """Whether reading all earlier nodes equals reading their running sum."""


def shared_width(widths: Sequence[int]) -> int:
    """The one width that nodes share.

    Raises:
        SkipweaveError: The widths differ.
    """
    if len(set(widths)) != 1:
        raise SkipweaveError(f"nodes of {list(widths)} channels cannot be summed: give all the same width")
    return widths[0]


class ConcatRead(Read):
    """Concatenate normalized nodes; this reader's gains and biases; ReLU.

    Together with the nodes' `NodeNorm` this is the BN-ReLU in front of a convolution of DenseNet and SparseNet, with
    as many parameters.

    Args:
        widths: Channels of each node read.

    Shape: one (N, widths[s], H, W) per node to (N, sum(widths), H, W).
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.gain = nn.Parameter(torch.ones(sum(widths)))
        self.bias = nn.Parameter(torch.zeros(sum(widths)))

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated concatenation of the nodes."""
        return concat_read_fast(nodes, self.gain, self.bias)

    def before_affine(self, *nodes: Tensor) -> Affine:
        """Return the nodes, with the gains and biases that they await."""
        return Affine(nodes, self.gain, self.bias)

    def extra_repr(self) -> str:
        """Show the widths of the nodes read."""
        return f"widths={self.widths}"


class SumRead(Read):
    """Sum the nodes; batch norm; ReLU. Here the sum is what is normalized: normalizing does not commute with sums.

    Args:
        width: Channels of every node read.

    Shape: one (N, width, H, W) per node to (N, width, H, W).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated sum of the nodes."""
        return norm_relu(self.norm, sum_nodes(nodes))

    def before_affine(self, *nodes: Tensor) -> Affine | None:
        """Return the normalized sum, with the gains and biases that it awaits."""
        return before_affine(self.norm, sum_nodes(nodes)) if halves(self.norm) else None


class _Concatenate(nn.Module):
    def forward(self, *nodes: Tensor) -> Tensor:
        return nodes[0] if len(nodes) == 1 else torch.cat(nodes, dim=1)


class _Add(nn.Module):
    def forward(self, *nodes: Tensor) -> Tensor:
        return sum_nodes(nodes)


class Concat:
    """Concatenation, with nodes normalized once (DenseNet, SparseNet)."""

    def width(self, widths: Sequence[int]) -> int:
        """Sum of the widths."""
        return sum(widths)

    def node(self, width: int) -> nn.Module:
        """Normalize the node where it is produced."""
        return NodeNorm(width)

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Concatenation with the reader's own gains and biases."""
        return ConcatRead(widths)

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Plain concatenation."""
        return _Concatenate()

    def is_running_sum(self) -> bool:
        """No."""
        return False


class Sum:
    """Summation of raw nodes (ResNet, SparseNet[+])."""

    def width(self, widths: Sequence[int]) -> int:
        """The one width that all nodes share.

        Raises:
            SkipweaveError: The widths differ.
        """
        return shared_width(widths)

    def node(self, width: int) -> nn.Module:
        """Leave the node as it is."""
        return nn.Identity()

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Sum, then batch norm and ReLU."""
        return SumRead(self.width(widths))

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Plain sum."""
        return _Add()

    def is_running_sum(self) -> bool:
        """Yes."""
        return True
