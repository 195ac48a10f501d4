"""Layers that take over gains and biases around them, channel by channel."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd

from skipweave.layers import ConcatRead, CrossConv


class Affine(NamedTuple):
    """x to gain * x + bias, a number a channel (C,) each, in float64."""

    gain: Tensor
    bias: Tensor

    def split(self, widths: list[int]) -> list["Affine"]:
        """Cut the channels into parts of these widths."""
        return [Affine(*parts) for parts in zip(self.gain.split(widths), self.bias.split(widths), strict=True)]


def affine_of_norm(norm: _BatchNorm) -> Affine:
    """What a batch norm does in evaluation mode, by its running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = (norm.running_var.detach().double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.detach()
    bias = -gain * norm.running_mean.detach()
    return Affine(gain, bias if norm.bias is None else bias + norm.bias.detach())


def can_be_undone(norm: _BatchNorm) -> bool:
    """Whether what a batch norm reads can be had from what it makes, in its own precision, to a 100,000th.

    Of what it makes, the weight is the deviation and the bias the mean: where the weight is small beside the bias,
    little of the deviation is left after rounding.
    """
    if norm.weight is None:
        return True
    weight, bias = norm.weight.detach().double().abs(), norm.bias.detach().double().abs()
    return bool(((weight > 0) & (torch.finfo(norm.weight.dtype).eps * bias <= 1e-5 * weight)).all())


def width_made(layer: nn.Module) -> int:
    """Channels that a layer makes which `absorb_behind` knows."""
    width = layer.weight.shape[1] if isinstance(layer, CrossConv) else layer.out_channels
    assert isinstance(width, int)
    return width


def absorb_behind(layer: nn.Module, affine: Affine) -> None:
    """Let a convolution, transposed or across nodes too, make gain * y + bias where it made y."""
    weight, bias = _double(layer)
    gain = affine.gain
    if isinstance(layer, CrossConv):
        bias = bias * gain
        first = bias[0] if layer.normalized else bias  # where each node has biases of its own, their sum counts
        first += affine.bias
        _put(layer, weight * gain, bias)
    elif isinstance(layer, _ConvTransposeNd):  # (in, out / groups, ...)
        grouped = weight.unflatten(0, (layer.groups, -1)) * _column(gain.view(layer.groups, 1, -1), weight.dim() - 2)
        _put(layer, grouped.flatten(0, 1), bias * gain + affine.bias)
    else:
        _put(layer, weight * _column(gain, weight.dim() - 1), bias * gain + affine.bias)


def absorb_source(read: ConcatRead, place: int, affine: Affine) -> None:
    """Let a reader find x where it found gain * x + bias, in one of the nodes that it reads."""
    start = sum(read.widths[:place])
    part = slice(start, start + read.widths[place])
    with torch.no_grad():
        gain, bias = read.gain[part].double(), read.bias[part].double()
        read.bias[part] = (bias + gain * affine.bias).to(read.bias)
        read.gain[part] = (gain * affine.gain).to(read.gain)


def absorb_before(norm: _BatchNorm, start: int, affine: Affine) -> None:
    """Let a batch norm find gain * x + bias where it found x, in the channels from one on."""
    part = slice(start, start + len(affine.gain))
    assert norm.running_mean is not None
    with torch.no_grad():
        mean, weight = norm.running_mean[part].double(), norm.weight[part].double()
        norm.running_mean[part] = (affine.gain * mean + affine.bias).to(norm.running_mean)
        norm.weight[part] = (weight / affine.gain).to(norm.weight)


def _double(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Weights and biases in float64; biases 0 where there are none."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    if bias is None:
        return weight.detach().double(), weight.new_zeros(width_made(layer), dtype=torch.float64)
    assert isinstance(bias, Tensor)
    return weight.detach().double(), bias.detach().double()


def _put(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    dtype = layer.weight.dtype
    assert isinstance(dtype, torch.dtype)
    for name, tensor in (("weight", weight), ("bias", bias)):
        parameter = getattr(layer, name)
        if parameter is None:
            setattr(layer, name, nn.Parameter(tensor.to(dtype), requires_grad=False))
        else:
            parameter.data = tensor.to(dtype)


def _column(vector: Tensor, dims: int) -> Tensor:
    """A view with so many more dimensions of size 1 behind."""
    return vector.reshape(*vector.shape, *[1] * dims)
