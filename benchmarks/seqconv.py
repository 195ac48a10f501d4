"""SeqConv layers against wide convolutions with as many multiply-accumulates.

Both have padding of one pixel, and end with batch norm and ReLU: `SeqConv2d` after each group (in the bottleneck form
after both convolutions), the other side once. The other side is `Conv2d(w, w, 3)` with the width w of closest
multiply-accumulates; for a windowed layer of the basic form they are equal at its own width.

"forward" is evaluation mode without gradients; "step" is forward and backward in training mode with gradients of
weights and input, without an optimizer.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.timing import RESULTS, in_turns, write
from skipweave.analysis.profile import profile
from skipweave.layers import ConvUnit, SeqConv2d
from skipweave.transforms.memory_format import FORMATS

Action = Callable[[], object]
FORMS = {
    "windowed": dict(windowed=True, bottleneck=False),
    "dense": dict(windowed=False, bottleneck=False),
    "windowed bottleneck": dict(windowed=True, bottleneck=True),
    "dense bottleneck": dict(windowed=False, bottleneck=True),
}


@dataclass(frozen=True)
class Shape:
    """Layer of a network of the paper: channels, group size, and side of the feature map."""

    network: str
    channels: int
    group_size: int
    side: int


SHAPES = (
    Shape("SeqResNet k=8 r=4", 64, 8, 32),
    Shape("SeqResNet k=8 r=4", 128, 8, 16),
    Shape("SeqResNet k=8 r=4", 192, 8, 8),
    Shape("SeqResNet-B22", 128, 32, 56),
    Shape("SeqResNet-B22", 256, 64, 28),
    Shape("SeqResNet-B22", 512, 64, 14),
    Shape("SeqResNet-B22", 1024, 128, 7),
)


@dataclass(frozen=True)
class Row:
    """One comparison; `width` and `conv_*` are of the wide convolution.

    Ratios are of the medians: SeqConv's time divided by the convolution's.
    """

    network: str
    channels: int
    group_size: int
    side: int
    form: str
    memory_format: str
    batch: int
    what: str
    macs: int
    width: int
    conv_macs: int
    cpu_ms: float
    conv_cpu_ms: float
    cpu_ratio: float
    wall_ms: float
    conv_wall_ms: float
    wall_ratio: float
    repeats: int


def pair(shape: Shape, form: str) -> tuple[SeqConv2d, ConvUnit]:
    """Make the SeqConv layer and the convolution of about as many multiply-accumulates."""
    layer = SeqConv2d(shape.channels, shape.channels, group_size=shape.group_size, **FORMS[form])
    width = round(math.sqrt(macs(layer, shape) / (9 * shape.side**2)))
    return layer, ConvUnit(width, width)


def macs(layer: SeqConv2d | ConvUnit, shape: Shape) -> int:
    """Multiply-accumulates of a layer on one map of the shape's side."""
    return profile(layer, (channels_of(layer), shape.side, shape.side)).macs


def channels_of(layer: SeqConv2d | ConvUnit) -> int:
    """Input and output channels of a layer."""
    return layer.in_channels if isinstance(layer, SeqConv2d) else layer.conv.in_channels


def forward(layer: nn.Module, x: Tensor) -> Action:
    """Make the action that is timed as "forward"."""

    def action() -> None:
        layer.eval()
        with torch.no_grad():
            layer(x)

    return action


def step(layer: nn.Module, x: Tensor) -> Action:
    """Make the action that is timed as "step"."""
    x = x.clone().requires_grad_()
    gradient = torch.ones_like(x)

    def action() -> None:
        layer.train()
        layer(x).backward(gradient)

    return action


def compare(shape: Shape, form: str, batch: int, memory_format: str, repeats: int) -> list[Row]:
    """Time both layers, forward and step."""
    seqconv, conv = pair(shape, form)

    def timed(layer: SeqConv2d | ConvUnit, make: Callable[[nn.Module, Tensor], Action]) -> Action:
        layout = FORMATS[memory_format]
        x = torch.randn(batch, channels_of(layer), shape.side, shape.side)
        return make(layer.to(memory_format=layout), x.to(memory_format=layout))

    rows = []
    for what, make in (("forward", forward), ("step", step)):
        times = in_turns({"ours": timed(seqconv, make), "conv": timed(conv, make)}, repeats)
        ours, other = times["ours"], times["conv"]
        rows.append(
            Row(
                **asdict(shape),
                form=form,
                memory_format=memory_format,
                batch=batch,
                what=what,
                macs=macs(seqconv, shape),
                width=channels_of(conv),
                conv_macs=macs(conv, shape),
                cpu_ms=ours.cpu,
                conv_cpu_ms=other.cpu,
                cpu_ratio=round(ours.cpu / other.cpu, 2),
                wall_ms=ours.wall,
                conv_wall_ms=other.wall,
                wall_ratio=round(ours.wall / other.wall, 2),
                repeats=repeats,
            )
        )
    return rows


def main() -> None:
    """Time every shape and form, print each comparison, and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.seqconv", description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--memory_format", choices=FORMATS, default="contiguous")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "seqconv.csv")
    given = parser.parse_args()
    torch.manual_seed(0)
    rows: list[Row] = []
    for shape in SHAPES:
        for form in FORMS:
            for batch in given.batches:
                made = compare(shape, form, batch, given.memory_format, given.repeats)
                rows += made
                for row in made:
                    print(
                        f"{shape.channels:4} channels, k={shape.group_size}, {shape.side}x{shape.side}, {form}, "
                        f"batch {batch}, {row.what}: {row.cpu_ms:.2f} ms to {row.conv_cpu_ms:.2f} ms, "
                        f"ratio {row.cpu_ratio} ({row.macs:,} MACs to {row.conv_macs:,}, width {row.width})",
                        flush=True,
                    )
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
