"""Calls of the C library's channel-sparse convolution."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from skipweave.ops.cpu import c_library

Pair = Sequence[int]


class Convolution(ctypes.Structure):
    """`struct convolution` of csrc/kernels.h."""

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
        ("workers", c_library.Workers),
    )


@cache
def _functions() -> Mapping[str, Callable[..., int]]:
    found = c_library.functions(c_library.library().path)
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    pointers = {"skipweave_forward": 5, "skipweave_input_gradient": 4, "skipweave_weight_gradient": 4}
    for name, count in pointers.items():
        getattr(found, name).argtypes = (ctypes.POINTER(Convolution), size, size, *[pointer] * count)
    return {name: getattr(found, name) for name in pointers}


# Inputs of dilated kernels are packed together with the pixels between the taps. The library is not used if the kernel
# spans more than this many pixels per tap and in total over all channels (1 MiB packed per output pixel).
_PIXELS_PER_TAP, _PIXELS = 6, 2**14


def unsupported(
    x: Sequence[int], weight: Sequence[int], index: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> str:
    """Reason not to use the library for tensors of these shapes; empty if it should be used.

    Valid for the convolution and both gradients. Kernels and paddings may have any size.
    """
    if problem := empty_or_invalid(x, weight, index, stride, padding, dilation):
        return problem
    if max(stride) > 2:
        return f"the stride is {tuple(stride)}"
    outputs, _, height, width = weight
    spanned = (dilation[0] * (height - 1) + 1) * (dilation[1] * (width - 1) + 1)
    if spanned > _PIXELS_PER_TAP * height * width and spanned * max(x[1], outputs) > _PIXELS:
        return f"the dilation is {tuple(dilation)}, and the taps of the kernel are too far apart"
    return ""


def empty_or_invalid(
    x: Sequence[int], weight: Sequence[int], index: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> str:
    """Reason to leave a call to torch, which raises an error or returns an empty tensor; empty if there is none."""
    if 0 in x or 0 in weight:
        return "the input is empty" if 0 in x else "no channels are read"
    if weight[1] != index[1] or weight[0] % index[0]:
        return f"the weight of shape {tuple(weight)} does not match the index of shape {tuple(index)}"
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        return f"the stride is {tuple(stride)}, the padding {tuple(padding)}, the dilation {tuple(dilation)}"
    if min(_sides(x, weight, stride, padding, dilation)) < 1:
        return "the kernel is larger than the padded input"
    return ""


def output_shape(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """Shape of the output.

    Raises:
        RuntimeError: The output would be empty.
    """
    return _output_shape(x.shape, weight.shape, stride, padding, dilation)


def expect_gradient(
    gradient: Sequence[int], x: Sequence[int], weight: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> None:
    """Raise a RuntimeError unless an output gradient has the shape of the output."""
    expected = _output_shape(x, weight, stride, padding, dilation)
    if tuple(gradient) != expected:
        raise RuntimeError(f"gradient has shape {tuple(gradient)}: expected {expected}")


def _output_shape(
    x: Sequence[int], weight: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    height, width = _sides(x, weight, stride, padding, dilation)
    if height < 1 or width < 1:
        raise RuntimeError(
            f"input of {tuple(x[2:])} pixels with padding {tuple(padding)} is smaller than the kernel of "
            f"{tuple(weight[2:])} with dilation {tuple(dilation)}"
        )
    return x[0], weight[0], height, width


def _sides(x: Sequence[int], weight: Sequence[int], stride: Pair, padding: Pair, dilation: Pair) -> tuple[int, int]:
    """Height and width of the output; below 1 if the kernel is larger than the padded input."""
    height = x[2] + 2 * padding[0] - dilation[0] * (weight[2] - 1) - 1
    width = x[3] + 2 * padding[1] - dilation[1] * (weight[3] - 1) - 1
    return height // stride[0] + 1, width // stride[1] + 1


def forward(
    x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """`channel_sparse_dense` for float32 tensors on the CPU.

    Raises:
        RuntimeError: Shapes do not match, or the library does not support them (`unsupported`).
        IndexError: The index has entries beyond the input channels.
        MemoryError: Scratch memory could not be allocated.
    """
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(f"bias has shape {tuple(bias.shape)}: expected ({weight.shape[0]},)")
    out = x.new_empty(output_shape(x, weight, stride, padding, dilation))
    conv = _described(x.shape, weight.shape, index.shape, out.shape, stride, padding, dilation)
    _call("skipweave_forward", conv, index, (x, weight, index, bias), out)
    return out


def input_gradient(
    gradient: Tensor, shape: Sequence[int], weight: Tensor, index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Gradient with respect to the input of this shape."""
    expect_gradient(gradient.shape, shape, weight.shape, stride, padding, dilation)
    made = gradient.new_empty(shape)
    conv = _described(shape, weight.shape, index.shape, gradient.shape, stride, padding, dilation)
    _call("skipweave_input_gradient", conv, index, (gradient, weight, index), made)
    return made


def weight_gradient(
    gradient: Tensor, x: Tensor, shape: Sequence[int], index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Gradient with respect to the weight of this shape."""
    expect_gradient(gradient.shape, x.shape, shape, stride, padding, dilation)
    made = gradient.new_empty(shape)
    conv = _described(x.shape, shape, index.shape, gradient.shape, stride, padding, dilation)
    _call("skipweave_weight_gradient", conv, index, (x, gradient, index), made)
    return made


def _described(
    x: Sequence[int],
    weight: Sequence[int],
    index: Sequence[int],
    out: Sequence[int],
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> Convolution:
    """Describe a convolution to C, which does not check it again."""
    if problem := unsupported(x, weight, index, stride, padding, dilation):
        raise RuntimeError(f"the C library does not support an input of shape {tuple(x)}: {problem}")
    return Convolution(
        *x[:2], weight[0], *x[2:], *out[2:], *weight[2:], *stride, *padding, *dilation, 1, 1, c_library.workers()
    )


def _call(function: str, conv: Convolution, index: Tensor, given: Sequence[Tensor | None], made: Tensor) -> None:
    readable = [
        None if tensor is None else c_library.readable(tensor, torch.int32 if tensor is index else torch.float32)
        for tensor in given
    ]
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in (*readable, made)]
    failed = _functions()[function](conv, *index.shape, *pointers)
    if failed == 1:
        raise IndexError(f"index of a channel-sparse convolution is out of range: expected 0 to {conv.in_channels - 1}")
    if failed:
        raise MemoryError("scratch memory of the channel-sparse convolution could not be allocated")
