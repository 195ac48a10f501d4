"""Correctness and speed of the Triton kernels against plain torch, with lower bounds.

Operations: reading nodes, reading nodes into a 1x1 convolution, sums across layers, and both forms of the
    channel-sparse convolution. "forward" is without gradients, "step" is forward and backward with gradients of all
    operands. Each is compared with the definition in float64, on real shapes, and timed in interleaved rounds with the
    definition in its dtype, plain torch on the same channels-last tensors.

Lower bounds: the multiply-accumulates at the measured rate of a large matrix multiplication, or reading the operands
and writing the results once (in backward: reading operands and upstream gradients, writing gradients) at that of a
large copy.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import channel_sparse_gpu, keeping, timing
from benchmarks.convolutions import Shape
from skipweave.analysis.speed import Rates, measure_rates
from skipweave.ops import (
    channel_sparse_dense,
    concat_read,
    concat_read_fast,
    concat_read_low_memory,
    cross_layer,
    cross_layer_fast,
    read_conv,
    read_conv_fast,
    read_conv_low_memory,
)
from skipweave.ops.triton.channel_sparse_launch import channel_sparse_triton

Function = Callable[..., Tensor]
PRECISIONS = channel_sparse_gpu.PRECISIONS
WHATS = ("forward", "step")


@dataclass(frozen=True)
class Row:
    """One operation; `ratio` is plain torch's time divided by ours, `share` the lower bound divided by our time.

    `error` is the relative L2 error of the output (forward), or the worst of the gradients (step); `allowed` is its
    limit.
    """

    operation: str
    subject: str
    batch: int
    precision: str
    what: str
    error: float
    allowed: float
    right: bool
    ms: float
    torch_ms: float
    ratio: float
    macs_ms: float
    bytes_ms: float
    share: float
    repeats: int


@dataclass(frozen=True)
class Nodes:
    """Nodes of these widths at one side, and the outputs of the convolution that reads them, if any."""

    widths: tuple[int, ...]
    side: int
    outputs: int = 0

    def __str__(self) -> str:
        text = f"{len(self.widths)} nodes, {sum(self.widths)} channels at {self.side}x{self.side}"
        return f"{text} to {self.outputs}" if self.outputs else text

    def maps(self, batch: int, dtype: torch.dtype, device: torch.device) -> list[Tensor]:
        """Create the nodes."""
        shapes = [(batch, width, self.side, self.side) for width in self.widths]
        return [torch.randn(shape, device=device).to(dtype, memory_format=torch.channels_last) for shape in shapes]


PRODUCTS = (  # SparseNet-121 and DenseNet-121, growth 32; SparseNet-BC (CIFAR), growth 24; a transition
    Nodes((64, 32, 32), 56, 128),
    Nodes((128, *[32] * 4), 28, 128),
    Nodes((256, *[32] * 20), 14, 128),
    Nodes((256, *[32] * 4), 7, 128),
    Nodes((24,) * 5, 32, 96),
    Nodes((512,), 28, 256),
)
READS = (Nodes((128,), 56), Nodes((128,), 14), Nodes((48, *[16] * 8), 112), Nodes((24,) * 4, 32))
CROSSES = (Nodes((64,) * 4, 56), Nodes((256,) * 8, 28), Nodes((512,) * 16, 14))
SPARSE = (Shape(3, 256, 256, 14), Shape(1, 512, 128, 28))


@dataclass(frozen=True)
class Operation:
    """Operation with its operands: parameters, then feature maps.

    Attributes:
        name: Name of the operation.
        subject: Shapes.
        operands: Arguments; all but integers have gradients.
        ours: Our implementation, by direction ("forward" or "step").
        definition: The same function in plain torch.
        macs: Multiply-accumulates of one forward pass.
    """

    name: str
    subject: str
    operands: tuple[Tensor, ...]
    ours: dict[str, Function]
    definition: Function
    macs: int = 0


def operations(batch: int, precision: str, device: torch.device) -> Iterator[tuple[str, Callable[[], Operation]]]:
    """Functions that build the operations of one precision, by name."""
    dtype = PRECISIONS[precision][0]
    for nodes in PRODUCTS:
        yield f"read and convolve, {nodes}", partial(product_of, nodes, batch, dtype, device)
    for nodes in READS:
        yield f"read, {nodes}", partial(read_of, nodes, batch, dtype, device)
    for nodes in CROSSES:
        yield f"sum across layers, {nodes}", partial(cross_of, nodes, batch, dtype, device)
    for shape, block in product(SPARSE, (1, 16)):
        yield f"channel-sparse, {shape}, blocks of {block}", partial(sparse_of, shape, block, batch, dtype, device)


def product_of(nodes: Nodes, batch: int, dtype: torch.dtype, device: torch.device) -> Operation:
    """Read nodes into a 1x1 convolution."""
    channels = sum(nodes.widths)
    scale, bias = torch.randn(2, channels, device=device)
    weight = (torch.randn(nodes.outputs, channels, 1, 1, device=device) / channels**0.5).to(dtype)
    scale, bias = scale.to(dtype), bias.to(dtype)

    def form(function: Function) -> Function:
        return lambda scale, bias, weight, *maps: function(maps, scale, bias, weight)

    return Operation(
        "read and convolve",
        str(nodes),
        (scale, bias, weight, *nodes.maps(batch, dtype, device)),
        dict(forward=form(read_conv_fast), step=form(read_conv_low_memory)),
        form(read_conv),
        batch * nodes.side**2 * nodes.outputs * channels,
    )


def read_of(nodes: Nodes, batch: int, dtype: torch.dtype, device: torch.device) -> Operation:
    """Read nodes into a map."""
    scale, bias = torch.randn(2, sum(nodes.widths), device=device).to(dtype)

    def form(function: Function) -> Function:
        return lambda scale, bias, *maps: function(maps, scale, bias)

    return Operation(
        "read",
        str(nodes),
        (scale, bias, *nodes.maps(batch, dtype, device)),
        dict(forward=form(concat_read_fast), step=form(concat_read_low_memory)),
        form(concat_read),
    )


def cross_of(nodes: Nodes, batch: int, dtype: torch.dtype, device: torch.device) -> Operation:
    """Sum nodes across layers."""
    weight = torch.randn(len(nodes.widths), nodes.widths[0], device=device).to(dtype)

    def form(function: Function) -> Function:
        return lambda weight, bias, *maps: function(maps, weight, bias)

    return Operation(
        "sum across layers",
        str(nodes),
        (weight, weight[0].clone(), *nodes.maps(batch, dtype, device)),
        dict.fromkeys(WHATS, form(cross_layer_fast)),
        form(cross_layer),
    )


def sparse_of(shape: Shape, block: int, batch: int, dtype: torch.dtype, device: torch.device) -> Operation:
    """Convolve few channels; maps are contiguous, as these kernels require."""
    side = channel_sparse_gpu.sparse_side(shape, block, 0.1, dtype, str(device))
    x = torch.randn(batch, shape.in_channels, shape.side, shape.side, device=device, dtype=dtype)

    def form(function: Function) -> Function:
        convolve = side.function(function)
        return lambda weight, x: convolve(x, weight)

    ours = dict.fromkeys(WHATS, form(channel_sparse_triton))
    macs = batch * shape.side**2 * side.weight.numel()
    subject = f"{shape}, blocks of {block}, density 0.1"
    return Operation("channel-sparse", subject, (side.weight, x), ours, form(channel_sparse_dense), macs)


def action(function: Function, operands: Sequence[Tensor], what: str, upstream: Tensor) -> Callable[[], object]:
    """Build the function to time: the output, or the gradients of all operands."""
    leaves = [operand.detach().requires_grad_(what == "step") for operand in operands]

    def forward() -> Tensor:
        with torch.no_grad():
            return function(*leaves)

    def step() -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(*leaves), leaves, upstream)

    return forward if what == "forward" else step


def measure(
    make: Callable[[], Operation], batch: int, precision: str, repeats: int, device: torch.device
) -> Iterator[Row]:
    """Compare with the definition, and time, forward and step."""
    _, multiplied, allowed = PRECISIONS[precision]
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = multiplied
    operation, rates = make(), rates_of(precision, device)
    with torch.no_grad():
        upstream = torch.randn_like(operation.ours["forward"](*operation.operands))
    for what in WHATS:
        wrong = error(operation, what, upstream)
        ms, torch_ms = milliseconds(operation, what, upstream, repeats, device)
        macs_ms = 1000 * operation.macs * (1 if what == "forward" else 3) / rates.macs_per_second
        bytes_ms = 1000 * moved(operation.operands, upstream, what) / rates.bytes_per_second
        yield Row(
            operation=operation.name,
            subject=operation.subject,
            batch=batch,
            precision=precision,
            what=what,
            error=float(f"{wrong:.2g}"),
            allowed=allowed,
            right=wrong <= allowed,
            ms=ms,
            torch_ms=torch_ms,
            ratio=round(torch_ms / ms, 2),
            macs_ms=round(macs_ms, 4),
            bytes_ms=round(bytes_ms, 4),
            share=round(max(macs_ms, bytes_ms) / ms, 3),
            repeats=repeats,
        )


@cache
def rates_of(precision: str, device: torch.device) -> Rates:
    """Measure the rates of the GPU in a precision, once; set the float32 matmul precision before."""
    return measure_rates(PRECISIONS[precision][0], device)


def error(operation: Operation, what: str, upstream: Tensor) -> float:
    """Relative L2 error against the definition in float64: of the output, or the worst of the gradients."""
    exact_operands = [operand.double() for operand in operation.operands]
    ours = action(operation.ours[what], operation.operands, what, upstream)()
    exact = action(operation.definition, exact_operands, what, upstream.double())()
    pairs = [(ours, exact)] if isinstance(ours, Tensor) else zip(ours, exact, strict=True)  # type: ignore[call-overload]
    return max(float((one.double() - other).norm() / other.norm()) for one, other in pairs)


def moved(operands: Sequence[Tensor], out: Tensor, what: str) -> int:
    """Bytes of operands read and the result written; in a step these again, with gradients in the place of results."""
    read, made = (sum(tensor.nbytes for tensor in tensors) for tensors in (operands, [out]))
    return read + made if what == "forward" else 3 * read + 2 * made


def milliseconds(
    operation: Operation, what: str, upstream: Tensor, repeats: int, device: torch.device
) -> tuple[float, float]:
    """Time ours and the definition in interleaved rounds."""
    forms = {"ours": operation.ours[what], "torch": operation.definition}
    actions = {name: action(form, operation.operands, what, upstream) for name, form in forms.items()}
    if device.type == "cuda":
        times = channel_sparse_gpu.in_turns(actions, repeats)
        return times["ours"], times["torch"]
    spent = timing.in_turns(actions, repeats)
    return spent["ours"].wall, spent["torch"].wall


def tell(row: Row) -> str:
    """Format a row."""
    verdict = "right" if row.right else "WRONG"
    return (
        f"{row.operation}, {row.subject}, {row.precision}, {row.what}: {verdict}, error {row.error:.1e}; "
        f"{row.ms:.3f} ms to torch's {row.torch_ms:.3f} ms, {row.ratio} times as fast, "
        f"{row.share:.0%} of the lower bound"
    )


def main() -> None:
    """Run the measurements within the time limit, print them, and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu_kernels", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--minutes", type=float, default=3, help="start no operation after this time")
    parser.add_argument("--output", type=Path, default=timing.RESULTS / "gpu_kernels.csv")
    given = parser.parse_args()
    device = timing.gpu()
    cases = (
        (f"{name}, {precision}", partial(printed, make, given.batch, precision, given.repeats, device))
        for precision in ("bfloat16", "TF32", "float32")
        for name, make in operations(given.batch, precision, device)
    )
    rows, failed = keeping.run(cases, given.minutes, given.output, device)
    wrong = [f"{row.subject}, {row.precision}, {row.what}: error {row.error}" for row in rows if not row.right]
    keeping.end(given.output, failed + wrong)


def printed(*what_is_measured: Any) -> Iterator[Row]:
    """Print rows as they come."""
    return timing.printed(measure(*what_is_measured), tell)


if __name__ == "__main__":
    main()
