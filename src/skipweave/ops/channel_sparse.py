"""The convolution whose outputs read few input channels each, in the form that is fastest here."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.ops.channel_sparse_reference import channel_sparse_dense
from skipweave.ops.cpu import c_library, channel_sparse_calls
from skipweave.ops.cpu.break_even import break_even
from skipweave.ops.cpu.channel_sparse_conv import channel_sparse_library
from skipweave.ops.eager import is_plain
from skipweave.ops.triton import channel_sparse_launch as triton
from skipweave.ops.triton import launch

Pair = tuple[int, int]


def channel_sparse_shared(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse_dense` for blocks that share their inputs: gather these, then a convolution of as many groups.

    Fast where blocks are large; the gathered map has rows * k channels. A 1x1 convolution is a product of matrices.
    """
    groups, fan_in = index.shape
    gathered = x.index_select(1, index.flatten())
    if weight.shape[2:] != (1, 1) or stride != (1, 1) or padding != (0, 0) or not x.numel():
        return F.conv2d(gathered, weight, bias, stride, padding, dilation, groups)
    product = weight.view(groups, -1, fan_in) @ gathered.view(x.shape[0], groups, fan_in, -1)
    out = product.view(x.shape[0], -1, *x.shape[2:])
    return out if bias is None else out + bias.view(-1, 1, 1)


_LEAST_SHARED = 8  # outputs of a block from which on gathering pays
# Densities up to which Triton's kernels pay, for blocks of 16 outputs and for smaller ones: predicted, not measured.
_MOST_BLOCKS, _MOST_OUTPUTS = 0.5, 0.03


def channel_sparse_conv2d(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse_dense` in the form that `form_for` names; arguments as there."""
    form = form_for(x, weight, index, stride, padding, dilation)
    return form.function(x, weight, index, bias, stride, padding, dilation)


@dataclass(frozen=True)
class Form:
    """A way to compute `channel_sparse_dense`, and in words why it is taken."""

    name: Literal["library", "triton", "shared", "dense"]
    reason: str

    @property
    def function(self) -> Callable[..., Tensor]:
        """The function, with the arguments of `channel_sparse_dense`."""
        return {
            "library": channel_sparse_library,
            "triton": triton.channel_sparse_triton,
            "shared": channel_sparse_shared,
            "dense": channel_sparse_dense,
        }[self.name]


def form_for(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Form:
    """Say which form is fastest: the C library, Triton's kernels, gathered blocks, or a dense convolution.

    Of Triton's kernels that is predicted, not measured. `torch.compile` knows both as operators; whatever else looks on
    (exports, tracers, torch-dispatch modes, the transforms of `torch.func`, ...) sees operators of torch alone.
    """
    name: Literal["library", "triton"] = "triton" if x.device.type == "cuda" else "library"
    why_not = _why_not_triton if name == "triton" else _why_not_library
    problem = why_not(x, weight, index, stride, padding, dilation)
    compiled = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    if not problem and not compiled and not is_plain(x, weight, index):
        problem = "the network is traced or observed"
    if not problem:
        return Form(name, "few channels are read")
    missing = f"no {'Triton kernel' if name == 'triton' else 'C library'}: {problem}"
    if weight.shape[0] // index.shape[0] >= _LEAST_SHARED and 0 < index.numel() <= 2 * x.shape[1]:
        return Form("shared", f"blocks share what they read; {missing}")
    return Form("dense", missing)


def _why_not_library(x: Tensor, weight: Tensor, index: Tensor, *options: Pair) -> str:
    """Say in words why the C library cannot, or should not, do it; empty where it should."""
    if any(tensor.device.type != "cpu" for tensor in (x, weight, index)):
        return f"the tensors are on {x.device.type}"
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return "the type is not float32"
    if index.dtype != torch.int32:
        return f"the index is of {index.dtype}, not int32"
    if problem := channel_sparse_calls.why_not(x.shape, weight.shape, index.shape, *options):
        return problem
    if weight.shape[1] > break_even((weight.shape[2], weight.shape[3])) * x.shape[1]:
        return "too many channels are read"
    return _library_problem()


@torch.compiler.assume_constant_result
def _library_problem() -> str:
    """Say why the C library cannot be used; looked up before `torch.compile` traces on, not by what it makes."""
    return c_library.library().problem


def _why_not_triton(x: Tensor, weight: Tensor, index: Tensor, *options: Pair) -> str:
    """Say in words why Triton's kernels cannot, or should not, do it; empty where they should."""
    if weight.device != x.device or index.device != x.device:
        return f"the tensors are on {x.device}, {weight.device} and {index.device}"
    if x.dtype not in launch.DTYPES or (x.dtype != weight.dtype and not torch.is_autocast_enabled("cuda")):
        return f"the types are {x.dtype} and {weight.dtype}"
    if problem := triton.why_not(x.shape, weight.shape, index.shape, *options):
        return problem
    most = _MOST_BLOCKS if weight.shape[0] // index.shape[0] >= triton.LEAST_BLOCK else _MOST_OUTPUTS
    if weight.shape[1] > math.ceil(most * x.shape[1]):
        return "too many channels are read"
    return launch.PROBLEM
