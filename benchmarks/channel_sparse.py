"""Speedup of channel-sparse convolutions, and of networks of them, over dense ones.

`operations` times single layers; the name of a network times it with all convolutions but the first sparse. Inputs and
outputs are float32, and packing is included in our time. The dense side is timed in both memory formats; the faster one
counts. "forward" is evaluation mode without gradients, with networks optimized by `optimize_for_inference`. "step" is
forward and backward in training mode with gradients of weights and, for single layers, of the input, without an
optimizer. A round takes 10 ms or more: shorter functions are repeated, with inputs in the caches.

Run it with `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000`: otherwise large outputs are mapped in every call,
and both sides wait for cleared pages.
"""

import argparse
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.convolutions import SHAPES, Shape, mean_ratios
from benchmarks.timing import RESULTS, in_turns, printed, write
from skipweave import create_model, optimize_for_inference
from skipweave.layers import ChannelSparseConv2d
from skipweave.ops import implementation_for
from skipweave.ops.cpu import c_library
from skipweave.transforms import sparsify
from skipweave.transforms.memory_format import FORMATS

Action = Callable[[], object]


TURN = 0.01  # seconds at least
NETWORKS = {"vgg16n": 224, "inception_v3": 299}


@dataclass(frozen=True)
class Row:
    """One comparison.

    `ratio` is the faster dense time divided by ours; `form` is our implementation (for networks the instruction set).
    """

    subject: str
    pattern: str
    density: float
    fan_in: int
    batch: int
    what: str
    form: str
    cpu_ms: float
    dense_cpu_ms: float
    dense_channels_last_cpu_ms: float
    ratio: float
    repeats: int


def sparse_layer(shape: Shape, pattern: str, density: float) -> ChannelSparseConv2d:
    """Build our layer of a shape."""
    return ChannelSparseConv2d(
        shape.in_channels,
        shape.out_channels,
        shape.kernel,
        padding=shape.kernel // 2,
        bias=False,
        density=density,
        pattern=pattern,  # type: ignore[arg-type]
        seed=0,
    )


def forward(module: nn.Module, x: Tensor) -> Action:
    """Build the function that is timed as "forward"."""

    def action() -> None:
        with torch.inference_mode():
            module(x)

    return action


def step(module: nn.Module, x: Tensor) -> Action:
    """Build the function that is timed as "step"."""
    gradient: list[Tensor] = []

    def action() -> None:
        out = module(x)
        out = out if isinstance(out, Tensor) else out[0]
        gradient[:] = gradient or [torch.ones_like(out)]
        module.zero_grad()
        x.grad = None
        out.backward(gradient[0])

    return action


def sides(
    make: Callable[[nn.Module, Tensor], Action], dense: nn.Module, ours: nn.Module, x: Tensor
) -> dict[str, Action]:
    """Build the three functions to time."""

    def placed(module: nn.Module, name: str) -> Action:
        copy = x.detach().to(memory_format=FORMATS[name]).requires_grad_(x.requires_grad)
        return make(module.to(memory_format=FORMATS[name]), copy)

    return {
        "ours": placed(ours, "contiguous"),
        "dense": placed(dense, "contiguous"),
        "dense_channels_last": placed(deepcopy(dense), "channels_last"),
    }


def row(actions: dict[str, Action], repeats: int, **known: object) -> Row:
    """Time the functions in interleaved rounds."""
    times = {name: spent.cpu for name, spent in in_turns(actions, repeats, TURN).items()}
    ours, dense, last = times["ours"], times["dense"], times["dense_channels_last"]
    return Row(
        **known,  # type: ignore[arg-type]
        cpu_ms=ours,
        dense_cpu_ms=dense,
        dense_channels_last_cpu_ms=last,
        ratio=round(min(dense, last) / ours, 2),
        repeats=repeats,
    )


def compare_layers(shape: Shape, pattern: str, density: float, batch: int, repeats: int) -> Iterator[Row]:
    """Time our layer and the dense one, forward and step."""
    ours = sparse_layer(shape, pattern, density)
    dense = nn.Conv2d(shape.in_channels, shape.out_channels, shape.kernel, padding=shape.kernel // 2, bias=False)
    x = torch.randn(batch, shape.in_channels, shape.side, shape.side)
    form = implementation_for(x, ours.weight, ours.index, ours.stride, ours.padding).name
    known = dict(subject=str(shape), pattern=pattern, density=density, fan_in=ours.fan_in, batch=batch, form=form)
    yield row(sides(forward, dense, ours, x), repeats, what="forward", **known)
    yield row(sides(step, dense, ours, x.requires_grad_()), repeats, what="step", **known)


def network(name: str) -> nn.Module:
    """Build the dense network, with batch norms that are not the identity."""
    torch.manual_seed(0)
    if name == "inception_v3":
        return torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    return create_model(name)


def compare_networks(name: str, pattern: str, density: float, batch: int, repeats: int, side: int = 0) -> Iterator[Row]:
    """Time a network with sparse convolutions and the dense one, forward and step; 0 for its input size."""
    dense, side = network(name), side or NETWORKS[name]
    ours = sparsify(dense, density, pattern=pattern, seed=0, input_size=(3, side, side)).model  # type: ignore[arg-type]
    x = torch.randn(batch, 3, side, side)
    form = c_library.library().instruction_set
    known = dict(subject=name, pattern=pattern, density=density, fan_in=0, batch=batch, form=form)
    if batch > 1:  # batch norm raises for the last feature map of a single image, one pixel
        yield row(sides(step, dense.train(), ours.train(), x), repeats, what="step", **known)

    def fast(model: nn.Module, name: str) -> Action:
        made = optimize_for_inference(model, memory_format=name, input_size=(3, side, side))  # type: ignore[arg-type]
        return forward(made, x.to(memory_format=FORMATS[name]))

    actions = {
        "ours": fast(ours, "contiguous"),
        "dense": fast(dense, "contiguous"),
        "dense_channels_last": fast(dense, "channels_last"),
    }
    yield row(actions, repeats, what="forward", **known)


def tell(row: Row) -> str:
    """Format a comparison."""
    return (
        f"{row.subject}, {case(row)}: {row.cpu_ms:.2f} ms to {row.dense_cpu_ms:.2f} ms (channels last "
        f"{row.dense_channels_last_cpu_ms:.2f}), {row.ratio} times as fast by {row.form}"
    )


def case(row: Row) -> str:
    """Format the case of a comparison, without the shape."""
    return f"{row.pattern}, density {row.density}, batch {row.batch}, {row.what}"


def main() -> None:
    """Time the selected cases, print them and their means, and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.channel_sparse", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["operations", *NETWORKS])
    parser.add_argument("--patterns", nargs="+", default=["exact", "block"])
    parser.add_argument("--densities", type=float, nargs="+", default=[0.1, 0.01])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--kernels", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--output", type=Path, help="default: results/channel_sparse_WHAT.csv")
    given = parser.parse_args()
    torch.manual_seed(0)
    rows: list[Row] = []
    for pattern in given.patterns:
        for density in given.densities:
            for batch in given.batches:
                setting = pattern, density, batch, given.repeats
                if given.what in NETWORKS:
                    rows += printed(compare_networks(given.what, *setting), tell)
                else:
                    for shape in SHAPES:
                        if shape.kernel in given.kernels:
                            rows += printed(compare_layers(shape, *setting), tell)
    print(*mean_ratios(rows, case), sep="\n")
    output = given.output or RESULTS / f"channel_sparse_{given.what}.csv"
    write(output, rows)
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
