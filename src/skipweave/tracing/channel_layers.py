"""Layers that make channels of their own, and which dimension of their tensors holds channels."""

import torchvision
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

MAKERS = (_ConvNd, nn.Linear)
"""Layers that make channels of their own; all others keep the width of what they read."""

_CHANNELS_FIRST = (LayerNorm2d, torchvision.models.convnext.LayerNorm2d)  # of the layer norms


def depthwise(part: nn.Module) -> bool:
    """Whether a convolution filters each channel by itself, so that its width follows its input's."""
    return isinstance(part, _ConvNd) and part.groups == part.in_channels > 1


def channel_dim(part: nn.Module, x: Tensor) -> int:
    """Dimension of channels in what a layer reads or makes; negative where a batch may be missing before it."""
    if isinstance(part, _ConvNd):
        return -1 - len(part.kernel_size)
    last = isinstance(part, nn.Linear) or (isinstance(part, nn.LayerNorm) and not isinstance(part, _CHANNELS_FIRST))
    return -1 if last or x.dim() < 2 else 1


def output_width(part: nn.Module) -> int:
    """Channels that a convolution or linear layer makes."""
    width = part.out_features if isinstance(part, nn.Linear) else part.out_channels
    assert isinstance(width, int)
    return width
