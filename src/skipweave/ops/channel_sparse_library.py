"""The C library's convolution as a function of torch."""

from torch import Tensor

from skipweave.ops import native_convolution
from skipweave.ops.channel_sparse_operator import differentiable

Pair = tuple[int, int]


def channel_sparse_library(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse_dense` by the C library: float32 tensors on the CPU, strides up to 2; arguments as there."""
    return _convolve(x, weight, index, bias, stride, padding, dilation)


_convolve = differentiable(
    "skipweave::channel_sparse",
    native_convolution.forward,
    native_convolution.input_gradient,
    native_convolution.weight_gradient,
    device_types="cpu",
)
