"""Reading and convolving as one operation: scale, shift and ReLU on normalized nodes, then a convolution."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops.autocast import convolution_dtype
from skipweave.ops.concat_read import concat_read, concat_read_fast, concat_read_gradients, matches
from skipweave.ops.convolution import POINTWISE, Geometry, convolution_gradients
from skipweave.ops.eager_execution import allows_kernel, is_eager
from skipweave.ops.triton import node_table, read_launch

_MAX_OUTPUTS = 256  # of the fused GPU kernel, which is memory-bound up to there (a prediction, not measured)


def read_conv(
    nodes: Sequence[Tensor],
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    conv_bias: Tensor | None = None,
    geometry: Geometry = POINTWISE,
) -> Tensor:
    """Read normalized nodes (`concat_read`) and convolve: the reference definition.

    Args:
        nodes: Normalized maps (N, C_s, H, W).
        scale: (C,) with C the sum of the C_s.
        shift: (C,).
        weight: Convolution weight (C', C / groups, kh, kw).
        conv_bias: Convolution bias (C',), or None.
        geometry: Stride, padding, dilation and groups of the convolution.

    Returns:
        (N, C', H', W').
    """
    return F.conv2d(concat_read(nodes, scale, shift), weight, conv_bias, *geometry)


def read_conv_low_memory(
    nodes: Sequence[Tensor],
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    conv_bias: Tensor | None = None,
    geometry: Geometry = POINTWISE,
) -> Tensor:
    """`read_conv` that saves only the nodes for the backward pass, which all their readers share; same arguments.

    The concatenation and the activated map are recomputed in the backward pass, the convolution is not. On a GPU, a 1x1
    convolution of channels-last nodes materializes neither of them, in both passes.
    """
    if not is_eager(*_operands(nodes, scale, shift, weight, conv_bias)):
        return read_conv(nodes, scale, shift, weight, conv_bias, geometry)
    return _ReadConv.apply(geometry, scale, shift, weight, conv_bias, *nodes)


def read_conv_fast(
    nodes: Sequence[Tensor],
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    conv_bias: Tensor | None = None,
    geometry: Geometry = POINTWISE,
) -> Tensor:
    """`read_conv` in one or two passes over the nodes where no gradient is recorded; same arguments."""
    if not allows_kernel(*_operands(nodes, scale, shift, weight, conv_bias)):
        return read_conv(nodes, scale, shift, weight, conv_bias, geometry)
    dtype = _compute_dtype(nodes, scale, weight)
    if dtype is not None and _is_product(nodes, scale, shift, weight, geometry):
        return read_launch.read_product(nodes, scale, shift, weight.to(dtype), conv_bias)
    return F.conv2d(concat_read_fast(nodes, scale, shift, dtype), weight, conv_bias, *geometry)


def _operands(
    nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, weight: Tensor, conv_bias: Tensor | None
) -> tuple[Tensor, ...]:
    operands = (scale, shift, weight, *nodes)
    return operands if conv_bias is None else (*operands, conv_bias)


class _ReadConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        geometry: Geometry,
        scale: Tensor,
        shift: Tensor,
        weight: Tensor,
        conv_bias: Tensor | None,
        *nodes: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(scale, shift, weight, *nodes)
        ctx.geometry = geometry
        ctx.bias_sizes = None if conv_bias is None else list(conv_bias.shape)
        return read_conv_fast(nodes, scale, shift, weight, conv_bias, geometry)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        scale, shift, weight, *nodes = ctx.saved_tensors
        if allows_kernel(grad_output) and _is_product(nodes, scale, shift, weight, ctx.geometry):
            return None, *_product_gradients(grad_output, nodes, scale, shift, weight, ctx.needs_input_grad[1:])
        _, needs_scale, needs_shift, needs_weight, needs_conv_bias, *needs_nodes = ctx.needs_input_grad
        into_read = needs_scale or needs_shift or any(needs_nodes)
        # Under autocast the convolution ran in the dtype of its result.
        grad_map, grad_weight, grad_conv_bias = convolution_gradients(
            grad_output,
            concat_read_fast(nodes, scale, shift, grad_output.dtype),
            weight.to(grad_output.dtype),
            ctx.bias_sizes,
            ctx.geometry,
            [into_read, needs_weight, needs_conv_bias],
        )
        grad_nodes: Sequence[Tensor | None] = [None] * len(nodes)
        grad_scale = grad_shift = None
        if grad_map is not None:
            grad_nodes, grad_scale, grad_shift = concat_read_gradients(grad_map, nodes, scale, shift, needs_nodes)
        return None, grad_scale, grad_shift, grad_weight, grad_conv_bias, *grad_nodes


def _product_gradients(
    grad_output: Tensor,
    nodes: Sequence[Tensor],
    scale: Tensor,
    shift: Tensor,
    weight: Tensor,
    needs_grad: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients with respect to scale, shift, weight, convolution bias and nodes, where needed, by GPU kernels."""
    needs_scale, needs_shift, needs_weight, needs_conv_bias, *needs_nodes = needs_grad
    grad_nodes: Sequence[Tensor | None] = [None] * len(nodes)
    grad_scale = grad_shift = None
    if needs_scale or needs_shift or any(needs_nodes):
        grad_nodes, grad_scale, grad_shift = read_launch.source_gradients(
            grad_output, nodes, scale, shift, weight.to(grad_output.dtype), needs_nodes
        )
    grad_weight = read_launch.weight_gradient(grad_output, nodes, scale, shift, weight.dtype) if needs_weight else None
    return grad_scale, grad_shift, grad_weight, grad_output.sum((0, 2, 3)) if needs_conv_bias else None, *grad_nodes


def _compute_dtype(nodes: Sequence[Tensor], scale: Tensor, weight: Tensor) -> torch.dtype | None:
    """Data type in which the convolution computes; None if torch does not accept the combination of types."""
    dtype = convolution_dtype(weight.dtype, weight.device)
    read = convolution_dtype(torch.promote_types(nodes[0].dtype, scale.dtype), weight.device)
    return dtype if dtype == read else None


def _is_product(nodes: Sequence[Tensor], scale: Tensor, shift: Tensor, weight: Tensor, geometry: Geometry) -> bool:
    """Whether the fused GPU kernel for 1x1 convolutions applies."""
    pointwise = weight.shape[1:] == (len(scale), 1, 1) and geometry == POINTWISE
    fits = pointwise and len(weight) <= _MAX_OUTPUTS and matches(nodes, scale, shift, weight)
    return fits and node_table.are_readable(nodes, scale, shift, weight)
