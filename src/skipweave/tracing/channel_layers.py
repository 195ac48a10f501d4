"""Layers with their own number of output channels, and the channel dimension of their tensors."""

import torchvision
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

PRODUCERS = (_ConvNd, nn.Linear)
"""Layers with their own number of output channels; all others keep that of their input."""

_CHANNELS_FIRST = (LayerNorm2d, torchvision.models.convnext.LayerNorm2d)  # of the layer norms


def depthwise(part: nn.Module) -> bool:
    """Whether a convolution is depthwise, so that its output width follows from its input."""
    return isinstance(part, _ConvNd) and part.groups == part.in_channels > 1


def channel_dim(part: nn.Module, x: Tensor) -> int:
    """Channel dimension of a layer's input or output; negative if the batch dimension may be missing."""
    if isinstance(part, _ConvNd):
        return -1 - len(part.kernel_size)
    last = isinstance(part, nn.Linear) or (isinstance(part, nn.LayerNorm) and not isinstance(part, _CHANNELS_FIRST))
    return -1 if last or x.dim() < 2 else 1


def output_width(part: nn.Module) -> int:
    """Number of output channels of a convolution or linear layer."""
    width = part.out_features if isinstance(part, nn.Linear) else part.out_channels
    assert isinstance(width, int)
    return width
