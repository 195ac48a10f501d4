"""Compile time against depth with regional compilation.

The first inference of SparseNet-BC of growth 12 on one image of 32x32 pixels, with units compiled by
`skipweave.layers.compile_units`, for 100, 400 and 1001 layers; for 100 layers also compiled as a whole. Processor time,
including the C++ compiler, with empty torch caches.
"""

import argparse
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch._inductor.config
from torch import nn
from torch._inductor.utils import fresh_cache

from benchmarks.timing import RESULTS, write
from skipweave import create_model
from skipweave.transforms.regional_compilation import compile_units

NETWORKS = ("sparsenet_bc100_12", "sparsenet_bc400_12", "sparsenet_bc1001_12")


@dataclass(frozen=True)
class Row:
    """Time of the first run of a network; `ratio` is relative to the first network, compiled by units."""

    network: str
    compiled: str
    units: int
    graphs: int
    cpu_s: float
    ratio: float


def first_run(name: str, how: Callable[[nn.Module], object]) -> tuple[int, int, float]:
    """Compile a network; return its number of units, the number of compiled graphs, and the seconds."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = create_model(name).eval()
    how(model)
    with fresh_cache(), torch.inference_mode():
        start = _seconds()
        model(torch.randn(1, 3, 32, 32))
        spent = _seconds() - start
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    return sum(len(stage.units) for stage in model.stages), graphs, spent


def _seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(names: tuple[str, ...] = NETWORKS, backend: str = "inductor") -> list[Row]:
    """Compile each network unit by unit, then the first one as a whole."""
    rows: list[Row] = []

    def by_units(model: nn.Module) -> None:
        compile_units(model, backend=backend)

    def whole(model: nn.Module) -> None:
        model.compile(backend=backend)

    for name, how in [*((name, by_units) for name in names), (names[0], whole)]:
        units, graphs, spent = first_run(name, how)
        ratio = round(spent / rows[0].cpu_s, 3) if rows else 1.0
        rows.append(Row(name, "by units" if how is by_units else "whole", units, graphs, round(spent, 1), ratio))
        print(f"{name}, {rows[-1].compiled}: {graphs} graphs, {spent:.0f} s, ratio {ratio}", flush=True)
    return rows


def main() -> None:
    """Compile, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.compiling", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS / "compiling.csv")
    given = parser.parse_args()
    torch._inductor.config.compile_threads = 1  # in this process, whose time is counted
    write(given.output, measure())
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
