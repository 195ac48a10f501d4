"""Channel-sparse convolution, in the fastest implementation available for given tensors."""

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
from skipweave.ops.eager_execution import is_plain
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
    """`channel_sparse_dense` for blocks that share their inputs: gather the inputs, then a grouped convolution.

    Fast for large blocks. The gathered map has rows * k channels. A 1x1 convolution is a batched matrix product.
    """
    groups, fan_in = index.shape
    gathered = x.index_select(1, index.flatten())
    if weight.shape[2:] != (1, 1) or stride != (1, 1) or padding != (0, 0) or not x.numel():
        return F.conv2d(gathered, weight, bias, stride, padding, dilation, groups)
    product = weight.view(groups, -1, fan_in) @ gathered.view(x.shape[0], groups, fan_in, -1)
    out = product.view(x.shape[0], -1, *x.shape[2:])
    return out if bias is None else out + bias.view(-1, 1, 1)


_MIN_SHARED_BLOCK = 8  # outputs per block from which on gathering is faster
# Maximum density for the Triton kernels, for blocks of at least 16 outputs and for smaller ones (predicted).
_MAX_BLOCK_DENSITY, _MAX_OUTPUT_DENSITY = 0.5, 0.03


def channel_sparse_conv2d(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse_dense` in the implementation chosen by `implementation_for`; same arguments."""
    chosen = implementation_for(x, weight, index, stride, padding, dilation)
    return chosen.function(x, weight, index, bias, stride, padding, dilation)


@dataclass(frozen=True)
class Implementation:
    """An implementation of `channel_sparse_dense`, and the reason for choosing it."""

    name: Literal["library", "triton", "shared", "dense"]
    reason: str

    @property
    def function(self) -> Callable[..., Tensor]:
        """The implementing function, with the arguments of `channel_sparse_dense`."""
        return {
            "library": channel_sparse_library,
            "triton": triton.channel_sparse_triton,
            "shared": channel_sparse_shared,
            "dense": channel_sparse_dense,
        }[self.name]


def implementation_for(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Implementation:
    """Choose the fastest implementation: C library, Triton kernels, gathered blocks, or a dense convolution.

    For the Triton kernels the choice is predicted, not measured. C library and Triton kernels are registered operators,
    supported by `torch.compile`; exporters, tracers, dispatch modes and `torch.func` see torch's operators only.
    """
    name: Literal["library", "triton"] = "triton" if x.device.type == "cuda" else "library"
    check = _triton_unsupported if name == "triton" else _library_unsupported
    problem = check(x, weight, index, stride, padding, dilation)
    compiled = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
    if not problem and not compiled and not is_plain(x, weight, index):
        problem = "the network is traced or observed"
    if not problem:
        return Implementation(name, "few channels are read")
    missing = f"no {'Triton kernel' if name == 'triton' else 'C library'}: {problem}"
    if weight.shape[0] // index.shape[0] >= _MIN_SHARED_BLOCK and 0 < index.numel() <= 2 * x.shape[1]:
        return Implementation("shared", f"blocks share what they read; {missing}")
    return Implementation("dense", missing)


def _library_unsupported(x: Tensor, weight: Tensor, index: Tensor, *options: Pair) -> str:
    """Reason not to use the C library; empty if it should be used."""
    if any(tensor.device.type != "cpu" for tensor in (x, weight, index)):
        return f"the tensors are on {x.device.type}"
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return "the type is not float32"
    if index.dtype != torch.int32:
        return f"the index is of {index.dtype}, not int32"
    if problem := channel_sparse_calls.unsupported(x.shape, weight.shape, index.shape, *options):
        return problem
    if weight.shape[1] > break_even((weight.shape[2], weight.shape[3])) * x.shape[1]:
        return "too many channels are read"
    return _library_problem()


@torch.compiler.assume_constant_result
def _library_problem() -> str:
    """Why the C library cannot be used; evaluated while `torch.compile` traces."""
    return c_library.library().problem


def _triton_unsupported(x: Tensor, weight: Tensor, index: Tensor, *options: Pair) -> str:
    """Reason not to use the Triton kernels; empty if they should be used."""
    if weight.device != x.device or index.device != x.device:
        return f"the tensors are on {x.device}, {weight.device} and {index.device}"
    if x.dtype not in launch.DTYPES or (x.dtype != weight.dtype and not torch.is_autocast_enabled("cuda")):
        return f"the types are {x.dtype} and {weight.dtype}"
    if problem := triton.unsupported(x.shape, weight.shape, index.shape, *options):
        return problem
    blocks = weight.shape[0] // index.shape[0] >= triton.MIN_BLOCK
    if weight.shape[1] > math.ceil((_MAX_BLOCK_DENSITY if blocks else _MAX_OUTPUT_DENSITY) * x.shape[1]):
        return "too many channels are read"
    return launch.PROBLEM
