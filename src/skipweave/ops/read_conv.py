"""The first half of every unit as one operation: gains, biases and ReLU on normalized maps, then a convolution."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops.aggregate import concat_read
from skipweave.ops.eager import allows_kernel, is_eager
from skipweave.ops.read import concat_read_fast, concat_read_gradients, match
from skipweave.ops.triton import node_table, read_launch


class Geometry(NamedTuple):
    """How a convolution is laid over its map, as in `torch.nn.functional.conv2d`."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


_POINTWISE = Geometry()
_MOST_OUTPUTS = 256  # up to which a GPU multiplies while it reads: bound by memory, predicted and not measured


def read_conv(
    nodes: Sequence[Tensor],
    gain: Tensor,
    bias: Tensor,
    weight: Tensor,
    conv_bias: Tensor | None = None,
    geometry: Geometry = _POINTWISE,
) -> Tensor:
    """Read normalized nodes (`concat_read`) and convolve: the definition.

    Args:
        nodes: Maps (N, C_s, H, W), each normalized.
        gain: (C,) with C the sum of the C_s.
        bias: (C,).
        weight: (C', C / groups, kh, kw).
        conv_bias: (C',), or None.
        geometry: Of the convolution.

    Returns:
        (N, C', H', W').
    """
    return F.conv2d(concat_read(nodes, gain, bias), weight, conv_bias, *geometry)


def read_conv_lean(
    nodes: Sequence[Tensor],
    gain: Tensor,
    bias: Tensor,
    weight: Tensor,
    conv_bias: Tensor | None = None,
    geometry: Geometry = _POINTWISE,
) -> Tensor:
    """`read_conv` that saves for the backward pass the nodes alone, which all their readers share.

    The concatenation and the activated map are made again in the backward pass; the convolution is not. On a GPU a 1x1
    convolution of channels-last nodes makes neither, forward or backward.
    """
    if not is_eager(*_operands(nodes, gain, bias, weight, conv_bias)):
        return read_conv(nodes, gain, bias, weight, conv_bias, geometry)
    return _ReadConv.apply(geometry, gain, bias, weight, conv_bias, *nodes)


def read_conv_fast(
    nodes: Sequence[Tensor],
    gain: Tensor,
    bias: Tensor,
    weight: Tensor,
    conv_bias: Tensor | None = None,
    geometry: Geometry = _POINTWISE,
) -> Tensor:
    """`read_conv` in one pass over the nodes where no gradient is recorded, or two; arguments as there."""
    if not allows_kernel(*_operands(nodes, gain, bias, weight, conv_bias)):
        return read_conv(nodes, gain, bias, weight, conv_bias, geometry)
    dtype = _working_type(nodes, gain, weight)
    if dtype is not None and _is_product(nodes, gain, bias, weight, geometry):
        return read_launch.read_product(nodes, gain, bias, weight.to(dtype), conv_bias)
    return F.conv2d(concat_read_fast(nodes, gain, bias, dtype), weight, conv_bias, *geometry)


def _operands(
    nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, weight: Tensor, conv_bias: Tensor | None
) -> tuple[Tensor, ...]:
    operands = (gain, bias, weight, *nodes)
    return operands if conv_bias is None else (*operands, conv_bias)


class _ReadConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        geometry: Geometry,
        gain: Tensor,
        bias: Tensor,
        weight: Tensor,
        conv_bias: Tensor | None,
        *nodes: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(gain, bias, weight, *nodes)
        ctx.geometry = geometry
        ctx.bias_sizes = None if conv_bias is None else list(conv_bias.shape)
        return read_conv_fast(nodes, gain, bias, weight, conv_bias, geometry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gain, bias, weight, *nodes = ctx.saved_tensors
        if allows_kernel(grad) and _is_product(nodes, gain, bias, weight, ctx.geometry):
            return None, *_product_gradients(grad, nodes, gain, bias, weight, ctx.needs_input_grad[1:])
        _, for_gain, for_bias, for_weight, for_conv_bias, *for_nodes = ctx.needs_input_grad
        into_read = for_gain or for_bias or any(for_nodes)
        # Under autocast the convolution ran in the type of its result.
        by_map, by_weight, by_conv_bias = torch.ops.aten.convolution_backward(
            grad,
            concat_read_fast(nodes, gain, bias, grad.dtype),
            weight.to(grad.dtype),
            ctx.bias_sizes,
            *ctx.geometry[:3],
            False,
            [0, 0],
            ctx.geometry.groups,
            [into_read, for_weight, for_conv_bias],
        )
        by_nodes: Sequence[Tensor | None] = [None] * len(nodes)
        by_gain = by_bias = None
        if into_read:
            by_nodes, by_gain, by_bias = concat_read_gradients(by_map, nodes, gain, bias, for_nodes)
        return None, by_gain, by_bias, by_weight, by_conv_bias, *by_nodes


def _product_gradients(
    grad: Tensor, nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, weight: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Gradients of gain, bias, weight, the convolution's bias and the nodes, where wanted, on a GPU."""
    for_gain, for_bias, for_weight, for_conv_bias, *for_nodes = wanted
    by_nodes: Sequence[Tensor | None] = [None] * len(nodes)
    by_gain = by_bias = None
    if for_gain or for_bias or any(for_nodes):
        by_nodes, by_gain, by_bias = read_launch.source_gradients(
            grad, nodes, gain, bias, weight.to(grad.dtype), for_nodes
        )
    by_weight = read_launch.weight_gradient(grad, nodes, gain, bias, weight.dtype) if for_weight else None
    return by_gain, by_bias, by_weight, grad.sum((0, 2, 3)) if for_conv_bias else None, *by_nodes


def _working_type(nodes: Sequence[Tensor], gain: Tensor, weight: Tensor) -> torch.dtype | None:
    """What the convolution computes in; None where torch would refuse the types."""
    device = weight.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return weight.dtype if torch.promote_types(nodes[0].dtype, gain.dtype) == weight.dtype else None


def _is_product(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether a GPU reads and multiplies in one pass."""
    pointwise = weight.shape[1:] == (len(gain), 1, 1) and geometry == _POINTWISE and match(nodes, gain, bias, weight)
    return pointwise and len(weight) <= _MOST_OUTPUTS and node_table.are_readable(nodes, gain, bias, weight)
