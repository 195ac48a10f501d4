"""The convolution whose outputs read few input channels each: the definition, and fast forms in plain torch."""

import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


def dense_weight(weight: Tensor, index: Tensor, in_channels: int) -> Tensor:
    """The weights as those of a dense convolution, with zeros where an output does not read an input.

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


def channel_sparse(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """Convolve over the input channels that each output reads: the definition, a dense convolution with zeros.

    Args:
        x: (N, C_in, H, W).
        weight: (C_out, k, kh, kw).
        index: (rows, k), the input channels that each block of C_out / rows outputs reads.
        bias: (C_out,).
        stride: Vertical and horizontal step.
        padding: Rows and columns of zeros on each side.
        dilation: Distance of the kernel's taps.

    Returns:
        (N, C_out, H', W').
    """
    return F.conv2d(x, dense_weight(weight, index, x.shape[1]), bias, stride, padding, dilation)


def channel_sparse_shared(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse` for blocks that share their inputs: gather these, then a convolution of as many groups.

    Fast where blocks are large; the gathered map has rows * k channels. A 1x1 convolution is a product of matrices.
    """
    groups, fan_in = index.shape
    gathered = x.index_select(1, index.flatten())
    if weight.shape[2:] != (1, 1) or stride != (1, 1) or padding != (0, 0):
        return F.conv2d(gathered, weight, bias, stride, padding, dilation, groups)
    product = weight.view(groups, -1, fan_in) @ gathered.view(x.shape[0], groups, fan_in, -1)
    out = product.view(x.shape[0], -1, *x.shape[2:])
    return out if bias is None else out + bias.view(-1, 1, 1)


_LEAST_SHARED = 8  # outputs of a block from which on gathering pays


def channel_sparse_conv2d(
    x: Tensor,
    weight: Tensor,
    index: Tensor,
    bias: Tensor | None = None,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
) -> Tensor:
    """`channel_sparse` in the form that is fastest for these sizes on this device; arguments as there."""
    form = channel_sparse_shared if weight.shape[0] // index.shape[0] >= _LEAST_SHARED else channel_sparse
    return form(x, weight, index, bias, stride, padding, dilation)
