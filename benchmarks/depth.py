"""Step time against depth, and handling of networks of 2000 layers.

SparseNet-BC of growth 12 with 100, 400 and 1001 layers, in interleaved rounds: forward, cross-entropy, backward, on
images of 32x32 pixels. `ratio` is the time per unit relative to the network of 100 layers. Then the time to build a
network of 2000 layers, to profile it, and to return its state dict.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.timing import RESULTS, in_turns, write
from benchmarks.training_step import step
from skipweave import create_model
from skipweave.analysis.profile import profile

NETWORKS = ("sparsenet_bc100_12", "sparsenet_bc400_12", "sparsenet_bc1001_12")
DEEP = "sparsenet_sum2000"


@dataclass(frozen=True)
class Row:
    """Step time of a network, or time of an operation on the network of 2000 layers."""

    network: str
    what: str
    batch: int
    units: int
    cpu_ms: float
    ratio: float
    repeats: int


def steps(batch: int, repeats: int, names: tuple[str, ...] = NETWORKS) -> list[Row]:
    """Time a step of each network."""
    torch.manual_seed(0)
    x, labels = torch.randn(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    networks = {name: create_model(name) for name in names}
    units = {name: sum(len(stage.units) for stage in model.stages) for name, model in networks.items()}
    times = in_turns({name: step(model, x, labels) for name, model in networks.items()}, repeats)
    unit = {name: times[name].cpu / units[name] for name in names}
    return [
        Row(name, "step", batch, units[name], times[name].cpu, round(unit[name] / unit[names[0]], 3), repeats)
        for name in names
    ]


def handling(name: str = DEEP) -> list[Row]:
    """Time building, profiling and the state dict of a deep network."""
    rows = []

    def timed(what: str, start: float) -> None:
        rows.append(Row(name, what, 0, 0, round(1000 * (time.process_time() - start), 1), 0.0, 1))

    start = time.process_time()
    model = create_model(name)
    timed("build", start)
    start = time.process_time()
    model.state_dict()
    timed("state_dict", start)
    start = time.process_time()
    with torch.device("meta"):
        profile(create_model(name))
    timed("profile", start)
    return rows


def main() -> None:
    """Time both, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.depth", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "depth.csv")
    given = parser.parse_args()
    rows = [*steps(given.batch, given.repeats), *handling()]
    for row in rows:
        print(f"{row.network}, {row.what}: {row.cpu_ms:.0f} ms" + (f", {row.ratio} times a unit" if row.ratio else ""))
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
