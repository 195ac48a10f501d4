"""Training step of DelugeNet-146 against its residual baseline with 3x3 convolutions.

The baseline is the same network with summed nodes (`cross="sum"`). Forward, cross-entropy and backward on images of
32x32 pixels, in interleaved rounds, in both memory formats.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.timing import RESULTS, in_turns, write
from benchmarks.training_step import step
from skipweave import create_model
from skipweave.transforms.memory_format import FORMATS


@dataclass(frozen=True)
class Row:
    """Step time of a network; `ratio` is relative to the baseline."""

    network: str
    memory_format: str
    batch: int
    cpu_ms: float
    ratio: float
    repeats: int


def compare(batch: int, repeats: int, memory_format: str, units: tuple[int, ...] | None = None) -> list[Row]:
    """Time the steps of both networks; `units` per stage are those of DelugeNet-146 by default."""
    torch.manual_seed(0)
    order = FORMATS[memory_format]
    x = torch.randn(batch, 3, 32, 32).to(memory_format=order)
    labels = torch.randint(0, 10, (batch,))
    size = {"units": units} if units else {}
    networks = {
        "3x3 baseline": create_model("delugenet146", cross="sum", **size),
        "delugenet146": create_model("delugenet146", **size),
    }
    times = in_turns({n: step(m.to(memory_format=order), x, labels) for n, m in networks.items()}, repeats)
    baseline = times["3x3 baseline"].cpu
    return [Row(n, memory_format, batch, t.cpu, round(t.cpu / baseline, 3), repeats) for n, t in times.items()]


def main() -> None:
    """Time both, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.delugenet", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "delugenet.csv")
    given = parser.parse_args()
    rows = [row for order in FORMATS for row in compare(given.batch, given.repeats, order)]
    for row in rows:
        print(f"{row.network}, {row.memory_format}: {row.cpu_ms:.0f} ms, {row.ratio} times the baseline")
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
