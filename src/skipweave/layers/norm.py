"""Batch norm in two halves: the normalization, which readers can share, and a reader's own gains and biases."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from skipweave.ops import normalize_lean


class Affine(NamedTuple):
    """What awaits gains, biases and ReLU (`skipweave.ops.concat_read`).

    Attributes:
        nodes: Normalized maps (N, C_s, H, W).
        gain: (C,) with C the sum of the C_s.
        bias: (C,).
    """

    nodes: tuple[Tensor, ...]
    gain: Tensor
    bias: Tensor


class NodeNorm(nn.BatchNorm2d):
    """The normalization of a node, done once where the node is produced: batch norm without gains and biases.

    Per-channel normalization commutes with concatenation, so all readers of a concatenated node may share it; what
    differs between them, gains and biases, is in `ConcatRead`. In training it keeps for the backward pass the node
    alone, which the node's readers keep anyway.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalized map (N, width, H, W).

        Raises:
            ValueError: In training, a channel has a single value, which has no deviation.
        """
        if self.training or self.running_mean is None:
            return _normalize(self, x)
        return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)


def before_affine(norm: nn.BatchNorm2d, x: Tensor) -> Affine:
    """Do the first half of a batch norm in training: its running statistics are updated, its affine half is left."""
    return Affine((_normalize(norm, x),), norm.weight, norm.bias)


def _normalize(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    momentum = norm.momentum
    if norm.num_batches_tracked is not None and isinstance(x, Tensor):  # torch.fx traces with what is no tensor
        norm.num_batches_tracked.add_(1)
        momentum = 1 / norm.num_batches_tracked.item() if momentum is None else momentum
    return normalize_lean(x, norm.running_mean, norm.running_var, momentum or 0.0, norm.eps)
