"""The C library beside this file: how it is found and loaded, and what a call of it looks like."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent / "native"
Pair = Sequence[int]


class Convolution(ctypes.Structure):
    """`convolution` of native/convolution.h."""

    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in (
                *("batch", "in_channels", "out_channels"),
                *("in_height", "in_width", "out_height", "out_width"),
                *("kernel_height", "kernel_width", "stride_height", "stride_width"),
                *("padding_height", "padding_width", "dilation_height", "dilation_width"),
                *("spread_height", "spread_width", "threads"),
            )
        ),
        ("parallel", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Library:
    """What became of loading the C library.

    Attributes:
        path: Where it is, or should be.
        problem: Why it cannot be used, in words; empty if it can.
        instruction_set: What it computes with: "avx512", "avx2" or "generic".
        threaded: Whether it runs in the threads of the OpenMP runtime that torch has loaded.
    """

    path: Path
    problem: str
    instruction_set: str = ""
    threaded: bool = False


def _fingerprint() -> str:
    """What the sources are, as `hatch_build.py` makes it."""
    sources = sorted(path for path in FOLDER.iterdir() if path.suffix in (".c", ".h"))
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


@cache
def library() -> Library:
    """Load the library once a process and choose the best instruction set that the processor has."""
    path = FOLDER / "channel_sparse.so"
    if not path.is_file():
        return Library(path, "it was not built: there was no C compiler when skipweave was installed")
    try:
        functions = _functions(path)
    except OSError as error:
        return Library(path, f"it cannot be loaded: {error}")
    if functions.skipweave_fingerprint().decode() != _fingerprint():
        return Library(path, "it was built from other sources: install skipweave again")
    return Library(path, "", functions.skipweave_instruction_set(None).decode(), _parallel() is not None)


def use_instruction_set(name: str) -> bool:
    """Compute with another instruction set from now on; return whether processor and library have it."""
    return _functions(library().path).skipweave_instruction_set(name.encode()) is not None


@cache
def _functions(path: Path) -> ctypes.CDLL:
    functions = ctypes.CDLL(str(path))
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    conv = ctypes.POINTER(Convolution)
    functions.skipweave_fingerprint.restype = ctypes.c_char_p
    functions.skipweave_instruction_set.argtypes = (ctypes.c_char_p,)
    functions.skipweave_instruction_set.restype = ctypes.c_char_p
    functions.skipweave_forward.argtypes = (conv, size, size, *[pointer] * 5)
    functions.skipweave_input_gradient.argtypes = (conv, size, size, *[pointer] * 4)
    functions.skipweave_weight_gradient.argtypes = (conv, size, size, *[pointer] * 4)
    return functions


@cache
def _parallel() -> int | None:
    """`GOMP_parallel` of the OpenMP runtime that torch has loaded: a second runtime would fight with it."""
    try:
        return ctypes.cast(ctypes.CDLL(None).GOMP_parallel, ctypes.c_void_p).value
    except (AttributeError, OSError):
        return None


def _described(
    x: Sequence[int], weight: Sequence[int], out: Sequence[int], stride: Pair, padding: Pair, dilation: Pair
) -> Convolution:
    threads = torch.get_num_threads() if _parallel() else 1
    return Convolution(
        *x[:2], weight[0], *x[2:], *out[2:], *weight[2:], *stride, *padding, *dilation, 1, 1, threads, _parallel()
    )


def _call(function: str, conv: Convolution, index: Tensor, *tensors: Tensor | None) -> None:
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    failed = getattr(_functions(library().path), function)(conv, *index.shape, *pointers)
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
