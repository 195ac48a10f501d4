"""Scale and shift per channel, and layers into which they can be folded."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from skipweave.layers import ConcatRead, CrossConv


class ChannelAffine(NamedTuple):
    """The function scale * x + shift, with one scale and shift per channel (C,), in float64."""

    scale: Tensor
    shift: Tensor

    def split(self, widths: list[int]) -> list["ChannelAffine"]:
        """Split the channels into parts of these widths."""
        return [ChannelAffine(*parts) for parts in zip(self.scale.split(widths), self.shift.split(widths), strict=True)]


def affine_of_norm(norm: _BatchNorm) -> ChannelAffine:
    """The function of a batch norm in evaluation mode."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.detach().double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach()
    shift = -scale * norm.running_mean.detach()
    return ChannelAffine(scale, shift if norm.bias is None else shift + norm.bias.detach())


def is_invertible(norm: _BatchNorm) -> bool:
    """Whether the input of a batch norm can be recovered from its output in its own precision, up to 1e-5.

    The output has the weight as standard deviation and the bias as mean: with a weight much smaller than the bias,
    rounding removes most of the deviation.
    """
    if norm.weight is None:
        return True
    weight, bias = norm.weight.detach().double().abs(), norm.bias.detach().double().abs()
    return bool(((weight > 0) & (torch.finfo(norm.weight.dtype).eps * bias <= 1e-5 * weight)).all())


def output_channels(layer: nn.Module) -> int:
    """Number of output channels of a layer that `scale_output` supports."""
    width = layer.weight.shape[1] if isinstance(layer, CrossConv) else layer.out_channels
    assert isinstance(width, int)
    return width


def scale_output(layer: nn.Module, affine: ChannelAffine) -> None:
    """Modify a convolution (also transposed or cross-layer) to compute scale * y + shift instead of y."""
    weight, bias = _double(layer)
    scale = affine.scale
    if isinstance(layer, CrossConv):
        bias = bias * scale
        first = bias[0] if layer.normalized else bias  # with one bias per node, their sum counts
        first += affine.shift
        _set(layer, weight * scale, bias)
    elif isinstance(layer, _ConvTransposeNd):  # (in, out / groups, ...)
        grouped = weight.unflatten(0, (layer.groups, -1)) * _column(scale.view(layer.groups, 1, -1), weight.dim() - 2)
        _set(layer, grouped.flatten(0, 1), bias * scale + affine.shift)
    else:
        _set(layer, weight * _column(scale, weight.dim() - 1), bias * scale + affine.shift)


def scale_source(read: ConcatRead, place: int, affine: ChannelAffine) -> None:
    """Modify a reader to expect x instead of scale * x + shift at one position of its nodes."""
    start = sum(read.widths[:place])
    part = slice(start, start + read.widths[place])
    with torch.no_grad():
        scale, shift = read.weight[part].double(), read.bias[part].double()
        read.bias[part] = (shift + scale * affine.shift).to(read.bias)
        read.weight[part] = (scale * affine.scale).to(read.weight)


def scale_input(norm: _BatchNorm, start: int, affine: ChannelAffine) -> None:
    """Modify a batch norm to expect scale * x + shift instead of x in the channels from `start` on."""
    part = slice(start, start + len(affine.scale))
    assert norm.running_mean is not None
    with torch.no_grad():
        mean, weight = norm.running_mean[part].double(), norm.weight[part].double()
        norm.running_mean[part] = (affine.scale * mean + affine.shift).to(norm.running_mean)
        norm.weight[part] = (weight / affine.scale).to(norm.weight)


def _double(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias in float64; zeros without a bias."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    if bias is None:
        return weight.detach().double(), weight.new_zeros(output_channels(layer), dtype=torch.float64)
    assert isinstance(bias, Tensor)
    return weight.detach().double(), bias.detach().double()


def _set(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    dtype = layer.weight.dtype
    assert isinstance(dtype, torch.dtype)
    for name, tensor in (("weight", weight), ("bias", bias)):
        parameter = getattr(layer, name)
        if parameter is None:
            setattr(layer, name, nn.Parameter(tensor.to(dtype), requires_grad=False))
        else:
            parameter.data = tensor.to(dtype)


def _column(vector: Tensor, dims: int) -> Tensor:
    """A view with additional trailing dimensions of size 1."""
    return vector.reshape(*vector.shape, *[1] * dims)
