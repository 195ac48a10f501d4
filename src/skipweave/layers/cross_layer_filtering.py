"""The aggregation of DelugeNets: every channel is filtered across the nodes that are read (a depthwise convolution)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skipweave.layers.aggregation import ConcatRead, SumRead, shared_width
from skipweave.layers.norm import Affine, NodeNorm, before_affine
from skipweave.layers.saved_activations import Read, halves, norm_relu
from skipweave.ops import cross_layer_fast


class CrossConv(nn.Module):
    """Cross-layer depthwise convolution (DelugeNet, Equation 1): each channel is a weighted sum over the nodes.

    Where the nodes are normalized, this is the released code's sum of batch norms, one a node: as there, each node
    brings biases of its own. Otherwise it is the equation as printed, with one bias a channel.

    Args:
        sources: Nodes L to be read.
        width: Channels C of each.
        normalized: Whether the nodes are normalized.

    Attributes:
        weight: (L, C), at first 1 / L.
        bias: (L, C) where normalized, else (C,); at first 0.

    Shape: L of (N, C, H, W) to (N, C, H, W).
    """

    def __init__(self, sources: int, width: int, *, normalized: bool) -> None:
        super().__init__()
        self.sources = sources
        self.normalized = normalized
        self.weight = nn.Parameter(torch.full((sources, width), 1 / sources))
        self.bias = nn.Parameter(torch.zeros((sources, width) if normalized else (width,)))

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the filtered map of the nodes."""
        return cross_layer_fast(nodes, self.weight, self.bias.sum(0) if self.normalized else self.bias)

    def extra_repr(self) -> str:
        """Show the shape of the weights."""
        return f"sources={self.sources}, width={self.weight.shape[1]}, normalized={self.normalized}"


class CrossRead(Read):
    """Cross-layer depthwise convolution, batch norm, ReLU.

    Args:
        sources: Nodes L to be read.
        width: Channels of each.
        normalized: Whether the nodes are normalized (`CrossConv`).

    Shape: L of (N, width, H, W) to (N, width, H, W).
    """

    def __init__(self, sources: int, width: int, *, normalized: bool) -> None:
        super().__init__()
        self.cross = CrossConv(sources, width, normalized=normalized)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the activated map of the nodes."""
        return norm_relu(self.norm, self.cross(*nodes))

    def before_affine(self, *nodes: Tensor) -> Affine | None:
        """Return the normalized map, with the gains and biases that it awaits."""
        return before_affine(self.norm, self.cross(*nodes)) if halves(self.norm) else None


class Cross:
    """Cross-layer depthwise convolution; a single node is read without one.

    Args:
        normalized: Whether nodes are normalized, once, where they are made (the released code, which normalizes them
            once a reader), or raw (the paper's Equation 1).
    """

    def __init__(self, *, normalized: bool) -> None:
        self.normalized = normalized

    def width(self, widths: Sequence[int]) -> int:
        """The one width that all nodes share.

        Raises:
            SkipweaveError: The widths differ.
        """
        return shared_width(widths)

    def node(self, width: int) -> nn.Module:
        """Normalize the node where it is produced, or leave it as it is."""
        return NodeNorm(width) if self.normalized else nn.Identity()

    def reader(self, widths: Sequence[int]) -> nn.Module:
        """Cross-layer convolution, then batch norm and ReLU; of a single node, batch norm and ReLU only."""
        if len(widths) > 1:
            return CrossRead(len(widths), shared_width(widths), normalized=self.normalized)
        return ConcatRead(widths) if self.normalized else SumRead(shared_width(widths))

    def collector(self, widths: Sequence[int]) -> nn.Module:
        """Cross-layer convolution alone; whoever reads the stage begins with a batch norm."""
        if len(widths) > 1:
            return CrossConv(len(widths), shared_width(widths), normalized=self.normalized)
        return nn.Identity()

    def is_running_sum(self) -> bool:
        """No."""
        return False
