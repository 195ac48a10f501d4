"""Convolution whose weight gradient is one matrix product where that is faster than oneDNN's."""

from collections.abc import Sequence
from math import prod
from operator import mul
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops.autocast import convolution_dtype
from skipweave.ops.cpu.processor import has_amx
from skipweave.ops.eager_execution import is_eager


class Geometry(NamedTuple):
    """Stride, padding, dilation and groups of a convolution, as in `torch.nn.functional.conv2d`."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


POINTWISE = Geometry()
# Where the product is faster than oneDNN's weight gradient (docs/performance.md).
_CHANNELS_PER_PIXEL = 5  # of the result, at least
_PIXELS_1X1 = 49  # of the result of a 1x1 convolution, at most
_CHANNELS = 64  # of map and result, at least


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, geometry: Geometry = POINTWISE) -> Tensor:
    """`torch.nn.functional.conv2d` with the gradients of `convolution_gradients`.

    Args:
        x: Map (N, C, H, W).
        weight: Convolution weight (C', C / groups, kh, kw).
        bias: (C',), or None.
        geometry: Stride, padding, dilation and groups.

    Returns:
        (N, C', H', W').
    """
    differentiable = torch.is_grad_enabled() and is_eager(*((x, weight) if bias is None else (x, weight, bias)))
    dtype = convolution_dtype(x.dtype, x.device)
    alike = dtype == convolution_dtype(weight.dtype, weight.device)  # else conv2d raises an error
    if differentiable and alike and _is_product_faster(x, weight, geometry, dtype):
        return _Convolution.apply(geometry, x.bfloat16(), weight.bfloat16(), bias)
    return F.conv2d(x, weight, bias, *geometry)


def convolution_gradients(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    geometry: Geometry,
    needs: Sequence[bool],
) -> tuple[Tensor | None, ...]:
    """Gradients of a convolution with respect to its map, weight and bias.

    In bfloat16 on processors with AMX, the weight gradient is a matrix product where maps are small.

    Args:
        grad_output: Gradient with respect to the result, (N, C', H', W').
        x: Map (N, C, H, W), of the data type of the gradient.
        weight: Convolution weight (C', C / groups, kh, kw), of the same data type.
        bias_sizes: Shape of the bias, or None.
        geometry: Stride, padding, dilation and groups.
        needs: Which of the three gradients are needed.

    Returns:
        The three gradients; None where not needed.
    """
    channels_last = all(part.is_contiguous(memory_format=torch.channels_last) for part in (grad_output, x))
    product = needs[1] and channels_last and _is_product_faster(x, weight, geometry, x.dtype)
    mask = [needs[0], needs[1] and not product, needs[2]]
    grads: Sequence[Tensor | None] = [None] * 3
    if any(mask):
        grads = torch.ops.aten.convolution_backward(
            grad_output, x, weight, bias_sizes, *geometry[:3], False, [0, 0], geometry.groups, mask
        )
    return (grads[0], weight_gradient(grad_output, x, weight, geometry), grads[2]) if product else tuple(grads)


def weight_gradient(grad_output: Tensor, x: Tensor, weight: Tensor, geometry: Geometry = POINTWISE) -> Tensor:
    """Weight gradient of a convolution of one group: the product of the result's gradient and all patches of the map.

    Args:
        grad_output: Gradient with respect to the result, (N, C', H', W').
        x: Map (N, C, H, W).
        weight: Convolution weight (C', C, kh, kw), for its shape.
        geometry: Stride, padding and dilation.

    Returns:
        (C', C, kh, kw).
    """
    (stride, padding, dilation, _), (kh, kw) = geometry, weight.shape[2:]
    (height, width), channels = grad_output.shape[2:], x.shape[1]
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else x  # padding copies
    image, channel, *pixel = padded.stride()
    strides = (image, *map(mul, pixel, stride), *map(mul, pixel, dilation), channel)
    patches = padded.as_strided((len(x), height, width, kh, kw, channels), strides).reshape(-1, kh * kw * channels)
    gradient = grad_output.permute(0, 2, 3, 1).reshape(-1, len(weight)).t() @ patches
    return gradient.view(-1, kh, kw, channels).permute(0, 3, 1, 2)


def _is_product_faster(x: Tensor, weight: Tensor, geometry: Geometry, dtype: torch.dtype) -> bool:
    """Whether `weight_gradient` applies and was measured to be faster than oneDNN's, in computations of a data type."""
    if dtype != torch.bfloat16 or x.device.type != "cpu" or x.dim() != 4 or geometry.groups != 1 or not has_amx():
        return False
    pixels = prod(
        (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for side, kernel, stride, padding, dilation in zip(x.shape[2:], weight.shape[2:], *geometry[:3], strict=True)
    )
    most = _PIXELS_1X1 if weight.shape[2:] == (1, 1) else len(weight) // _CHANNELS_PER_PIXEL
    return pixels <= most and min(weight.shape[:2]) >= _CHANNELS


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, geometry: Geometry, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        ctx.bias_sizes = None if bias is None else list(bias.shape)
        return F.conv2d(x, weight, bias, *geometry)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:]
        return None, *convolution_gradients(grad_output, x, weight, ctx.bias_sizes, ctx.geometry, needs)
