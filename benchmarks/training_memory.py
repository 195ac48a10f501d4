"""Memory of Wide-DelugeNet-146, its residual baseline and DenseNets (section 5 of "DelugeNets").

Bytes of a training step that are saved for the backward pass, and the largest sum of live activations in inference, for
a batch of 32 CIFAR-100 images in float32; counted on the meta device, without parameters and gradients. `plain` calls
every layer as it is, as the Torch code of the paper does; `default` is what the library does; `recomputed` is with
activation checkpointing. The paper prints the memory that the process occupies on a GPU.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import RESULTS, printed, write
from skipweave import create_model
from skipweave.analysis.memory import peak_inference_bytes, saved_bytes

GIB = 2**30


@dataclass(frozen=True)
class Case:
    """A network and the memory that the paper prints for it, in gigabytes; training and inference."""

    name: str
    model: str
    arguments: Mapping[str, Any]
    paper_training: float
    paper_inference: float


CASES = (
    Case("3x3 baseline", "delugenet146_wide", {"cross": "sum"}, 1.3, 0.44),
    Case("Wide-DelugeNet-146", "delugenet146_wide", {}, 2.8, 0.61),
    Case("DenseNet-100, k = 24", "densenet100_24", {}, 6.3, 0.87),
    Case("DenseNet-BC-250, k = 24", "densenet_bc250_24", {}, 8.6, 0.75),
    Case("DenseNet-BC-190, k = 40", "densenet_bc190_40", {}, 8.4, 1.1),
)


@dataclass(frozen=True)
class Row:
    """Memory of a network, in GiB."""

    network: str
    batch: int
    paper_training: float
    plain: float
    default: float
    recomputed: float
    paper_inference: float
    inference: float


def measure(case: Case, batch: int) -> Row:
    """Count the bytes of a network; those saved for backward for 2 images, as they are proportional to the batch."""
    with torch.device("meta"):
        model = create_model(case.model, num_classes=100, **case.arguments)
        two, images = torch.empty(2, 3, 32, 32), torch.empty(batch, 3, 32, 32)
    scale = batch / 2 / GIB
    plain, default = (saved_bytes(model, two, plain=plain) * scale for plain in (True, False))
    model.set_grad_checkpointing()
    recomputed = saved_bytes(model, two) * scale
    model.set_grad_checkpointing(False)
    inference = peak_inference_bytes(model, images) / GIB
    counted = (round(value, 3) for value in (plain, default, recomputed))
    return Row(case.name, batch, case.paper_training, *counted, case.paper_inference, round(inference, 3))


def _line(row: Row) -> str:
    return (
        f"{row.network}: training {row.plain:.2f} GiB plain, {row.default:.2f} by default, {row.recomputed:.2f} with "
        f"activation checkpointing (paper: {row.paper_training}); inference {row.inference:.2f} (paper: "
        f"{row.paper_inference})"
    )


def main() -> None:
    """Count, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.training_memory", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--output", type=Path, default=RESULTS / "training_memory.csv")
    given = parser.parse_args()
    write(given.output, printed((measure(case, given.batch) for case in CASES), _line))
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
