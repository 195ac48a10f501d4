"""Edge cases of the channel-sparse convolution: extreme shapes, strides, data types, memory, threads."""

import ctypes
import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from skipweave.layers import ChannelSparseConv2d
from skipweave.ops import (
    channel_sparse_conv2d,
    channel_sparse_dense,
    channel_sparse_shared,
    concat_read,
    concat_read_low_memory,
    cross_layer,
    cross_layer_fast,
    implementation_for,
)
from skipweave.ops.cpu import c_library, channel_sparse_calls, node_reading
from skipweave.ops.cpu.channel_sparse_conv import channel_sparse_library
from skipweave.ops.eager_execution import is_plain
from skipweave.ops.triton.channel_sparse_launch import channel_sparse_triton
from tests.errors import assert_reports
from tests.ops.shapes import LAYOUTS, Case, assert_exact, unaligned

IMPLEMENTATIONS = [
    channel_sparse_conv2d,
    channel_sparse_dense,
    channel_sparse_shared,
    channel_sparse_library,
    channel_sparse_triton,
]
EDGES = {
    "more than 64 rows and 256 columns": Case(1, 2, 2, 70, 270, (3, 3), dilation=(33, 130)),
    "dilation 36": Case(1, 3, 4, 65, 65, (3, 3), padding=(36, 36), dilation=(36, 36), fan_in=2, rows=2),
    "dilation 36 and stride 2": Case(2, 3, 4, 40, 40, (3, 3), (2, 2), (36, 36), (36, 36), fan_in=2, rows=2),
    "70 rows": Case(3, 3, 2, 80, 20, (70, 1), padding=(35, 0), fan_in=2, rows=2),
    "300 columns": Case(3, 3, 2, 5, 290, (1, 300), (1, 2), padding=(0, 150), fan_in=2, rows=2),
    "a map much higher than wide": Case(1, 1, 2, 3000, 1, (3, 1), padding=(1, 0), rows=2),
    "a map much wider than high": Case(1, 1, 2, 1, 3000, (1, 3), padding=(0, 1), rows=2),
    "a kernel larger than the map": Case(2, 3, 4, 2, 3, (7, 5), padding=(3, 2), fan_in=2, rows=4),
    "padding larger than the kernel": Case(2, 3, 4, 4, 5, (3, 2), (2, 1), padding=(9, 4), fan_in=2, rows=4),
    "padding around single pixels": Case(2, 3, 4, 5, 5, (1, 1), (2, 2), padding=(3, 20), fan_in=2, rows=4),
    "outputs that see padding alone": Case(1, 2, 2, 1, 1, (2, 2), padding=(40, 40), dilation=(9, 9), fan_in=2, rows=1),
    "one pixel": Case(1, 1, 1, 1, 1, (1, 1)),
    "most inputs unread": Case(2, 60, 4, 6, 6, (3, 3), padding=(1, 1), fan_in=1, rows=2),
    "three threads and one task": Case(1, 4, 2, 3, 3, (3, 3), padding=(1, 1), fan_in=2, rows=2, threads=3),
}


def operands(channels: int = 16, size: tuple[int, int] = (6, 5), kernel: int = 3, batch: int = 2) -> list[Tensor]:
    """Input, weights, index and bias of a layer that the library takes."""
    torch.manual_seed(0)
    index = torch.rand(channels, channels).argsort(1)[:, :2].sort(1).values.int()
    return [
        torch.randn(batch, channels, *size),
        torch.randn(channels, 2, kernel, kernel),
        index,
        torch.randn(channels),
    ]


@pytest.mark.parametrize("edge", EDGES)
def test_exact(instruction_set: str, edge: str) -> None:
    assert_exact(EDGES[edge])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_exact_for_inputs_of_any_strides(instruction_set: str, layout: str, kernel: int) -> None:
    assert_exact(Case(3, 6, 4, 9, 7, (kernel, kernel), fan_in=3, rows=4, layout=layout))


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "every other row"])
def test_weight_bias_and_gradient_may_have_any_strides(layout: str) -> None:
    x, weight, index, bias = operands()
    weight, bias = LAYOUTS[layout](weight), LAYOUTS[layout](bias.view(1, 16, 1, 1)).view(-1)
    upstream = LAYOUTS[layout](torch.randn(2, 16, 4, 3))
    results = []
    for function in (channel_sparse_library, channel_sparse_dense):
        leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
        out = function(leaves[0], leaves[1], index, leaves[2])
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dilation", [4, 12, 31, 36, 2**20])
def test_large_dilations(dilation: int) -> None:
    """DeepLab's dilations, for which the C library would be slow."""
    torch.manual_seed(0)
    layer = ChannelSparseConv2d(16, 16, 3, padding=dilation, dilation=dilation, density=0.2, seed=0)
    x = torch.randn(1, 16, 33, 20)
    torch.testing.assert_close(layer(x), layer.to_dense()(x), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("compiled_library")
def test_unsupported_shapes_use_another_implementation() -> None:
    x, weight, index, _ = operands(channels=64, size=(40, 40))
    assert implementation_for(x, weight, index).name == "library"
    for options, reason in {
        ((3, 1), (0, 0), (1, 1)): ("stride", (3, 1)),
        ((1, 1), (0, 0), (17, 17)): ("dilation", (17, 17)),
        ((1, 1), (0, 0), (20, 1)): ("kernel",),
        ((1, 1), (0, -1), (1, 1)): ("padding", (0, -1)),
    }.items():
        assert_reports(implementation_for(x, weight, index, *options).reason, *reason)
        with pytest.raises(RuntimeError):
            channel_sparse_library(x, weight, index, None, *options)
    assert implementation_for(x[:0], weight, index).name == "dense"
    assert implementation_for(x, weight[:, :0], index[:, :0]).name == "dense"
    assert implementation_for(x, weight, index[:, :1]).name == "dense"


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    [
        ((2, 40), (3, 3), (1, 1), (1, 1)),
        ((40, 2), (3, 3), (2, 2), (1, 1)),
        ((4, 4), (3, 3), (1, 1), (2, 2)),
        ((0, 4), (1, 1), (1, 1), (1, 1)),
    ],
)
def test_empty_outputs_raise_as_in_torch(implementation: Callable[..., Tensor], size, kernel, stride, dilation):
    """In every implementation, before a kernel is launched."""
    for batch, rows in itertools.product((0, 1), (16, 2)):
        x, weight, index = torch.zeros(batch, 16, *size), torch.zeros(16, 2, *kernel), torch.zeros(rows, 2).int()
        with pytest.raises(RuntimeError):
            F.conv2d(x, torch.zeros(16, 16, *kernel), None, stride, 0, dilation)
        with pytest.raises(RuntimeError):
            implementation(x, weight, index, None, stride, (0, 0), dilation)


@pytest.mark.parametrize("name", ["channel_sparse", "channel_sparse_triton"])
@pytest.mark.parametrize("size", [(0, 0), (1, 1), (3, 4), (5, 4)])
def test_gradients_of_another_shape_raise(name: str, size: tuple[int, int]) -> None:
    x, weight, index, _ = operands()  # an output of (4, 3) pixels
    for map_, named in ((x, "gradient"), (x[:, :, :2], "kernel")):
        gradient, options = torch.zeros(2, 16, *size), ([1, 1], [0, 0], [1, 1])
        with pytest.raises(RuntimeError):
            getattr(torch.ops.skipweave, f"{name}_input_gradient")(gradient, list(map_.shape), weight, index, *options)
        with pytest.raises(RuntimeError, match=named):
            getattr(torch.ops.skipweave, f"{name}_weight_gradient")(gradient, map_, list(weight.shape), index, *options)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("rows", [16, 2])
@pytest.mark.parametrize(("batch", "fan_in"), [(0, 2), (2, 0)])
def test_empty_batch_and_fan_in_zero(batch: int, fan_in: int, rows: int, kernel: int) -> None:
    results = []
    for function in (channel_sparse_conv2d, channel_sparse_dense):
        x, weight, index, bias = operands(kernel=kernel, batch=batch)
        x, weight, bias = (tensor.requires_grad_() for tensor in (x, weight[:, :fan_in].clone(), bias))
        out = function(x, weight, index[:rows, :fan_in], bias)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, weight, bias])])
    assert results[0][0].shape == (batch, 16, 7 - kernel, 6 - kernel)
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_data_types_use_torch(dtype: torch.dtype) -> None:
    x, weight, index, bias = operands()
    ours = channel_sparse_conv2d(x.to(dtype), weight.to(dtype), index, bias.to(dtype))
    assert ours.dtype == dtype
    assert torch.equal(ours, channel_sparse_dense(x.to(dtype), weight.to(dtype), index, bias.to(dtype)))


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("wrong", range(4))
def test_library_raises_for_other_data_types(wrong: int) -> None:
    given = operands()
    given[wrong] = given[wrong].double()
    with pytest.raises(RuntimeError, match=r"torch\.float64"):
        channel_sparse_library(*given)


@pytest.mark.parametrize("bias", [torch.zeros(8), torch.zeros(17), torch.zeros(16, 1), torch.zeros(16).double()])
def test_bias_of_another_shape_raises(bias: Tensor) -> None:
    x, weight, index, _ = operands()
    with pytest.raises(RuntimeError):
        channel_sparse_conv2d(x, weight, index, bias)


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize("differentiable", list(itertools.product((False, True), repeat=3)))
def test_any_operand_may_require_gradients(differentiable: tuple[bool, bool, bool]) -> None:
    x, weight, index, bias = operands()
    results = []
    for function in (channel_sparse_conv2d, channel_sparse_dense):
        leaves = [
            tensor.detach().requires_grad_(needed)
            for tensor, needed in zip((x, weight, bias), differentiable, strict=True)
        ]
        out = function(leaves[0], leaves[1], index, leaves[2])
        assert out.requires_grad == any(differentiable)
        if any(differentiable):
            out.square().sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    assert [gradient is not None for gradient in results[0][1:]] == list(differentiable)
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4)


def short_of_memory() -> None:
    """Convolve a map whose packed form no address space holds: 2**24 channels times a kernel of 2**20 taps."""
    x, weight = torch.zeros(1, 2**24, 1, 1), torch.zeros(1, 1, 2**9, 2**11)
    channel_sparse_calls.forward(x, weight, torch.zeros(1, 1).int(), None, (1, 1), (2**8, 2**10), (1, 1))


@pytest.mark.usefixtures("compiled_library")
def test_failed_allocation_raises() -> None:
    with pytest.raises(MemoryError):
        short_of_memory()


def resident() -> float:
    """Memory of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what memory is used")
def test_threads_free_their_memory() -> None:
    """2 MiB for each thread, if each kept its scratch memory."""
    x, weight, index, bias = operands(channels=64, size=(56, 56))

    def run() -> None:
        with torch.inference_mode():
            channel_sparse_library(x, weight, index, bias)

    for count in (20, 200):
        before = resident()
        for _ in range(count):
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
    assert resident() - before < 40


@pytest.mark.usefixtures("compiled_library")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library's allocator does not count")
@pytest.mark.parametrize("kernel", [1, 3])
def test_calls_free_their_memory(kernel: int) -> None:
    x, weight, index, bias = operands(channels=64, size=(30, 30), kernel=kernel)
    nodes = [x.to(memory_format=torch.channels_last)] * 2

    class Allocated(ctypes.Structure):  # glibc's `struct mallinfo2`
        _fields_ = tuple((name, ctypes.c_size_t) for name in (*"abcd", "mapped", *"ef", "in_use", *"gh"))

    count = ctypes.CDLL(None).mallinfo2
    count.restype = Allocated

    def calls(times: int) -> int:
        for _ in range(times):
            leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
            channel_sparse_library(leaves[0], leaves[1], index, leaves[2]).sum().backward()
            scale = torch.ones(128, requires_grad=True)
            concat_read_low_memory(nodes, scale, scale).sum().backward()
            cross_layer_fast(nodes, scale.view(2, 64), scale[:64]).sum().backward()
        allocated = count()
        return allocated.in_use + allocated.mapped

    before = calls(5)
    assert calls(50) - before < 2**20  # a megabyte of scratch memory a call


@pytest.mark.parametrize(
    ("ours", "definition"), [(concat_read_low_memory, concat_read), (cross_layer_fast, cross_layer)]
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nodes_may_have_any_strides(ours, definition, layout: str) -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 3)
    nodes = [LAYOUTS[layout](torch.randn(4, 3, 6, 5)) for _ in weight]
    if definition is concat_read:
        weight = weight.flatten()
    bias, upstream = torch.randn(weight.shape[-1:]), None
    results = []
    for function in (ours, definition):
        leaves = [tensor.detach().requires_grad_() for tensor in (weight, bias, *nodes)]
        out = function(leaves[2:], *leaves[:2])
        upstream = LAYOUTS[layout](torch.randn_like(out)) if upstream is None else upstream
        results.append([out, *torch.autograd.grad(out, leaves, upstream)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_negated_and_unaligned_tensors_are_not_read_directly() -> None:
    scale, bias, node = torch.ones(3), torch.zeros(3), torch.randn(2, 3, 4, 4)
    assert not is_plain(torch._neg_view(node))
    assert node_reading.layout([unaligned(node)], scale, bias) is None
    if not c_library.library().problem:
        assert node_reading.layout([node], scale, bias) == torch.contiguous_format


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_library")
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2)])
def test_maps_of_more_than_2_31_elements(kernel: int, stride: int) -> None:
    """8 GiB of zeros, which take no memory until they are written; the channel that is read lies at the end of them."""
    side, channels = 2**12, 129
    x = torch.zeros(1, channels, side, side)
    assert x.numel() > 2**31
    x[0, -1, -64:] = torch.randn(64, side)
    weight, index = torch.randn(1, 1, kernel, kernel), torch.tensor([[channels - 1]]).int()
    options = ((stride, stride), (0, 0), (1, 1))
    out = channel_sparse_calls.forward(x, weight, index, None, *options)
    gradient = channel_sparse_calls.weight_gradient(out, x, weight.shape, index, *options)
    rows = 80 // stride  # of the output; before them all is zero
    read = x[:, -1:, stride * (out.shape[2] - rows) :].double()
    exact = F.conv2d(read, weight.double(), stride=stride)
    assert not out[:, :, :-rows].any()
    torch.testing.assert_close(out[:, :, -rows:].double(), exact, rtol=1e-5, atol=1e-5)
    exact = torch.nn.grad.conv2d_weight(read, weight.shape, exact, stride)
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=1e-2)
