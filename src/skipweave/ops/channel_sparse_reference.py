"""Channel-sparse convolution: the reference definition."""

import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


def dense_weight(weight: Tensor, index: Tensor, in_channels: int) -> Tensor:
    """Convert the weight to that of a dense convolution, with zeros where an output does not read an input.

    Args:
        weight: (C_out, k, kh, kw).
        index: (rows, k), the input channels that each block of C_out / rows outputs reads.
        in_channels: C_in.

    Returns:
        (C_out, C_in, kh, kw).
    """
    places = index.long().repeat_interleave(weight.shape[0] // index.shape[0], dim=0)
    dense = weight.new_zeros(weight.shape[0], in_channels, *weight.shape[2:])
    return dense.scatter(1, places[:, :, None, None].expand_as(weight), weight)


def channel_sparse_dense(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """Convolve over the input channels that each output reads, as a dense convolution with zeros: the definition.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, k, kh, kw).
        index: (rows, k), the input channels that each block of C_out / rows outputs reads.
        bias: (C_out,).
        stride: Vertical and horizontal stride.
        padding: Rows and columns of zeros on each side.
        dilation: Vertical and horizontal dilation.

    Returns:
        (N, C_out, H', W').
    """
    return F.conv2d(x, dense_weight(weight, index, x.shape[1]), bias, stride, padding, dilation)
