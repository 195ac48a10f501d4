"""Transitions: layers that carry a stage's output to the next resolution."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from skipweave.layers.aggregation import ConcatRead
from skipweave.layers.norm import NormLayer, make_norm
from skipweave.layers.unit import conv1x1, dropout, read_and_run, run_layer
from skipweave.ops import dilated_avg_pool2d


class DilatedAvgPool(nn.Module):
    """2x2 average pooling with stride 1 and dilation, the counterpart of a stride-2 pool under `output_stride`."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled map, of the same size (N, C, H, W)."""
        return dilated_avg_pool2d(x, self.dilation)

    def extra_repr(self) -> str:
        """Show the dilation."""
        return f"dilation={self.dilation}"


class ConcatTransition(nn.Module):
    """BN-ReLU, 1x1 convolution, 2x2 average pool (DenseNet, section 3), on a concatenation of normalized nodes.

    Args:
        in_width: Number of channels of the concatenation.
        width: Number of output channels.
        dilation: 0 pools with stride 2; a positive number keeps the resolution and dilates the pool.
        drop_rate: Dropout rate after the convolution.

    Shape: (N, in_width, H, W) to (N, width, H / 2, W / 2), or to (N, width, H, W) if dilated.
    """

    def __init__(self, in_width: int, width: int, dilation: int = 0, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.read = ConcatRead([in_width])
        self.conv = conv1x1(in_width, width)
        self.drop = nn.Dropout(drop_rate) if drop_rate else nn.Identity()
        self.pool = DilatedAvgPool(dilation) if dilation else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map at the next resolution, not normalized."""
        return self.pool(read_and_run(self.read, [self.conv, self.drop], [x]))


class NormTransition(nn.Module):
    """BN and a 3x3 stride-2 convolution, without ReLU (the block transition of DelugeNets).

    Args:
        in_width: Number of channels of the stage's output.
        width: Number of output channels.
        dilation: 0 convolves with stride 2; a positive number keeps the resolution and dilates the convolution.
        norm_layer: The norm (`make_norm`).

    Shape: (N, in_width, H, W) to (N, width, H / 2, W / 2), or to (N, width, H, W) if dilated.
    """

    def __init__(self, in_width: int, width: int, dilation: int = 0, norm_layer: NormLayer = "batch") -> None:
        super().__init__()
        self.norm = make_norm(in_width, norm_layer)
        taps, stride = max(1, dilation), 1 if dilation else 2
        self.conv = nn.Conv2d(in_width, width, 3, stride=stride, padding=taps, dilation=taps, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map at the next resolution, not normalized."""
        return self.conv(self.norm(x))


class BlockCompression(nn.Module):
    """Log-DenseNet V2's transition, which compresses a stage's new nodes and its input separately (section 3.2).

    Each part passes BN-ReLU, a 1x1 convolution and a 2x2 average pool; the results are concatenated, the new one first.

    Args:
        new_width: Number of channels of the stage's own nodes, which come first in the concatenation.
        old_width: Number of channels of the stage's input.
        width: Number of channels to which the new nodes are compressed; the input keeps its number.

    Shape: (N, new_width + old_width, H, W) to (N, width + old_width, H / 2, W / 2).
    """

    def __init__(self, new_width: int, old_width: int, width: int) -> None:
        super().__init__()
        self.widths = (new_width, old_width)
        self.new = ConcatTransition(new_width, width)
        self.old = ConcatTransition(old_width, old_width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the compressed features at the next resolution, not normalized."""
        new, old = x.split(self.widths, dim=1)
        return torch.cat([self.new(new), self.old(old)], dim=1)


class PooledConv(nn.Module):
    """Convolution, 2x2 max pool, norm and activation: the entry of a stage of activated nodes (`PostActivation`).

    Args:
        conv: The convolution.
        activation: Norm and activation.

    Shape: (N, C, H, W) to (N, width, H / 2, W / 2), with sides rounded down.
    """

    def __init__(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.pool = nn.MaxPool2d(2)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated map."""
        return self.activation(self.pool(run_layer(self.conv, x)))


def carry_down(width: int, drop_rate: float = 0.0) -> nn.Sequential:
    """1x1 convolution, dropout and 2x2 average pool with ceil mode, which carry one node down (Log-DenseNet V1)."""
    pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(OrderedDict(conv=conv1x1(width, width), **dropout(drop_rate), pool=pool))
