"""How much faster is a convolution whose outputs read few channels than the dense one, and networks of them?

`operations` times single layers; a network's name that network, all convolutions but the first sparse in ours.
Both take and return float32 maps; ours packs and unpacks within the time. The dense side is timed in both memory
formats, and the better one counts. "forward" is in evaluation mode without gradients; networks, both ours and the
dense one, are what `optimize_for_inference` makes of them. "step" is forward and backward in training mode, down to
the gradients of weights and, of single layers, input, without an optimizer. A turn takes 10 ms or more: what is
shorter is repeated, with inputs in the caches.

Run it with `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000`: otherwise large outputs are mapped anew in every
call, and both sides wait until their pages are cleared.
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
from benchmarks.timing import RESULTS, in_turns, told, write
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

    `ratio` is the better dense time over ours; `form` says which of our forms was taken (of networks: instruction set).
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
    """Make our layer of a shape."""
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
    """Make the action that is timed as "forward"."""

    def action() -> None:
        with torch.inference_mode():
            module(x)

    return action


def step(module: nn.Module, x: Tensor) -> Action:
    """Make the action that is timed as "step"."""
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
    """Make the three actions that are timed in turns."""

    def placed(module: nn.Module, name: str) -> Action:
        copy = x.detach().to(memory_format=FORMATS[name]).requires_grad_(x.requires_grad)
        return make(module.to(memory_format=FORMATS[name]), copy)

    return {
        "ours": placed(ours, "contiguous"),
        "dense": placed(dense, "contiguous"),
        "dense_channels_last": placed(deepcopy(dense), "channels_last"),
    }


def row(actions: dict[str, Action], repeats: int, **known: object) -> Row:
    """Time the actions in turns."""
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
    """Make the dense network, with batch norms that are not the identity."""
    torch.manual_seed(0)
    if name == "inception_v3":
        return torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False)
    return create_model(name)


def compare_networks(name: str, pattern: str, density: float, batch: int, repeats: int, side: int = 0) -> Iterator[Row]:
    """Time a network with sparse convolutions and the dense one, forward and step; its own side of images for 0."""
    dense, side = network(name), side or NETWORKS[name]
    ours = sparsify(dense, density, pattern=pattern, seed=0, input_size=(3, side, side)).model  # type: ignore[arg-type]
    x = torch.randn(batch, 3, side, side)
    form = c_library.library().instruction_set
    known = dict(subject=name, pattern=pattern, density=density, fan_in=0, batch=batch, form=form)
    if batch > 1:  # batch norm refuses the last map of a single image, one pixel
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
    """Say what a comparison found."""
    return (
        f"{row.subject}, {case(row)}: {row.cpu_ms:.2f} ms to {row.dense_cpu_ms:.2f} ms (channels last "
        f"{row.dense_channels_last_cpu_ms:.2f}), {row.ratio} times as fast by {row.form}"
    )


def case(row: Row) -> str:
    """Say what, besides the shape, is compared."""
    return f"{row.pattern}, density {row.density}, batch {row.batch}, {row.what}"


def main() -> None:
    """Time what is asked for, print each comparison and the means, and write the table."""
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
                    rows += told(compare_networks(given.what, *setting), tell)
                else:
                    for shape in SHAPES:
                        if shape.kernel in given.kernels:
                            rows += told(compare_layers(shape, *setting), tell)
    print(*mean_ratios(rows, case), sep="\n")
    output = given.output or RESULTS / f"channel_sparse_{given.what}.csv"
    write(output, rows)
    print(f"Written to {output}")


if __name__ == "__main__":
    main()
