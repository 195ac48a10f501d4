"""The corner of a map, of a size that may not be known yet."""

from collections.abc import Sequence

import torch
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
    # A slice asks whether it leaves anything out, and the example's answer would be taken to hold for all sizes.
    rows, columns = (torch.arange(side, device=x.device) for side in size)
    return x.index_select(2, rows).index_select(3, columns)
