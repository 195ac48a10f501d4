"""Channel-sparse convolutions in float32 against dense ones in bfloat16, which some processors accelerate.

Inference of VGG-16n and Inception-V3: dense in float32 and in bfloat16 (with AMX where available), and sparse in
float32, each optimized by `optimize_for_inference`, in its best memory format, in interleaved rounds.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.channel_sparse import NETWORKS, forward, network
from benchmarks.timing import RESULTS, in_turns, write
from skipweave import optimize_for_inference, sparsify
from skipweave.transforms.memory_format import FORMATS

DENSITIES = {"vgg16n": (0.1, 0.01), "inception_v3": (0.1, 0.03)}


@dataclass(frozen=True)
class Row:
    """Time of one form of a network; `ratio` is the time of the dense one in bfloat16 divided by it."""

    network: str
    form: str
    batch: int
    amx: bool
    cpu_ms: float
    ratio: float
    repeats: int


def compare(name: str, batch: int, repeats: int, side: int = 0) -> Iterator[Row]:
    """Time the forms of a network, on images of its input size or the given side."""
    side = side or NETWORKS[name]
    size = (3, side, side)
    dense = network(name)
    x = torch.randn(batch, *size)

    def fast(model: nn.Module, weights: torch.dtype = torch.float32) -> nn.Module:
        return optimize_for_inference(model, weights=weights, input_size=size)

    forms: dict[str, nn.Module] = {"dense, bfloat16": fast(dense, torch.bfloat16), "dense, float32": fast(dense)}
    for density in DENSITIES[name]:
        forms[f"sparse {density}, float32"] = fast(sparsify(dense, density, seed=0, input_size=size).model)
    actions = {form: forward(made, x.to(memory_format=FORMATS[made.memory_format])) for form, made in forms.items()}
    times = in_turns(actions, repeats)
    best = times["dense, bfloat16"].cpu
    amx = torch.cpu._is_amx_tile_supported()
    for form, time in times.items():
        yield Row(name, form, batch, amx, time.cpu, round(best / time.cpu, 3), repeats)


def main() -> None:
    """Time all, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.bf16", description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--output", type=Path, default=RESULTS / "bf16.csv")
    given = parser.parse_args()
    rows = []
    for name in DENSITIES:
        for batch in given.batches:
            for row in compare(name, batch, given.repeats):
                print(f"{name}, batch {batch}, {row.form}: {row.cpu_ms:.1f} ms, {row.ratio} times as fast", flush=True)
                rows.append(row)
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
