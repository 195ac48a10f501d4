"""Units: the composite functions that make the next node."""

from collections import OrderedDict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from skipweave.layers.activation_checkpointing import recompute
from skipweave.layers.saved_activations import is_untouched, read_and_run


class Unit(nn.Module):
    """A composite function: read nodes, convolve, make a node.

    Args:
        read: Aggregation with the first BN-ReLU; called with one tensor a node.
        body: The convolutions: one module, or several in an `nn.Sequential`.
        norm: What the result passes to become a node (normalization, or nothing).

    Shape: one (N, C_s, H, W) per node read to (N, C, H', W').
    """

    def __init__(self, read: nn.Module, body: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.read = read
        self.body = body
        self.norm = norm

    def forward(self, *nodes: Tensor | torch.Size, recomputing: bool = False) -> Tensor:
        """Return the node made from the nodes read; `recomputing` keeps these alone for the backward pass."""
        if recomputing:
            return self.norm(recompute(self, *nodes, part=partial(self._make, again=True)))
        return self.norm(self._make(*nodes))

    def _make(self, *nodes: Any, again: bool = False) -> Tensor:
        """Return the node before its normalization, which needs but the node itself in the backward pass."""
        body = self.body
        layers = [*body] if type(body) is nn.Sequential and is_untouched(body) else [body]
        return read_and_run(self.read, layers, nodes, again=again)


def conv1x1(in_width: int, width: int, stride: int = 1) -> nn.Conv2d:
    """1x1 convolution without bias."""
    return nn.Conv2d(in_width, width, kernel_size=1, stride=stride, bias=False)


def conv3x3(in_width: int, width: int, dilation: int = 1) -> nn.Conv2d:
    """3x3 convolution without bias that keeps the map's size."""
    return nn.Conv2d(in_width, width, kernel_size=3, padding=dilation, dilation=dilation, bias=False)


def basic_body(in_width: int, growth: int, *, drop_rate: float = 0.0, dilation: int = 1) -> nn.Sequential:
    """3x3 convolution (DenseNet, section 3)."""
    return nn.Sequential(OrderedDict(conv=conv3x3(in_width, growth, dilation), **_dropout(drop_rate)))


def bottleneck_body(in_width: int, growth: int, *, drop_rate: float = 0.0, dilation: int = 1) -> nn.Sequential:
    """1x1 convolution to 4 x growth, BN-ReLU, 3x3 convolution (DenseNet-B, section 3)."""
    return nn.Sequential(
        OrderedDict(
            conv1=conv1x1(in_width, 4 * growth),
            norm=nn.BatchNorm2d(4 * growth),
            relu=nn.ReLU(),
            conv2=conv3x3(4 * growth, growth, dilation),
            **_dropout(drop_rate),
        )
    )


def residual_body(
    in_width: int, width: int, *, expansion: int = 4, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """1x1, 3x3 and 1x1 convolutions with BN-ReLU between, from in_width through width to expansion x width.

    The stride sits on the first convolution, as in the released pre-activation ResNets (He et al. 2016).
    """
    return nn.Sequential(
        OrderedDict(
            conv1=conv1x1(in_width, width, stride),
            norm1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(),
            conv2=conv3x3(width, width, dilation),
            norm2=nn.BatchNorm2d(width),
            relu2=nn.ReLU(),
            conv3=conv1x1(width, expansion * width),
        )
    )


def _dropout(rate: float) -> dict[str, nn.Module]:
    return dict(drop=nn.Dropout(rate)) if rate else {}
