"""The channel-sparse convolution: its definition against loops, its fast forms against the definition."""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from skipweave.ops import (
    Implementation,
    channel_sparse,
    channel_sparse_conv2d,
    channel_sparse_dense,
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
def test_the_definition_reads_what_the_index_says(rows: int) -> None:
    x, weight, index, bias = operands(rows, (3, 3))
    out = channel_sparse_dense(x, weight, index, bias, padding=(1, 1))
    for channel in range(16):
        read = x[:, index[channel // (16 // rows)].long()]
        expected = F.conv2d(read, weight[channel : channel + 1], bias[channel : channel + 1], padding=1)
        torch.testing.assert_close(out[:, channel : channel + 1], expected)


def test_the_dense_weights_are_zero_where_nothing_is_read() -> None:
    _, weight, index, _ = operands(4, (3, 3))
    dense = dense_weight(weight, index, 10)
    assert dense.shape == (16, 10, 3, 3)
    assert dense.count_nonzero() == weight.numel()
    torch.testing.assert_close(dense.sum(), weight.sum())


@pytest.mark.parametrize("form", [channel_sparse_shared, channel_sparse_conv2d])
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
def test_the_fast_forms_are_the_definition(form, rows, kernel, stride, padding, dilation) -> None:
    x, weight, index, bias = operands(rows, kernel)
    results = []
    for function in (channel_sparse_dense, form):
        out = function(x, weight, index, bias, stride, padding, dilation)
        results.append((out, torch.autograd.grad(out.pow(3).sum(), [x, weight, bias])))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def on_gpu(block: int, fan_in: int, dtype: torch.dtype = torch.float32) -> Implementation:
    """The form for 256 channels on a GPU, which need not be there: fake tensors stand for plain ones."""
    with FakeTensorMode(), patch.object(channel_sparse, "is_plain", return_value=True):
        x, weight = (torch.empty(*shape, dtype=dtype, device="cuda") for shape in ((2, 256, 5, 5), (256, fan_in, 3, 3)))
        return implementation_for(x, weight, torch.empty(256 // block, fan_in, dtype=torch.int32, device="cuda"))


def test_on_a_gpu_triton_is_taken_for_blocks_and_at_low_densities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROBLEM", "")
    for block, fan_in in ((16, 26), (16, 128), (256, 3), (1, 8), (8, 8)):
        assert on_gpu(block, fan_in) == Implementation("triton", "few channels are read")
        assert on_gpu(block, fan_in, torch.bfloat16).name == "triton"
    for block, fan_in in ((1, 9), (8, 26), (16, 129)):
        assert on_gpu(block, fan_in) == Implementation("dense", "no Triton kernel: too many channels are read")
    assert on_gpu(1, 3, torch.float64).reason == "no Triton kernel: the types are torch.float64 and torch.float64"


def test_without_triton_a_gpu_takes_the_other_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "PROBLEM", "Triton is not installed")
    assert on_gpu(1, 3) == Implementation("dense", "no Triton kernel: Triton is not installed")
    assert on_gpu(16, 26).reason == "blocks share what they read; no Triton kernel: Triton is not installed"
