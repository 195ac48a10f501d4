"""The first half of every unit as one operation: gains, biases and ReLU on normalised maps, then a convolution."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from skipweave.ops.aggregate import concat_read
from skipweave.ops.read import concat_read_fast, concat_read_gradients


class Geometry(NamedTuple):
    """How a convolution is laid over its map, as in `torch.nn.functional.conv2d`."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


_POINTWISE = Geometry()


def read_conv(
    nodes: Sequence[Tensor],
    gain: Tensor,
    bias: Tensor,
    weight: Tensor,
    conv_bias: Tensor | None = None,
    geometry: Geometry = _POINTWISE,
) -> Tensor:
    """Read normalised nodes (`concat_read`) and convolve: the definition.

    Args:
        nodes: Maps (N, C_s, H, W), each normalised.
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
    """`read_conv` that keeps for the backward pass the nodes alone, which all their readers share.

    The concatenation and the activated map are made again in the backward pass; the convolution is not. The result can
    be differentiated once.
    """
    return _ReadConv.apply(geometry, gain, bias, weight, conv_bias, *nodes)


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
        return F.conv2d(concat_read_fast(nodes, gain, bias), weight, conv_bias, *geometry)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gain, bias, weight, *nodes = ctx.saved_tensors
        _, for_gain, for_bias, for_weight, for_conv_bias, *for_nodes = ctx.needs_input_grad
        into_read = for_gain or for_bias or any(for_nodes)
        # Under autocast the convolution ran in the type of its result.
        by_map, by_weight, by_conv_bias = torch.ops.aten.convolution_backward(
            grad,
            concat_read_fast(nodes, gain, bias).to(grad.dtype),
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
