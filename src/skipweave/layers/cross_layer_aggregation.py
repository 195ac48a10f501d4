"""The aggregation of DelugeNets: a depthwise convolution across the nodes that are read."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skipweave.layers.aggregation import ConcatRead, SumRead, shared_width
from skipweave.layers.norm import NormLayer, make_node_norm, make_norm
from skipweave.layers.unit import PendingAffine, Read, can_split, norm_relu, pending_affine
from skipweave.ops import cross_layer_fast


class CrossConv(nn.Module):
    """Cross-layer depthwise convolution (DelugeNet, Equation 1): each channel is a weighted sum over the nodes.

    With normalized nodes, this is the released code's sum of batch norms, with one bias per node and channel. Otherwise
    it is the equation as printed, with one bias per channel.

    Args:
        sources: Number of nodes L.
        width: Number of channels C of each node.
        normalized: Whether the nodes are normalized.

    Attributes:
        weight: (L, C), initialized to 1 / L.
        bias: (L, C) if normalized, else (C,); initialized to 0.

    Shape: L of (N, C, H, W) to (N, C, H, W).
    """

    def __init__(self, sources: int, width: int, *, normalized: bool) -> None:
        super().__init__()
        self.sources = sources
        self.normalized = normalized
        self.weight = nn.Parameter(torch.full((sources, width), 1 / sources))
        self.bias = nn.Parameter(torch.zeros((sources, width) if normalized else (width,)))

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the weighted sum of the nodes."""
        return cross_layer_fast(nodes, self.weight, self.bias.sum(0) if self.normalized else self.bias)

    def extra_repr(self) -> str:
        """Show the shape of the weights."""
        return f"sources={self.sources}, width={self.weight.shape[1]}, normalized={self.normalized}"


class CrossRead(Read):
    """Cross-layer depthwise convolution, norm, ReLU.

    Args:
        sources: Number of nodes L.
        width: Number of channels of each node.
        normalized: Whether the nodes are normalized (`CrossConv`).
        norm_layer: The norm (`make_norm`).

    Shape: L of (N, width, H, W) to (N, width, H, W).
    """

    def __init__(self, sources: int, width: int, *, normalized: bool, norm_layer: NormLayer = "batch") -> None:
        super().__init__()
        self.cross = CrossConv(sources, width, normalized=normalized)
        self.norm = make_norm(width, norm_layer)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated weighted sum of the nodes."""
        return norm_relu(self.norm, self.cross(*nodes))

    def pending_affine(self, *nodes: Tensor) -> PendingAffine | None:
        """Return the normalized weighted sum, with scale and shift."""
        return pending_affine(self.norm, self.cross(*nodes)) if can_split(self.norm) else None


class Cross:
    """Cross-layer depthwise convolution; a single node is read without one.

    Args:
        normalized: Whether nodes are normalized, once, where they are computed (the released code normalizes them once
            per reader), or raw (Equation 1 of the paper).
        norm_layer: Norm of nodes and of weighted sums.
    """

    def __init__(self, *, normalized: bool, norm_layer: NormLayer = "batch") -> None:
        self.normalized = normalized
        self.norm_layer = norm_layer

    def width(self, widths: Sequence[int]) -> int:
        """The common width of the nodes.

        Raises:
            SkipweaveError: The widths differ.
        """
        return shared_width(widths)

    def node(self, width: int) -> nn.Module:
        """Normalization without affine parameters, or identity."""
        return make_node_norm(width, self.norm_layer) if self.normalized else nn.Identity()

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Cross-layer convolution, norm, ReLU; for a single node, norm and ReLU only."""
        if len(widths) > 1:
            width = shared_width(widths)
            return CrossRead(len(widths), width, normalized=self.normalized, norm_layer=self.norm_layer)
        return ConcatRead(widths) if self.normalized else SumRead(shared_width(widths), self.norm_layer)

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Cross-layer convolution alone: the stage's reader begins with a batch norm."""
        if len(widths) > 1:
            return CrossConv(len(widths), shared_width(widths), normalized=self.normalized)
        return nn.Identity()

    def is_running_sum(self) -> bool:
        """False."""
        return False
