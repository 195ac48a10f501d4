"""How the nodes that a unit reads become one tensor."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def join(nodes: Sequence[Tensor]) -> Tensor:
    """Concatenate maps (N, C_s, H, W) along channels; a single one is itself."""
    return nodes[0] if len(nodes) == 1 else torch.cat(list(nodes), dim=1)


def concat_read(nodes: Sequence[Tensor], gain: Tensor, bias: Tensor) -> Tensor:
    """Concatenate normalized nodes, apply the reader's gains and biases, and rectify.

    This is the second half of the papers' BN-ReLU; the first half, the normalization itself, was done where each node
    was produced.

    Args:
        nodes: Maps (N, C_s, H, W), each normalized.
        gain: (C,) with C the sum of the C_s.
        bias: (C,).

    Returns:
        relu(gain * concat(nodes) + bias), (N, C, H, W).
    """
    return torch.addcmul(bias.view(-1, 1, 1), join(nodes), gain.view(-1, 1, 1)).relu_()


def sum_nodes(nodes: Sequence[Tensor]) -> Tensor:
    """Sum nodes of one shape (N, C, H, W), the first with the second, then the third, and so on."""
    total = nodes[0]
    for node in nodes[1:]:
        total = total + node
    return total


def shifted_mean(x: Tensor, shift: int) -> Tensor:
    """2x2 average pooling with stride 1 whose taps lie `shift` apart, (N, C, H, W) to (N, C, H, W).

    What a 2x2 stride-2 average pool computes on a map that was thinned `shift` times, this computes at every pixel, so
    that thinning its result gives the same values. Beyond the border the last row and column are repeated.
    """
    padded = F.pad(x, (0, shift, 0, shift), mode="replicate")
    rows = padded[..., :-shift, :] + padded[..., shift:, :]
    return (rows[..., :-shift] + rows[..., shift:]) / 4
