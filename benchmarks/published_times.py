"""Inference time of the networks of SparseNet's Table 4, whose times the paper prints for a GPU.

Networks with folded norms in channels_last, one image of 224x224 pixels, in interleaved rounds. `skipweave ledger
--save DIR` plots published errors against these times.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet50

from benchmarks.timing import CPU, in_turns, write
from skipweave import create_model, ledger
from skipweave.analysis.speed import Case, timed_action

INPUT_SIZE = (3, 224, 224)
CASE = Case("inference", batch=1, memory_format="channels_last")


@dataclass(frozen=True)
class Row:
    """Median inference time of a network; `ratio` is relative to the first."""

    model: str
    memory_format: str
    batch: int
    cpu_ms: float
    wall_ms: float
    ratio: float
    repeats: int


def networks() -> dict[str, nn.Module]:
    """The networks whose times SparseNet's Table 4 prints."""
    names = [row.model for row in ledger.rows("sparsenet") if row.quantity == "time"]
    return {name: resnet50() if name == "torchvision:resnet50" else create_model(name) for name in names}


def compare(models: Mapping[str, nn.Module], input_size: tuple[int, int, int], repeats: int) -> list[Row]:
    """Time all networks."""
    torch.manual_seed(0)
    actions = {name: timed_action(model, CASE, input_size, CPU) for name, model in models.items()}
    times = in_turns(actions, repeats)
    first = next(iter(times.values())).cpu
    return [
        Row(name, CASE.memory_format, CASE.batch, spent.cpu, spent.wall, round(spent.cpu / first, 3), repeats)
        for name, spent in times.items()
    ]


def main() -> None:
    """Time all networks, print and write the table of the ledger."""
    parser = argparse.ArgumentParser("python -m benchmarks.published_times", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    output = Path(str(resources.files("skipweave.ledger") / "measured_times.csv"))
    parser.add_argument("--output", type=Path, default=output)
    given = parser.parse_args()
    rows = compare(networks(), INPUT_SIZE, given.repeats)
    for row in rows:
        print(f"{row.model}: {row.cpu_ms:.1f} ms, {row.ratio} times the first")
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
