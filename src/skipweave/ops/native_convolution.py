"""Calls of the C library's channel-sparse convolution."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from torch import Tensor

from skipweave.ops import native_library

Pair = Sequence[int]


class Convolution(ctypes.Structure):
    """`convolution` of native/kernels.h."""

    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in (
                *("batch", "in_channels", "out_channels"),
                *("in_height", "in_width", "out_height", "out_width"),
                *("kernel_height", "kernel_width", "stride_height", "stride_width"),
                *("padding_height", "padding_width", "dilation_height", "dilation_width"),
                *("spread_height", "spread_width"),
            )
        ),
        ("workers", native_library.Workers),
    )


@cache
def _functions() -> Mapping[str, Callable[..., int]]:
    found = native_library.functions(native_library.library().path)
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    pointers = {"skipweave_forward": 5, "skipweave_input_gradient": 4, "skipweave_weight_gradient": 4}
    for name, count in pointers.items():
        getattr(found, name).argtypes = (ctypes.POINTER(Convolution), size, size, *[pointer] * count)
    return {name: getattr(found, name) for name in pointers}


def _described(
    x: Sequence[int], weight: Sequence[int], out: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> Convolution:
    return Convolution(
        *x[:2], weight[0], *x[2:], *out[2:], *weight[2:], *stride, *padding, *dilation, 1, 1, native_library.workers()
    )


def _call(function: str, conv: Convolution, index: Tensor, *tensors: Tensor | None) -> None:
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    failed = _functions()[function](conv, *index.shape, *pointers)
    if failed == 1:
        raise IndexError(
            f"the index of a channel-sparse convolution names channels beyond the {conv.in_channels} there are"
        )
    if failed:
        raise MemoryError("the channel-sparse convolution's scratch memory could not be allocated")


def output_shape(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """Shape of the convolved map."""
    sides = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    height, width = (
        (size + 2 * zeros - apart * (kernel - 1) - 1) // step + 1 for size, kernel, step, zeros, apart in sides
    )
    return x.shape[0], weight.shape[0], height, width


def forward(
    x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """`channel_sparse_dense` of float32 tensors on the CPU."""
    out = x.new_empty(output_shape(x, weight, stride, padding, dilation))
    conv = _described(x.shape, weight.shape, out.shape, stride, padding, dilation)
    x, weight, index = x.contiguous(), weight.contiguous(), index.contiguous()
    bias = None if bias is None else bias.contiguous()
    _call("skipweave_forward", conv, index, x, weight, index, bias, out)
    return out


def input_gradient(
    gradient: Tensor, shape: Sequence[int], weight: Tensor, index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Gradient of the input, whose shape is given, from that of the output."""
    made = gradient.new_empty(shape)
    conv = _described(shape, weight.shape, gradient.shape, stride, padding, dilation)
    gradient, weight, index = gradient.contiguous(), weight.contiguous(), index.contiguous()
    _call("skipweave_input_gradient", conv, index, gradient, weight, index, made)
    return made


def weight_gradient(
    gradient: Tensor, x: Tensor, shape: Sequence[int], index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Gradient of the weights, whose shape is given, from that of the output."""
    made = gradient.new_empty(shape)
    conv = _described(x.shape, shape, gradient.shape, stride, padding, dilation)
    gradient, x, index = gradient.contiguous(), x.contiguous(), index.contiguous()
    _call("skipweave_weight_gradient", conv, index, x, gradient, index, made)
    return made
