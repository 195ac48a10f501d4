"""Widths of layers: how to read and change the numbers of channels of each layer class."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from skipweave.layers import GroupNorm2d
from skipweave.tracing.channel_layers import PRODUCERS, channel_dim, depthwise
from skipweave_config.errors import SkipweaveError

_FOLLOWERS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


def resizable(part: nn.Module) -> bool:
    """Whether a module has a width that `resize` can change."""
    return isinstance(part, PRODUCERS + _FOLLOWERS)


def input_width(part: nn.Module, x: Tensor) -> int:
    """Number of channels of a layer's input."""
    return x.shape[channel_dim(part, x)]


@dataclass(frozen=True)
class Widths:
    """Numbers of input and output channels of a layer (equal for a normalization)."""

    inputs: int
    outputs: int


def resize(part: nn.Module, name: str, widths: Widths) -> None:
    """Change the widths of a layer in place; its new tensors are not initialized.

    Raises:
        SkipweaveError: A width is not a multiple of the layer's groups.
    """
    if isinstance(part, nn.Linear):
        part.in_features, part.out_features = widths.inputs, widths.outputs
        _renew(part, weight=(widths.outputs, widths.inputs), bias=(widths.outputs,))
    elif isinstance(part, _ConvNd):
        _resize_convolution(part, name, widths)
    elif isinstance(part, nn.LayerNorm):
        part.normalized_shape = (widths.inputs,)
        _renew(part, weight=(widths.inputs,), bias=(widths.inputs,))
    elif isinstance(part, nn.GroupNorm):
        if isinstance(part, GroupNorm2d):
            part.set_width(widths.inputs)
        _require_multiple(name, "groups", part.num_groups, widths.inputs)
        part.num_channels = widths.inputs
        _renew(part, weight=(widths.inputs,), bias=(widths.inputs,))
    elif isinstance(part, _NormBase):
        part.num_features = widths.inputs
        shape = (widths.inputs,)
        _renew(part, weight=shape, bias=shape, running_mean=shape, running_var=shape)


def draw(part: nn.Module) -> None:
    """Initialize a layer: convolutions as in He et al. (normal, by fan-in), all others as torch does."""
    part.reset_parameters()  # type: ignore[operator]
    if isinstance(part, _ConvNd):
        nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
        if part.bias is not None:
            nn.init.zeros_(part.bias)


def _resize_convolution(conv: _ConvNd, name: str, widths: Widths) -> None:
    if depthwise(conv):
        conv.groups = widths.inputs
    _require_multiple(name, "groups", conv.groups, widths.inputs)
    _require_multiple(name, "groups", conv.groups, widths.outputs)
    conv.in_channels, conv.out_channels = widths.inputs, widths.outputs
    first, second = widths.outputs, widths.inputs
    if isinstance(conv, _ConvTransposeNd):
        first, second = second, first
    _renew(conv, weight=(first, second // conv.groups, *conv.kernel_size), bias=(widths.outputs,))


def _require_multiple(name: str, what: str, number: int, width: int) -> None:
    if width % number:
        raise SkipweaveError(
            f"{name} has {number} {what}, which do not divide {width} channels: give another alpha or rule"
        )


def _renew(part: nn.Module, **shapes: tuple[int, ...]) -> None:
    """Replace existing tensors of a module by zeros of other shapes."""
    for name, shape in shapes.items():
        old = getattr(part, name, None)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(old.data.new_zeros(shape), requires_grad=old.requires_grad)
            vars(new).update(vars(old))
            setattr(part, name, new)
        elif isinstance(old, Tensor):
            setattr(part, name, old.new_zeros(shape))
