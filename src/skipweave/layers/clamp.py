"""What is left of BN-ReLU where the convolution behind it has taken over its gains and biases."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn


class Clamp(nn.Module):
    """Combine nodes, then keep each channel within its bounds: for inference.

    relu(g x + b) is g max(x, t) + b with t = -b / g, and g min(x, t) + b where g is negative. A convolution that sees
    no zeros around the map can take over g and b, and all that is left to do is the maximum or minimum.

    Args:
        low: Lower bounds (C,), -inf where there is none.
        high: Upper bounds (C,), inf where there is none; None where no channel has one.
        combine: Makes one map (N, C, H, W) of the nodes; of several nodes, a map of its own, which is changed in place.

    Shape: one (N, C_s, H, W) per node to (N, C, H, W).
    """

    low: Tensor
    high: Tensor | None

    def __init__(self, low: Tensor, high: Tensor | None, combine: Callable[[Sequence[Tensor]], Tensor]) -> None:
        super().__init__()
        self.register_buffer("low", low.view(-1, 1, 1))
        self.register_buffer("high", None if high is None else high.view(-1, 1, 1))
        self.combine = combine

    def forward(self, *nodes: Tensor) -> Tensor:
        """Return the bounded map."""
        x = self.combine(nodes)
        return x.clamp_(self.low, self.high) if len(nodes) > 1 else x.clamp(self.low, self.high)

    def extra_repr(self) -> str:
        """Show the channels, and whether some are bounded above."""
        return f"{len(self.low)}, above={self.high is not None}"
