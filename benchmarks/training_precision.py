"""Training step in float32 and in bfloat16, eager and compiled as a whole.

A step is the forward pass, cross-entropy and the backward pass, on channels-last images of 32x32 pixels; no optimizer.
All forms of a network are timed in interleaved rounds; of DelugeNet-146 also its baseline with 3x3 convolutions
(`cross="sum"`). Run it with `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=4000000000`: otherwise large tensors are mapped
in every step.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import RESULTS, in_turns, write
from skipweave import create_model
from skipweave.ops.cpu.processor import has_amx

NETWORKS = ("sparsenet40_24", "densenet40_12", "sparsenet_bc100_24", "preact_resnet110", "delugenet146")
FORMS = ("float32", "bfloat16", "bfloat16, compiled")
BASELINE = "delugenet146, 3x3 baseline"


@dataclass(frozen=True)
class Row:
    """One form of a network; `ratio` is its time divided by that in float32."""

    network: str
    form: str
    batch: int
    avx512_bf16: bool
    amx: bool
    cpu_ms: float
    ratio: float
    repeats: int


def step(model: nn.Module, x: Tensor, labels: Tensor, form: str) -> Callable[[], object]:
    """Build the function to time."""
    model.train().to(memory_format=torch.channels_last)
    if "compiled" in form:
        model.compile(dynamic=False)

    def action() -> None:
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="bfloat16" in form):
            loss = F.cross_entropy(model(x), labels)
        loss.backward()

    return action


def compare(name: str, forms: Sequence[str], batch: int, repeats: int, **size: object) -> list[Row]:
    """Time the forms of a network, and of DelugeNet-146 those of its baseline too; `size` overrides its arguments."""
    torch.manual_seed(0)
    x = torch.randn(batch, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    made = {name: size} | ({BASELINE: {**size, "cross": "sum"}} if name == "delugenet146" else {})
    actions = {
        (network, form): step(create_model(name, **args), x, labels, form)
        for network, args in made.items()
        for form in forms
    }
    times = in_turns({f"{network}/{form}": action for (network, form), action in actions.items()}, repeats)
    has = (torch.cpu._is_avx512_bf16_supported(), has_amx())
    return [
        Row(network, form, batch, *has, time, round(time / times[f"{network}/{FORMS[0]}"].cpu, 3), repeats)
        for network, form in actions
        for time in [times[f"{network}/{form}"].cpu]
    ]


def main() -> None:
    """Time all, print and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.training_precision", description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS, help="float32 is always timed")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "training_precision.csv")
    given = parser.parse_args()
    forms = tuple(dict.fromkeys((FORMS[0], *given.forms)))
    rows: list[Row] = []
    for name in given.networks:
        made = compare(name, forms, given.batch, given.repeats)
        for row in made:
            print(f"{row.network}, {row.form}: {row.cpu_ms:.0f} ms, {row.ratio} times float32", flush=True)
        rows += made
    write(given.output, rows)
    print(f"Written to {given.output}")


if __name__ == "__main__":
    main()
