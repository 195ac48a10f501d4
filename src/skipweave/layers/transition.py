"""Transitions: what carries a stage's output to the next resolution."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from skipweave.layers.aggregation import ConcatRead
from skipweave.layers.saved_activations import read_and_run
from skipweave.layers.unit import conv1x1
from skipweave.ops import shifted_mean


class DilatedAvgPool(nn.Module):
    """2x2 average pooling without stride, its taps `dilation` apart: a stride-2 pool under `output_stride`."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the same size (N, C, H, W)."""
        return shifted_mean(x, self.dilation)

    def extra_repr(self) -> str:
        """Show the dilation."""
        return f"dilation={self.dilation}"


class ConcatTransition(nn.Module):
    """BN-ReLU, 1x1 convolution, 2x2 average pool (DenseNet, section 3), on a concatenation of normalized nodes.

    Args:
        in_width: Channels of the concatenation.
        width: Channels to carry on.
        dilation: 0 pools with stride 2; d > 0 keeps the resolution, with the pool's taps d apart.

    Shape: (N, in_width, H, W) to (N, width, H / 2, W / 2), or to (N, width, H, W) where dilated.
    """

    def __init__(self, in_width: int, width: int, dilation: int = 0) -> None:
        super().__init__()
        self.read = ConcatRead([in_width])
        self.conv = conv1x1(in_width, width)
        self.pool = DilatedAvgPool(dilation) if dilation else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw map at the next resolution."""
        return self.pool(read_and_run(self.read, [self.conv], [x]))


class NormTransition(nn.Module):
    """BN and a 3x3 stride-2 convolution, without ReLU (the block transition of DelugeNets).

    Args:
        in_width: Channels of what a stage leaves.
        width: Channels to carry on.
        dilation: 0 convolves with stride 2; d > 0 keeps the resolution, with the convolution's taps d apart.

    Shape: (N, in_width, H, W) to (N, width, H / 2, W / 2), or to (N, width, H, W) where dilated.
    """

    def __init__(self, in_width: int, width: int, dilation: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_width)
        apart, stride = max(1, dilation), 1 if dilation else 2
        self.conv = nn.Conv2d(in_width, width, 3, stride=stride, padding=apart, dilation=apart, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw map at the next resolution."""
        return self.conv(self.norm(x))


class BlockCompression(nn.Module):
    """Log-DenseNet V2's transition: what a stage made and what it was given, compressed apart (section 3.2).

    Each part passes BN-ReLU, a 1x1 convolution and a 2x2 average pool; then they are concatenated, the new part first.

    Args:
        made: Channels of the stage's own nodes, which come first in the concatenation.
        given: Channels of the stage's input.
        width: Channels to compress the stage's own nodes to; the input's channels stay as many.

    Shape: (N, made + given, H, W) to (N, width + given, H / 2, W / 2).
    """

    def __init__(self, made: int, given: int, width: int) -> None:
        super().__init__()
        self.made, self.given = made, given
        self.new = ConcatTransition(made, width)
        self.old = ConcatTransition(given, given)

    def forward(self, x: Tensor) -> Tensor:
        """Return the compressed features at the next resolution, raw."""
        new, old = x.split([self.made, self.given], dim=1)
        return torch.cat([self.new(new), self.old(old)], dim=1)


def carry_down(width: int) -> nn.Sequential:
    """Carry one node down (Log-DenseNet V1): 1x1 convolution, 2x2 average pool that keeps odd borders."""
    pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(OrderedDict(conv=conv1x1(width, width), pool=pool))
