"""The channel-sparse convolution: its definition against loops, its implementations against the definition."""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from skipweave.ops import (
    Implementation,
    channel_sparse_conv2d,
    channel_sparse_dense,
    channel_sparse_dispatch,
    channel_sparse_shared,
    dense_weight,
    implementation_for,
)
from skipweave.ops.triton import launch
from skipweave.topology import channel_patterns


def operands(rows: int, kernel: tuple[int, int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    index = torch.tensor(channel_patterns.exact(10, rows, 3).sources)
    shapes = ((2, 10, 9, 8), (16, 3, *kernel), (16,))
    x, weight, bias = (torch.randn(*shape, dtype=dtype).requires_grad_() for shape in shapes)
    return x, weight, index, bias


@pytest.mark.parametrize("rows", [16, 4])
def test_definition_reads_the_channels_of_the_index(rows: int) -> None:
    x, weight, index, bias = operands(rows, (3, 3))
    out = channel_sparse_dense(x, weight, index, bias, padding=(1, 1))
    for channel in range(16):
        read = x[:, index[channel // (16 // rows)].long()]
        expected = F.conv2d(read, weight[channel : channel + 1], bias[channel : channel + 1], padding=1)
        torch.testing.assert_close(out[:, channel : channel + 1], expected)


def test_dense_weight_is_zero_where_nothing_is_read() -> None:
    _, weight, index, _ = operands(4, (3, 3))
    dense = dense_weight(weight, index, 10)
    assert dense.shape == (16, 10, 3, 3)
    assert dense.count_nonzero() == weight.numel()
    torch.testing.assert_close(dense.sum(), weight.sum())


@pytest.mark.parametrize("implementation", [channel_sparse_shared, channel_sparse_conv2d])
@pytest.mark.parametrize("rows", [16, 4, 2])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [
        ((1, 1), (1, 1), (0, 0), (1, 1)),
        ((1, 1), (2, 2), (0, 0), (1, 1)),
        ((1, 1), (1, 1), (1, 2), (1, 1)),
        ((3, 3), (1, 1), (1, 1), (1, 1)),
        ((3, 2), (2, 1), (0, 1), (1, 3)),
    ],
)
def test_implementations_equal_the_definition(implementation, rows, kernel, stride, padding, dilation) -> None:
    x, weight, index, bias = operands(rows, kernel)
    results = []
    for function in (channel_sparse_dense, implementation):
        out = function(x, weight, index, bias, stride, padding, dilation)
        results.append((out, torch.autograd.grad(out.pow(3).sum(), [x, weight, bias])))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def on_gpu(block: int, fan_in: int, dtype: torch.dtype = torch.float32) -> Implementation:
    """The implementation for 256 channels on a GPU, determined with fake tensors."""
    with FakeTensorMode(), patch.object(channel_sparse_dispatch, "is_plain", return_value=True):
        x, weight = (torch.empty(*shape, dtype=dtype, device="cuda") for shape in ((2, 256, 5, 5), (256, fan_in, 3, 3)))
        return implementation_for(x, weight, torch.empty(256 // block, fan_in, dtype=torch.int32, device="cuda"))


def test_triton_is_chosen_for_blocks_and_low_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROBLEM", "")
    for block, fan_in in ((16, 26), (16, 128), (256, 3), (1, 8), (8, 8)):
        assert on_gpu(block, fan_in).name == "triton"
        assert on_gpu(block, fan_in, torch.bfloat16).name == "triton"
    for block, fan_in in ((1, 9), (8, 26), (16, 129)):
        assert on_gpu(block, fan_in).name == "dense"
    assert "torch.float64" in on_gpu(1, 3, torch.float64).reason


def test_other_implementations_are_chosen_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROBLEM", "Triton is not installed")
    assert on_gpu(1, 3).name == "dense"
    assert on_gpu(16, 26).name == "shared"
    assert launch.PROBLEM in on_gpu(16, 26).reason
