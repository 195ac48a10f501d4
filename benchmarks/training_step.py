"""Training step in the default form, with activation checkpointing, and in the equivalent plain forms.

Four networks of the same function, in interleaved rounds:

- `paper`: SparseNet-BC as in the paper and its authors' code: each unit concatenates its raw sources and normalizes all
  of them (BN, ReLU, 1x1 convolution, BN, ReLU, 3x3 convolution).
- `plain`: ours module by module (enforced by a hook on each): nodes are normalized once, nothing is recomputed.
- `default`: ours in the default form of training.
- `lean`: ours with `set_grad_checkpointing()`.

A step is the forward pass, cross-entropy and the backward pass; no optimizer. Run it with `MALLOC_MMAP_MAX_=0
MALLOC_TRIM_THRESHOLD_=4000000000`: otherwise large tensors are mapped in every step.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import RESULTS, in_turns, write
from skipweave import create_model
from skipweave.topology import Topology, exponential


@dataclass(frozen=True)
class Row:
    """One form, "eager" or "compiled"; `ratio` is its time divided by that of the form in `against`."""

    network: str
    run: str
    form: str
    memory_format: str
    batch: int
    side: int
    cpu_ms: float
    against: str
    ratio: float
    repeats: int


def norm_relu(width: int) -> list[nn.Module]:
    """Build a batch norm and a ReLU."""
    return [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


class PaperStage(nn.Module):
    """Stage as in the papers: raw nodes are concatenated, and every unit normalizes its input."""

    def __init__(self, graph: Topology, in_width: int, growth: int) -> None:
        super().__init__()
        self.graph = graph
        widths = [in_width] + [growth] * graph.units
        self.units = nn.ModuleList()
        for node in range(1, graph.units + 1):
            read = sum(widths[source] for source in graph.sources(node))
            squeeze = [*norm_relu(read), nn.Conv2d(read, 4 * growth, 1, bias=False)]
            grow = [*norm_relu(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)]
            self.units.append(nn.Sequential(*squeeze, *grow))
        self.out_width = sum(widths[source] for source in graph.output)

    def forward(self, x: Tensor) -> Tensor:
        """Return the concatenated output of the stage."""
        nodes = [x]
        for node, unit in enumerate(self.units, start=1):
            nodes.append(unit(torch.cat([nodes[source] for source in self.graph.sources(node)], dim=1)))
        return torch.cat([nodes[source] for source in self.graph.output], dim=1)


def paper_net(units: int, growth: int, stem_width: int) -> nn.Sequential:
    """Make SparseNet-BC for CIFAR: three stages, transitions that halve the channels."""
    layers: list[nn.Module] = [nn.Conv2d(3, stem_width, 3, padding=1, bias=False)]
    width = stem_width
    for stage in range(3):
        if stage:
            layers += [*norm_relu(width), nn.Conv2d(width, width // 2, 1, bias=False), nn.AvgPool2d(2)]
            width //= 2
        layers.append(PaperStage(exponential(units), width, growth))
        width = layers[-1].out_width  # type: ignore[assignment]
    return nn.Sequential(*layers, *norm_relu(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def networks(units: int, growth: int) -> dict[str, nn.Module]:
    """Build the four forms."""
    ours = {
        name: create_model("sparsenet_bc100_24", units=units, growth=growth, stem_width=growth)
        for name in ("plain", "default", "lean")
    }
    for layer in ours["plain"].modules():
        layer.register_forward_hook(lambda *_: None)
    ours["lean"].set_grad_checkpointing()
    return {"paper": paper_net(units, growth, growth), **ours}


def step(model: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], object]:
    """Build the function to time."""
    model.train()

    def action() -> None:
        model.zero_grad()
        F.cross_entropy(model(x), labels).backward()

    return action


def compare(
    units: int, growth: int, batch: int, side: int, memory_format: str, repeats: int, compiled: bool = False
) -> list[Row]:
    """Time the four forms."""
    torch.manual_seed(0)
    order = getattr(torch, memory_format)
    x, labels = torch.randn(batch, 3, side, side).to(memory_format=order), torch.randint(0, 10, (batch,))
    made = {name: model.to(memory_format=order) for name, model in networks(units, growth).items()}
    if compiled:  # hooks would break the graph, and recomputation is not measured
        made = {name: torch.compile(model) for name, model in made.items() if name in ("paper", "default")}  # type: ignore[misc]
    times = in_turns({name: step(model, x, labels) for name, model in made.items()}, repeats)
    pairs = [("paper", "paper"), ("plain", "paper"), ("default", "paper"), ("default", "plain"), ("lean", "default")]
    return [
        Row(
            f"SparseNet-BC, {units} units per stage, growth {growth}",
            "compiled" if compiled else "eager",
            form,
            memory_format,
            batch,
            side,
            times[form].cpu,
            against,
            round(times[form].cpu / times[against].cpu, 3),
            repeats,
        )
        for form, against in pairs
        if form in times and against in times
    ]


def main() -> None:
    """Time the forms, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.training_step", description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=16, help="units per stage; 16 is SparseNet-BC-100")
    parser.add_argument("--growth", type=int, default=24)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--memory_formats", nargs="+", default=["contiguous_format", "channels_last"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS / "training_step.csv")
    given = parser.parse_args()
    rows: list[Row] = []
    for order in given.memory_formats:
        made = compare(given.units, given.growth, given.batch, given.side, order, given.repeats, given.compiled)
        for row in made:
            print(f"{row.run}, {order}, {row.form}: {row.cpu_ms:.0f} ms, {row.ratio} times {row.against}", flush=True)
        rows += made
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
