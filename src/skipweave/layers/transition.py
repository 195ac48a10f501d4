"""Transitions: what carries a stage's output to the next resolution."""

from torch import Tensor, nn

from skipweave.layers.aggregation import ConcatRead
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
    """BN-ReLU, 1x1 convolution, 2x2 average pool (DenseNet, section 3), on a concatenation of normalised nodes.

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
        return self.pool(self.conv(self.read(x)))
