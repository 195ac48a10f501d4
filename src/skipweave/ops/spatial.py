"""Cropping and dilated pooling of maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """Keep the first rows and columns of a map.

    Args:
        x: (N, C, H, W).
        size: H' and W', at most H and W.

    Returns:
        (N, C, H', W').
    """
    height, width = size
    if not torch.compiler.is_exporting():
        return x[..., :height, :width]
    # A slice would specialize the exported graph on whether the example is cropped; index_select does not.
    rows, columns = (torch.arange(side, device=x.device) for side in size)
    return x.index_select(2, rows).index_select(3, columns)


def dilated_avg_pool2d(x: Tensor, dilation: int) -> Tensor:
    """2x2 average pooling with stride 1 and dilated taps, (N, C, H, W) to (N, C, H, W).

    The dilated counterpart of a 2x2 stride-2 average pool: sampled every `2 * dilation` pixels, its result equals that
    of the strided pool on a map sampled every `dilation` pixels. The last row and column are replicated beyond the
    border.
    """
    padded = F.pad(x, (0, dilation, 0, dilation), mode="replicate")
    rows = padded[..., :-dilation, :] + padded[..., dilation:, :]
    return (rows[..., :-dilation] + rows[..., dilation:]) / 4
