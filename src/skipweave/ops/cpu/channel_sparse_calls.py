"""Calls of the C library's channel-sparse convolution."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from skipweave.ops.cpu import c_library

Pair = Sequence[int]


class Convolution(ctypes.Structure):
    """`convolution` of csrc/kernels.h."""

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


# Kernels whose taps are far apart are packed with what lies between them. That does not pay where the pixels from the
# first tap to the last are so many times the taps, and so many in all channels (1 MiB packed for one output pixel).
_PIXELS_PER_TAP, _PIXELS = 6, 2**14


def why_not(
    x: Sequence[int], weight: Sequence[int], index: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> str:
    """Say in words why the library cannot, or should not, convolve tensors of these shapes; empty where it should.

    It holds for the convolution and for both of its gradients. Kernels and paddings may be of any size.
    """
    if problem := why_no_kernel(x, weight, index, stride, padding, dilation):
        return problem
    if max(stride) > 2:
        return f"the stride is {tuple(stride)}"
    outputs, _, height, width = weight
    spanned = (dilation[0] * (height - 1) + 1) * (dilation[1] * (width - 1) + 1)
    if spanned > _PIXELS_PER_TAP * height * width and spanned * max(x[1], outputs) > _PIXELS:
        return f"the taps of the kernel are far apart, the dilation being {tuple(dilation)}"
    return ""


def why_no_kernel(
    x: Sequence[int], weight: Sequence[int], index: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> str:
    """Say in words what is left to torch, which raises an error or has nothing to compute; empty if nothing is."""
    if 0 in x or 0 in weight:
        return "the input is empty" if 0 in x else "no channels are read"
    if weight[1] != index[1] or weight[0] % index[0]:
        return f"weights of shape {tuple(weight)} do not fit an index of shape {tuple(index)}"
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        return f"the stride is {tuple(stride)}, the padding {tuple(padding)}, the dilation {tuple(dilation)}"
    if min(_sides(x, weight, stride, padding, dilation)) < 1:
        return "the kernel is larger than the padded input"
    return ""


def output_shape(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair) -> tuple[int, int, int, int]:
    """Shape of the convolved map.

    Raises:
        RuntimeError: It would have no pixels.
    """
    return _output_shape(x.shape, weight.shape, stride, padding, dilation)


def expect_gradient(
    gradient: Sequence[int], x: Sequence[int], weight: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> None:
    """Raise a RuntimeError unless the gradient of a convolved map has that map's shape."""
    expected = _output_shape(x, weight, stride, padding, dilation)
    if tuple(gradient) != expected:
        raise RuntimeError(f"a gradient of shape {tuple(gradient)} for a map of shape {expected}")


def _output_shape(
    x: Sequence[int], weight: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    height, width = _sides(x, weight, stride, padding, dilation)
    if height < 1 or width < 1:
        raise RuntimeError(
            f"a map of {tuple(x[2:])} pixels and padding {tuple(padding)} is smaller than a kernel of "
            f"{tuple(weight[2:])} with dilation {tuple(dilation)}"
        )
    return x[0], weight[0], height, width


def _sides(x: Sequence[int], weight: Sequence[int], stride: Pair, padding: Pair, dilation: Pair) -> tuple[int, int]:
    """Height and width of the convolved map; below 1 where the kernel does not fit in."""
    height = x[2] + 2 * padding[0] - dilation[0] * (weight[2] - 1) - 1
    width = x[3] + 2 * padding[1] - dilation[1] * (weight[3] - 1) - 1
    return height // stride[0] + 1, width // stride[1] + 1


def forward(
    x: Tensor, weight: Tensor, index: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """`channel_sparse_dense` of float32 tensors on the CPU.

    Raises:
        RuntimeError: Tensors do not fit each other, or the library does not do it (`why_not`).
        IndexError: The index names channels that do not exist.
        MemoryError: Scratch memory could not be allocated.
    """
    if bias is not None and bias.shape != weight.shape[:1]:
        raise RuntimeError(f"a bias of shape {tuple(bias.shape)} for {weight.shape[0]} outputs")
    out = x.new_empty(output_shape(x, weight, stride, padding, dilation))
    conv = _described(x.shape, weight.shape, index.shape, out.shape, stride, padding, dilation)
    _call("skipweave_forward", conv, index, (x, weight, index, bias), out)
    return out


def input_gradient(
    gradient: Tensor, shape: Sequence[int], weight: Tensor, index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Gradient of the input, whose shape is given, from that of the output."""
    expect_gradient(gradient.shape, shape, weight.shape, stride, padding, dilation)
    made = gradient.new_empty(shape)
    conv = _described(shape, weight.shape, index.shape, gradient.shape, stride, padding, dilation)
    _call("skipweave_input_gradient", conv, index, (gradient, weight, index), made)
    return made


def weight_gradient(
    gradient: Tensor, x: Tensor, shape: Sequence[int], index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Gradient of the weights, whose shape is given, from that of the output."""
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
    """Describe a convolution to C, which relies on what is checked here."""
    if problem := why_not(x, weight, index, stride, padding, dilation):
        raise RuntimeError(f"the C library does not convolve a map of shape {tuple(x)}: {problem}")
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
        raise IndexError(
            f"the index of a channel-sparse convolution names channels beyond the {conv.in_channels} there are"
        )
    if failed:
        raise MemoryError("the channel-sparse convolution's scratch memory could not be allocated")
