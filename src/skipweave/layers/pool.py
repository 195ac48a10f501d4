"""The commonest max pool by faster operations."""

import torch
from torch import Tensor, nn

from skipweave.errors import SkipweaveError


class HalvingMaxPool(nn.Module):
    """`nn.MaxPool2d(2)` by maxima of pairs of rows, then of pairs of columns: for inference.

    torch's own goes through contiguous maps window by window on the CPU, and takes several times as long
    (docs/performance.md).

    Shape: (N, C, H, W) to (N, C, H // 2, W // 2); an odd last row or column is dropped.

    Raises:
        SkipweaveError: A map is one pixel high or wide.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the pooled map."""
        if min(x.shape[-2:]) < 2:
            raise SkipweaveError(f"a map of {x.shape[-2]}x{x.shape[-1]} pixels cannot be halved: give larger images")
        rows = torch.maximum(x[..., :-1:2, :], x[..., 1::2, :])
        return torch.maximum(rows[..., :-1:2], rows[..., 1::2])
