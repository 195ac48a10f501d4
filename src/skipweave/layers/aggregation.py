"""Aggregations: how the nodes read by a unit become one tensor.

An aggregation defines what a unit's output passes to become a node, how the nodes read become the activated input of
a unit's convolutions (the composite function's first BN-ReLU), and how a stage's output nodes become one tensor.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from skipweave.layers.norm import NormLayer, make_node_norm, make_norm
from skipweave.layers.unit import PendingAffine, Read, can_split, norm_relu, pending_affine
from skipweave.ops import concat_read_fast, concatenate
from skipweave_config.errors import SkipweaveError


class Aggregation(Protocol):
    """Interface that `Stage` and `SpanningStages` require of an aggregation."""

    def width(self, widths: Sequence[int]) -> int:
        """Number of channels after reading nodes of these widths."""

    def node(self, width: int) -> nn.Module:
        """Create the module that a unit's output (N, width, H, W) passes to become a node."""

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Create the `Read` of nodes of these widths, called with one argument per node."""

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Create the module that combines a stage's output nodes, called with one argument per node."""

    def is_running_sum(self) -> bool:
        """Whether reading all earlier nodes equals reading their running sum."""


def shared_width(widths: Sequence[int]) -> int:
    """Return the common width of nodes that are to be summed or averaged.

    Raises:
        SkipweaveError: The widths differ.
    """
    if len(set(widths)) != 1:
        raise SkipweaveError(
            f"widths are {list(widths)}: nodes to be summed or averaged need the same number of channels"
        )
    return widths[0]


def sum_nodes(nodes: Sequence[Tensor]) -> Tensor:
    """Sum maps of one shape (N, C, H, W) from first to last."""
    total = nodes[0]
    for node in nodes[1:]:
        total = total + node
    return total


def mean_nodes(nodes: Sequence[Tensor]) -> Tensor:
    """Average maps of one shape (N, C, H, W); a single one is returned as is."""
    return nodes[0] if len(nodes) == 1 else sum_nodes(nodes) / len(nodes)


class ConcatRead(Read):
    """Concatenation of normalized nodes, this reader's scale and shift, ReLU.

    Together with the norm of the nodes (`make_node_norm`), this is the BN-ReLU before a convolution of DenseNet and
    SparseNet, with the same number of parameters.

    Args:
        widths: Number of channels of each node read.

    Attributes:
        weight: Scale (C,), the `weight` of the equivalent batch norm.
        bias: Shift (C,), its `bias`.

    Shape: one (N, widths[s], H, W) per node to (N, sum(widths), H, W).
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.weight = nn.Parameter(torch.ones(sum(widths)))
        self.bias = nn.Parameter(torch.zeros(sum(widths)))

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated concatenation of the nodes."""
        return concat_read_fast(nodes, self.weight, self.bias)

    def pending_affine(self, *nodes: Tensor) -> PendingAffine:
        """Return the nodes, which are normalized already, with scale and shift."""
        return PendingAffine(nodes, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Show the widths of the nodes read."""
        return f"widths={self.widths}"


class SumRead(Read):
    """Sum of the nodes, norm, ReLU. Normalization does not commute with sums, so the sum is normalized.

    Args:
        width: Number of channels of every node read.
        norm_layer: The norm (`make_norm`).

    Shape: one (N, width, H, W) per node to (N, width, H, W).
    """

    def __init__(self, width: int, norm_layer: NormLayer = "batch") -> None:
        super().__init__()
        self.norm = make_norm(width, norm_layer)

    def combine(self, nodes: Sequence[Tensor]) -> Tensor:
        """Sum the nodes."""
        return sum_nodes(nodes)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated sum of the nodes."""
        return norm_relu(self.norm, self.combine(nodes))

    def pending_affine(self, *nodes: Tensor) -> PendingAffine | None:
        """Return the normalized sum, with scale and shift."""
        return pending_affine(self.norm, self.combine(nodes)) if can_split(self.norm) else None


class MeanRead(SumRead):
    """Mean of the nodes, norm, ReLU; arguments and shape of `SumRead`.

    A batch norm in training mode undoes the division, so that this read equals `SumRead` except for `eps`.
    """

    def combine(self, nodes: Sequence[Tensor]) -> Tensor:
        """Average the nodes."""
        return mean_nodes(nodes)


class _Concatenate(nn.Module):
    def forward(self, *nodes: Tensor) -> Tensor:
        return concatenate(nodes)


class _Add(nn.Module):
    def forward(self, *nodes: Tensor) -> Tensor:
        return sum_nodes(nodes)


class _Average(nn.Module):
    def forward(self, *nodes: Tensor) -> Tensor:
        return mean_nodes(nodes)


class Concat:
    """Concatenation of nodes that are normalized once (DenseNet, SparseNet).

    Args:
        norm_layer: Norm of the nodes (`make_node_norm`).
    """

    def __init__(self, norm_layer: NormLayer = "batch") -> None:
        self.norm_layer = norm_layer

    def width(self, widths: Sequence[int]) -> int:
        """Sum of the widths."""
        return sum(widths)

    def node(self, width: int) -> nn.Module:
        """Normalization without affine parameters."""
        return make_node_norm(width, self.norm_layer)

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Concatenation, the reader's own scale and shift, ReLU."""
        return ConcatRead(widths)

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Plain concatenation."""
        return _Concatenate()

    def is_running_sum(self) -> bool:
        """False."""
        return False


class Sum:
    """Summation of raw nodes (ResNet, SparseNet[+]).

    Args:
        norm_layer: Norm of the sums (`make_norm`).
    """

    def __init__(self, norm_layer: NormLayer = "batch") -> None:
        self.norm_layer = norm_layer

    def width(self, widths: Sequence[int]) -> int:
        """The common width of the nodes.

        Raises:
            SkipweaveError: The widths differ.
        """
        return shared_width(widths)

    def node(self, width: int) -> nn.Module:
        """Identity: nodes are raw unit outputs."""
        return nn.Identity()

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Sum, norm, ReLU."""
        return SumRead(self.width(widths), self.norm_layer)

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Plain sum."""
        return _Add()

    def is_running_sum(self) -> bool:
        """True."""
        return True


class Mean(Sum):
    """Averaging of raw nodes (FractalNet; SparseNet, Figure 1d).

    Args:
        norm_layer: Norm of the means (`make_norm`).
    """

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Mean, norm, ReLU."""
        return MeanRead(self.width(widths), self.norm_layer)

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Plain mean."""
        return _Average()

    def is_running_sum(self) -> bool:
        """False."""
        return False


class PostActivation:
    """Aggregation of activated nodes: units end with norm and activation instead of beginning with them.

    Args:
        aggregation: How nodes are combined: `Concat`, `Sum` or `Mean`.
        make_activation: Creates norm and activation of a node, given its number of channels.
    """

    def __init__(self, aggregation: Aggregation, make_activation: Callable[[int], nn.Module]) -> None:
        self.aggregation = aggregation
        self.make_activation = make_activation

    def width(self, widths: Sequence[int]) -> int:
        """Number of channels of the combined nodes.

        Raises:
            SkipweaveError: The widths of nodes to be summed or averaged differ.
        """
        return self.aggregation.width(widths)

    def node(self, width: int) -> nn.Module:
        """Norm and activation."""
        return self.make_activation(width)

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Plain concatenation, sum or mean."""
        return self.aggregation.collector(widths)

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Plain concatenation, sum or mean."""
        return self.aggregation.collector(widths)

    def is_running_sum(self) -> bool:
        """Whether nodes are summed."""
        return self.aggregation.is_running_sum()
