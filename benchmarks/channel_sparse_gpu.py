"""Correctness and speedup of the Triton kernels of the channel-sparse convolution.

For each shape, precision and direction a dense convolution, contiguous and channels-last, is timed in interleaved
rounds with our kernels at all blocks and densities, and for blocks also with their form in plain torch. Our inputs and
outputs are contiguous. "forward" is without gradients, "step" is forward and backward with gradients of weights and
input. A time is measured between two events on the GPU, `CALLS` calls apart.

First, the output and gradients of every kernel are compared with the definition in float64, on a few images.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import keeping
from benchmarks.convolutions import SHAPES, Shape, mean_ratios
from benchmarks.timing import RESULTS, WARM_UP, gpu, printed
from skipweave.ops import channel_sparse_dense, channel_sparse_shared, implementation_for
from skipweave.ops.triton.channel_sparse_launch import channel_sparse_triton
from skipweave.topology import channel_patterns

Action = Callable[[], object]
Function = Callable[[Tensor, Tensor], Tensor]
PRECISIONS = {  # dtype, float32 matmul precision, allowed relative error
    "TF32": (torch.float32, "tf32", 2e-3),
    "bfloat16": (torch.bfloat16, "ieee", 1e-2),
    "float32": (torch.float32, "ieee", 1e-5),
}
BLOCKS = (1, 16, 64)  # outputs with the same inputs
DENSITIES = (0.1, 0.03, 0.01)
CALLS = 5
FEW = 4  # images for the measurement of errors


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is the best dense time divided by ours, `form` the choice of `implementation_for`.

    `unread` counts the inputs that no block reads: if there are many, the dense side could be narrower as well.
    `shared_ms` is the time of blocks in plain torch. `error` is the relative L2 error of the output (forward), or the
    worst of the gradients (step).
    """

    subject: str
    block: int
    density: float
    fan_in: int
    unread: int
    batch: int
    precision: str
    what: str
    form: str
    error: float
    ms: float
    shared_ms: float | None
    dense_ms: float
    dense_channels_last_ms: float
    ratio: float
    repeats: int


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a convolution of a shape with weights, and with an index unless it is dense."""

    shape: Shape
    weight: Tensor
    index: Tensor | None = None
    block: int = 0
    density: float = 1

    def function(self, form: Callable[..., Tensor]) -> Function:
        """Make the function of maps and weights."""
        padding = (self.shape.kernel // 2,) * 2
        return lambda x, weight: form(x, weight, self.index, None, (1, 1), padding, (1, 1))

    def dense(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve by torch."""
        return F.conv2d(x, weight, padding=self.shape.kernel // 2)


def sparse_side(shape: Shape, block: int, density: float, dtype: torch.dtype, device: str) -> Side:
    """Build our side; large blocks may leave inputs unread, for which a layer raises."""
    fan_in = channel_patterns.fan_in_of(density, shape.in_channels)
    drawn = channel_patterns.exact(shape.in_channels, shape.out_channels // block, fan_in, seed=0)
    weight = torch.randn(shape.out_channels, fan_in, shape.kernel, shape.kernel, device=device, dtype=dtype)
    return Side(shape, weight, torch.tensor(drawn.sources, device=device), block, density)


def gradient_of(shape: Shape, x: Tensor) -> Tensor:
    """Make a gradient of the output."""
    return torch.randn(len(x), shape.out_channels, shape.side, shape.side, device=x.device, dtype=x.dtype)


def forward(function: Function, x: Tensor, weight: Tensor, gradient: Tensor) -> Action:
    """Build the function that is timed as "forward"."""

    def action() -> Tensor:
        with torch.no_grad():
            return function(x, weight)

    return action


def step(function: Function, x: Tensor, weight: Tensor, gradient: Tensor) -> Action:
    """Build the function that is timed as "step"."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    return lambda: torch.autograd.grad(function(x, weight), (x, weight), gradient)


DIRECTIONS = {"forward": forward, "step": step}


def error(side: Side, x: Tensor, what: str) -> float:
    """Relative L2 error against the definition in float64: of the output, or the worst of the gradients."""
    make, gradient = DIRECTIONS[what], gradient_of(side.shape, x)
    ours = make(side.function(channel_sparse_triton), x, side.weight, gradient)()
    exact = make(side.function(channel_sparse_dense), x.double(), side.weight.double(), gradient.double())()
    pairs = [(ours, exact)] if isinstance(ours, Tensor) else zip(ours, exact, strict=True)
    return max(float((one.double() - other).norm() / other.norm()) for one, other in pairs)


def in_turns(actions: Mapping[str, Action], repeats: int) -> dict[str, float]:
    """Time `CALLS` calls of each action, then of each again, and so on; return the median milliseconds of a call."""
    rounds: dict[str, list[float]] = {name: [] for name in actions}
    for done in range(-WARM_UP, repeats):
        for name, action in actions.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(CALLS):
                action()
            end.record()
            end.synchronize()
            if done >= 0:
                rounds[name].append(start.elapsed_time(end) / CALLS)
    return {name: round(median(times), 4) for name, times in rounds.items()}


def actions(x: Tensor, dense: Side, sparse: Iterable[Side], what: str) -> dict[str, Action]:
    """Build the functions to time, by name."""
    make, gradient = DIRECTIONS[what], gradient_of(dense.shape, x)
    last = [tensor.to(memory_format=torch.channels_last) for tensor in (x, dense.weight, gradient)]
    made = {
        "dense": make(dense.dense, x, dense.weight, gradient),
        "dense channels last": make(dense.dense, *last),
    }
    for side in sparse:
        forms = {"ours": channel_sparse_triton} | ({"shared": channel_sparse_shared} if side.block > 1 else {})
        for name, form in forms.items():
            made[f"{name} {side.block} {side.density}"] = make(side.function(form), x, side.weight, gradient)
    return made


def compare(shape: Shape, precision: str, batch: int, repeats: int) -> Iterator[Row]:
    """Measure the errors, and time our kernels and the dense convolution, forward and step."""
    dtype, multiplied, _ = PRECISIONS[precision]
    torch.backends.cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = multiplied
    x = torch.randn(batch, shape.in_channels, shape.side, shape.side, device="cuda", dtype=dtype)
    full = torch.randn(shape.out_channels, shape.in_channels, shape.kernel, shape.kernel, device="cuda", dtype=dtype)
    sparse = [sparse_side(shape, *case, dtype, "cuda") for case in product(BLOCKS, DENSITIES)]
    for what in DIRECTIONS:
        errors = [error(side, x[:FEW], what) for side in sparse]
        times = in_turns(actions(x, Side(shape, full), sparse, what), repeats)
        dense, last = times["dense"], times["dense channels last"]
        for side, wrong in zip(sparse, errors, strict=True):
            ours = times[f"ours {side.block} {side.density}"]
            yield Row(
                subject=str(shape),
                block=side.block,
                density=side.density,
                fan_in=side.weight.shape[1],
                unread=shape.in_channels - len(side.index.unique()),
                batch=batch,
                precision=precision,
                what=what,
                form=implementation_for(x, side.weight, side.index).name,
                error=float(f"{wrong:.2g}"),
                ms=ours,
                shared_ms=times.get(f"shared {side.block} {side.density}"),
                dense_ms=dense,
                dense_channels_last_ms=last,
                ratio=round(min(dense, last) / ours, 2),
                repeats=repeats,
            )


def tell(row: Row) -> str:
    """Format a comparison."""
    dense = min(row.dense_ms, row.dense_channels_last_ms)
    return (
        f"{row.subject}, {case(row)}: {row.ms:.3f} ms to {dense:.3f} ms, {row.ratio} times as fast, "
        f"error {row.error:.1e}"
    )


def case(row: Row) -> str:
    """Format the case of a comparison, without the shape."""
    return f"{row.precision}, {row.what}, blocks of {row.block}, density {row.density}"


def main() -> None:
    """Run the comparisons within the time limit, print them and their means, and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.channel_sparse_gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--minutes", type=float, default=7, help="start no comparison after this time")
    parser.add_argument("--output", type=Path, default=RESULTS / "gpu_channel_sparse.csv")
    given = parser.parse_args()
    device = gpu()
    cases = (
        (f"{shape}, {precision}", partial(printed, compare(shape, precision, given.batch, given.repeats), tell))
        for precision, shape in product(PRECISIONS, SHAPES)
    )
    rows, failed = keeping.run(cases, given.minutes, given.output, device)
    print(*mean_ratios(rows, case), sep="\n")
    wrong = [
        f"{row.subject}, {case(row)}: error {row.error}"
        for row in rows
        if not row.error <= PRECISIONS[row.precision][2]
    ]
    keeping.end(given.output, failed + wrong)


if __name__ == "__main__":
    main()
