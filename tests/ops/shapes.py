"""Shapes of convolutions, and errors of the C library against the definition in float64."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import torch
from hypothesis import strategies as st
from torch import Tensor

from skipweave.ops import channel_sparse_dense
from skipweave.ops.cpu.channel_sparse_conv import channel_sparse_library

#: Memory layouts of the input.
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels-last": lambda x: x.to(memory_format=torch.channels_last),
    "every other row": lambda x: x.repeat_interleave(2, dim=2)[:, :, ::2],
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "expanded": lambda x: x[:1, :, :1].expand_as(x),
    "negated": lambda x: torch.complex(x, -x).conj().imag,  # a lazily negated view
    "unaligned": lambda x: unaligned(x),
}


def unaligned(tensor: Tensor) -> Tensor:
    """Copy a float32 tensor to memory that is not aligned to four bytes."""
    memory = torch.empty(tensor.numel() * 4 + 1, dtype=torch.uint8)
    copy = torch.frombuffer(memory.numpy(), dtype=torch.float32, offset=1, count=tensor.numel()).view(tensor.shape)
    assert copy.data_ptr() % 4
    return copy.copy_(tensor)


@dataclass(frozen=True)
class Case:
    batch: int
    inputs: int
    outputs: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    fan_in: int = 1
    rows: int = 1
    layout: str = "contiguous"
    threads: int = 1

    def operands(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Input, weights, index and bias."""
        torch.manual_seed(0)
        index = torch.rand(self.rows, self.inputs).argsort(1)[:, : self.fan_in].sort(1).values.int()
        weight = torch.randn(self.outputs, self.fan_in, *self.kernel)
        x = LAYOUTS[self.layout](torch.rand(self.batch, self.inputs, self.height, self.width))
        return x, weight, index, torch.randn(self.outputs)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any shapes, some with kernels, dilations or paddings larger than the map."""
    kernel = draw(
        st.sampled_from([(1, 1), (3, 3), (5, 5), (1, 7), (7, 1), (2, 4)])
        | st.tuples(st.integers(1, 4), st.integers(1, 4))
        | st.sampled_from([(70, 1), (1, 300), (17, 33)])
    )
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    few, many = st.integers(1, 2), st.integers(1, 40)
    dilation = draw(pair | st.tuples(few, many) | st.tuples(many, few)) if math.prod(kernel) <= 49 else (1, 1)
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)) | st.tuples(st.integers(0, 40), st.integers(0, 40)))
    spans = [apart * (size - 1) + 1 for apart, size in zip(dilation, kernel, strict=True)]
    least = [max(1, span - 2 * zeros) for span, zeros in zip(spans, padding, strict=True)]
    rows, inputs = draw(st.integers(1, 6)), draw(st.integers(1, 9))
    return Case(
        batch=draw(st.integers(1, 18)),
        inputs=inputs,
        outputs=rows * draw(st.integers(1, 3)),
        height=draw(st.integers(least[0], least[0] + 9)),
        width=draw(st.integers(least[1], least[1] + 9)),
        kernel=kernel,
        stride=draw(pair),
        padding=padding,
        dilation=dilation,
        fan_in=draw(st.integers(1, inputs)),
        rows=rows,
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        threads=draw(st.integers(1, 3)),
    )


def error(ours: Tensor, exact: Tensor) -> float:
    """Relative L2 error."""
    return float((ours.double() - exact).detach().norm() / exact.detach().norm().clamp_min(1e-12))


def errors(case: Case) -> tuple[float, float, float, float]:
    """Errors of output and gradients against the definition in float64."""
    x, weight, index, bias = case.operands()
    upstream, results = None, []
    for function, dtype in ((channel_sparse_library, torch.float32), (channel_sparse_dense, torch.float64)):
        operands = [tensor.detach().to(dtype).requires_grad_() for tensor in (x, weight, bias)]
        out = function(operands[0], operands[1], index, operands[2], case.stride, case.padding, case.dilation)
        upstream = torch.rand_like(out) if upstream is None else upstream
        results.append((out, *torch.autograd.grad(out, operands, upstream.to(dtype))))
    return tuple(error(ours, exact) for ours, exact in zip(*results, strict=True))


def assert_exact(case: Case) -> None:
    """Compare, using the C library even where another implementation would be faster."""
    torch.set_num_threads(case.threads)
    with (
        patch("skipweave.ops.cpu.channel_sparse_conv.break_even", return_value=math.inf),
        patch("skipweave.ops.cpu.channel_sparse_calls._PIXELS", math.inf),
    ):
        out, *gradients = errors(case)
    rounding = 1 if math.prod(case.kernel) <= 49 else 10  # of sums of so many more products
    assert out <= 1e-6 * rounding, (case, out)
    assert max(gradients) <= 3e-6 * rounding, (case, gradients)
