"""The normalization of nodes against torch's batch norm."""

import pytest
import torch
from torch import Tensor, nn

from skipweave.layers import NodeNorm


def maps(count: int) -> list[Tensor]:
    torch.manual_seed(0)
    return [3 * torch.randn(4, 2, 5, 5, dtype=torch.float64) + 1 for _ in range(count)]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_the_lean_norm_keeps_the_statistics_of_a_batch_norm(momentum: float | None) -> None:
    lean, plain = NodeNorm(2).double(), nn.BatchNorm2d(2, affine=False).double()
    lean.momentum = plain.momentum = momentum
    for x in maps(3):
        torch.testing.assert_close(lean(x), plain(x))
    torch.testing.assert_close(dict(lean.named_buffers()), dict(plain.named_buffers()))
    torch.testing.assert_close(lean.eval()(x), plain.eval()(x))


def test_the_lean_norm_refuses_a_single_value_in_training() -> None:
    norm = NodeNorm(2)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        norm(torch.ones(1, 2, 1, 1))
    assert norm.running_var.tolist() == [1, 1]
