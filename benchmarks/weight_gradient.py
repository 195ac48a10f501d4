"""Weight gradients as matrix products (`ops.convolution`) against oneDNN's: single convolutions and training steps.

In bfloat16, on channels-last tensors; both forms in interleaved rounds. It needs a processor with AMX. Run it with
`MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000`, as `fit` does.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.convolutions import Shape
from benchmarks.timing import RESULTS, in_turns, printed, write
from skipweave import create_model
from skipweave.ops import Geometry, convolution
from skipweave.ops.cpu.processor import has_amx

_OF_3X3 = (
    (64, 64, 3),
    (64, 64, 4),
    (512, 512, 4),
    (256, 128, 5),
    (128, 64, 5),
    (256, 256, 7),
    (64, 64, 8),
    (48, 12, 8),
)
_OF_1X1 = (768, 384, 5), (256, 256, 7), (512, 2048, 7), (200, 48, 8), (288, 384, 15)
CONVOLUTIONS = (*(Shape(3, *rest) for rest in _OF_3X3), *(Shape(1, *rest) for rest in _OF_1X1))
NETWORKS = (
    *((name, side, 1000) for name in ("sparsenet_fast_64", "sparsenet_fast_96") for side in (16, 24, 32)),
    ("airbench94", 32, 1000),
    ("resnet9_fast", 32, 1000),
    ("densenet121_32", 64, 64),
    ("sparsenet121_32", 64, 64),
    ("delugenet92", 64, 32),
)


@dataclass(frozen=True)
class Row:
    """A convolution's weight gradient or a network's training step; `ratio` is product to oneDNN."""

    subject: str
    batch: int
    onednn_ms: float
    product_ms: float
    ratio: float
    repeats: int


def compare(subject: str, batch: int, actions: dict[str, Callable[[], object]], repeats: int) -> Row:
    """Time both forms."""
    times = in_turns(actions, repeats, at_least=0.02)
    onednn, product = (times[form].wall for form in ("onednn", "product"))
    return Row(subject, batch, onednn, product, round(product / onednn, 3), repeats)


def convolution_gradient(shape: Shape, batch: int, repeats: int) -> Row:
    """Weight gradient of a single convolution, whether or not `convolve` would take the product."""
    x, grad = (
        _channels_last(batch, width, shape.side, shape.side) for width in (shape.in_channels, shape.out_channels)
    )
    weight = _channels_last(shape.out_channels, shape.in_channels, shape.kernel, shape.kernel)
    geometry = Geometry(padding=(shape.kernel // 2,) * 2)

    def onednn() -> None:
        torch.ops.aten.convolution_backward(
            grad, x, weight, None, *geometry[:3], False, [0, 0], 1, [False, True, False]
        )

    def product() -> None:
        convolution.weight_gradient(grad, x, weight, geometry)

    return compare(str(shape), batch, {"onednn": onednn, "product": product}, repeats)


def network(name: str, side: int, batch: int, repeats: int) -> Row:
    """Training step of a network: forward pass, cross-entropy and backward pass."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=10).train().to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))

    def step(product: bool) -> None:
        model.zero_grad()
        with patch.object(convolution, "has_amx", lambda: product and has_amx()):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x), labels)
            loss.backward()

    actions = {"onednn": lambda: step(False), "product": lambda: step(True)}
    return compare(f"{name} at {side}x{side}", batch, actions, repeats)


def _channels_last(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.bfloat16).to(memory_format=torch.channels_last)


def main() -> None:
    """Time all, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.weight_gradient", description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=(16, 128, 1000), help="of convolutions")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS / "weight_gradient.csv")
    given = parser.parse_args()
    if not has_amx():
        raise SystemExit("the processor has no AMX: nothing was measured")

    def measured() -> Iterator[Row]:
        for batch in given.batches:
            for shape in CONVOLUTIONS:
                yield convolution_gradient(shape, batch, given.repeats)
        for case in NETWORKS:
            yield network(*case, given.repeats)

    def line(row: Row) -> str:
        return f"{row.subject}, batch {row.batch}: {row.product_ms:.2f} ms, {row.ratio} times oneDNN's"

    write(given.output, list(printed(measured(), line)))
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
