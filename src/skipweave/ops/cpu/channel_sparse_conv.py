"""The C library's channel-sparse convolution as a differentiable function."""

from collections.abc import Sequence
from math import prod

from torch import Tensor
from torch.nn.grad import conv2d_input

from skipweave.ops.channel_sparse_operator import differentiable
from skipweave.ops.channel_sparse_reference import dense_weight
from skipweave.ops.cpu import channel_sparse_calls
from skipweave.ops.cpu.break_even import break_even

Pair = Sequence[int]


def _input_gradient(
    gradient: Tensor, shape: Pair, weight: Tensor, index: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> Tensor:
    """Computed by the C library, or as in a dense convolution where that is faster: for kernels as large as the map."""
    sparse = weight.shape[1] * prod(shape[2:]) / prod(stride)  # links x input positions
    dense = shape[1] * prod(gradient.shape[2:])  # channels x output positions
    if sparse <= break_even((weight.shape[2], weight.shape[3])) * dense:
        return channel_sparse_calls.input_gradient(gradient, shape, weight, index, stride, padding, dilation)
    return conv2d_input(shape, dense_weight(weight, index, shape[1]), gradient, stride, padding, dilation)


#: `channel_sparse_dense` by the C library, for float32 tensors on the CPU and strides up to 2; same arguments.
channel_sparse_library = differentiable(
    "skipweave::channel_sparse",
    channel_sparse_calls.forward,
    _input_gradient,
    channel_sparse_calls.weight_gradient,
    device_types="cpu",
)
