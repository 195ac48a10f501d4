"""Triton kernels against the definition in float64, on a GPU or with Triton's interpreter."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor

from skipweave.ops import channel_sparse_dense
from skipweave.ops.triton.channel_sparse_launch import channel_sparse_triton

Pair = tuple[int, int]
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
pytestmark = [
    pytest.mark.usefixtures("device"),
    pytest.mark.filterwarnings("ignore:Conversion of an array with ndim > 0:DeprecationWarning"),
]


@dataclass(frozen=True)
class Case:
    inputs: int
    outputs: int
    rows: int
    fan_in: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (1, 1)
    dilation: Pair = (1, 1)
    shape: tuple[int, int, int] = (2, 9, 8)  # images, height, width

    def operands(self, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        torch.manual_seed(0)
        index = torch.rand(self.rows, self.inputs).argsort(1)[:, : self.fan_in].sort(1).values.int()
        x = torch.randn(self.shape[0], self.inputs, *self.shape[1:])
        weight = torch.randn(self.outputs, self.fan_in, *self.kernel)
        x, weight, bias = (tensor.to(DEVICE, dtype) for tensor in (x, weight, torch.randn(self.outputs)))
        return x, weight, index.to(DEVICE), bias


OUTPUTS = Case(7, 4, 2, 2, (1, 1), padding=(0, 0))  # blocks of less than 16 outputs: sums
BLOCKS = Case(40, 70, 1, 37, (1, 1), padding=(0, 0))  # products of matrices, with more than one tile of each kind
CASES = [
    OUTPUTS,
    BLOCKS,
    Case(5, 4, 2, 3, stride=(2, 2), shape=(3, 7, 8)),
    Case(3, 2, 2, 1, (1, 7), padding=(0, 3), shape=(2, 12, 13)),  # more pixels than a tile
    Case(3, 2, 2, 1, (5, 5), (2, 1), (4, 2), (2, 1)),
    Case(9, 34, 2, 3, (2, 3), (2, 1), (1, 1), (1, 2)),
]
SLOW_CASES = [
    Case(20, 48, 3, 18, stride=(2, 2), shape=(3, 7, 8)),
    Case(3, 17, 1, 2, (1, 7), padding=(0, 3), shape=(2, 12, 13)),
    Case(3, 17, 1, 2, (5, 5), (2, 1), (4, 2), (2, 1)),
]


def errors(case: Case, dtype: torch.dtype = torch.float32) -> list[float]:
    """Relative L2 errors of the output and of the gradients of input, weights and bias."""
    x, weight, index, bias = case.operands(dtype)
    upstream, results = None, []
    for function, working in ((channel_sparse_triton, dtype), (channel_sparse_dense, torch.float64)):
        operands = [tensor.to(working).requires_grad_() for tensor in (x, weight, bias)]
        out = function(operands[0], operands[1], index, operands[2], case.stride, case.padding, case.dilation)
        upstream = torch.rand_like(out) if upstream is None else upstream
        results.append((out, *torch.autograd.grad(out, operands, upstream.to(working))))
    assert {tensor.dtype for tensor in results[0]} == {dtype}
    return [
        float((ours.double() - exact).detach().norm() / exact.detach().norm())
        for ours, exact in zip(*results, strict=True)
    ]


@pytest.mark.parametrize("case", CASES + [pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES])
def test_equals_the_definition(case: Case) -> None:
    assert max(errors(case)) <= 1e-6


# The interpreter multiplies matrices of bfloat16 as integers.
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16] if GPU else [torch.float16])
def test_blocks_can_be_of_half_precision(dtype: torch.dtype) -> None:
    assert max(errors(BLOCKS, dtype)) <= (1e-3 if dtype == torch.float16 else 8e-3)


def test_outputs_can_be_of_half_precision() -> None:
    assert max(errors(OUTPUTS, torch.bfloat16)) <= 8e-3


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize(("kernel", "padding"), [((1, 1), (0, 0)), ((2, 3), (1, 0)), ((3, 3), (2, 1))])
def test_equals_the_definition_for_strides_and_dilations(rows: int, kernel: Pair, padding: Pair) -> None:
    for stride, dilation in product([(1, 1), (2, 3)], [(1, 1), (1, 2)]):
        case = Case(9, 32, rows, 2, kernel, stride, padding, dilation, shape=(5, 7, 11))
        assert max(errors(case)) <= 1e-6, case


@pytest.mark.parametrize("case", [OUTPUTS, BLOCKS], ids=["outputs", "blocks"])
def test_strides_do_not_change_results(case: Case) -> None:
    x, weight, index, bias = case.operands()
    expected = channel_sparse_triton(x, weight, index, bias)
    loose = weight.repeat_interleave(2, dim=1)[:, ::2], index.T.contiguous().T, bias.repeat_interleave(2)[::2]
    ours = channel_sparse_triton(x.to(memory_format=torch.channels_last), *loose)
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_registered_operators() -> None:
    x, weight, index, bias = OUTPUTS.operands()
    gradient, options = torch.rand(2, 4, 9, 8, device=DEVICE), ([1, 1], [0, 0], [1, 1])
    for name, operands in {
        "channel_sparse_triton": (x, weight, index, bias, *options),
        "channel_sparse_triton_input_gradient": (gradient, list(x.shape), weight, index, *options),
        "channel_sparse_triton_weight_gradient": (gradient, x, list(weight.shape), index, *options),
    }.items():
        operator = getattr(torch.ops.skipweave, name).default
        torch.library.opcheck(operator, operands, test_utils=("test_schema", "test_faketensor"))
    compiled = torch.compile(channel_sparse_triton, backend="aot_eager", fullgraph=True)
    results = []
    for function in (channel_sparse_triton, compiled):
        operands = [tensor.clone().requires_grad_() for tensor in (x, weight, bias)]
        out = function(operands[0], operands[1], index, operands[2])
        results.append((out, *torch.autograd.grad(out.square().sum(), operands)))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)


def test_gradients_are_computed_only_where_needed() -> None:
    x, weight, index, bias = OUTPUTS.operands()
    channel_sparse_triton(x, weight.requires_grad_(), index, bias).sum().backward()
    assert [tensor.grad is not None for tensor in (x, weight, bias)] == [False, True, False]


def test_autocast_determines_the_data_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")  # autocast itself needs a GPU
    x, weight, index, bias = OUTPUTS.operands()
    out = channel_sparse_triton(x, weight.requires_grad_(), index, bias)
    assert out.dtype == torch.get_autocast_dtype("cuda") == torch.float16
    out.sum().backward()
    assert weight.grad.dtype == torch.float32


COMPILE = """
from skipweave.ops.triton.channel_sparse_launch import channel_sparse_triton

for dtype, block in ((torch.float32, 1), (torch.float32, 16), (torch.bfloat16, 64)):
    x, weight = torch.ones(2, 64, 9, 9, dtype=dtype), torch.ones(64, 26, 3, 3, dtype=dtype)
    index = torch.arange(26, dtype=torch.int32).expand(64 // block, 26)
    out = channel_sparse_triton(x.requires_grad_(), weight.requires_grad_(), index, weight[:, 0, 0, 0], (2, 2), (1, 1))
    out.sum().backward()
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 120])
def test_kernels_compile_for_gpus(capability: int, compile_for: Callable[[int, str], list[str]]) -> None:
    blocks = ["block_products", "block_products", "output_sums", "block_weight_products"]
    compiled = compile_for(capability, COMPILE)
    assert compiled == ["output_sums", "output_sums", "link_weight_sums", *blocks, *blocks]
