"""Speed and memory of networks of every family and of timm on a GPU, with lower bounds.

Training steps and inference in bfloat16, channels-last, in interleaved rounds: forward, cross-entropy and backward
under autocast; and networks optimized by `optimize_for_inference`, including those of timm. Ours run with the Triton
kernels, and without ("plain torch"). The bounds are those of `skipweave.analysis.speed`.

Memory is the peak of torch's allocator, minus the allocation between two calls: weights, gradients and images.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import timm
import torch
from torch import nn

from benchmarks import keeping, timing
from skipweave import create_model, profile
from skipweave.analysis.profile import Profile
from skipweave.analysis.speed import Case, Speed, measure_speeds, timed_action
from skipweave.ops.triton import launch

Make = Callable[[], nn.Module]
FIRST = "timm:densenet121"  # that ratios are to
CLASSIFIERS: dict[str, Make] = {
    FIRST: partial(timm.create_model, "densenet121"),
    "timm:resnet50": partial(timm.create_model, "resnet50"),
    **{f"timm:{name}": partial(timm.create_model, name) for name in timm.list_models("*hardnet68*")},
}
OURS = ("densenet121_32", "sparsenet121_32", "logdensenet169", "seqresnet_b22", "delugenet92")
CLASSIFIERS |= {name: partial(create_model, name) for name in OURS}
SEGMENTERS: dict[str, Make] = {name: partial(create_model, name) for name in ("fc_densenet103", "fc_logdensenet103")}


@dataclass(frozen=True)
class Row:
    """One network; `ratio` is its time divided by that of the first network, `share` the lower bound divided by it."""

    network: str
    kernels: str
    what: str
    batch: int
    side: int
    precision: str
    memory_format: str
    ms: float
    low_ms: float
    high_ms: float
    images_per_second: float
    ratio: float
    peak_mib: float | None
    macs_ms: float
    bytes_ms: float
    share: float
    repeats: int


@dataclass(frozen=True)
class Turns:
    """Networks that are timed in the same rounds.

    Attributes:
        networks: Function that builds each network, by name.
        case: Benchmark case.
        side: Side of the images.
        kernels: Whether to use the Triton kernels.
    """

    networks: Mapping[str, Make]
    case: Case
    side: int = 224
    kernels: bool = True

    def __str__(self) -> str:
        kernels = "" if self.kernels else ", plain torch"
        return f"{', '.join(self.networks)}: {self.case.mode}, batch {self.case.batch}{kernels}"

    def form(self) -> AbstractContextManager[object]:
        """Disable Triton."""
        return nullcontext() if self.kernels else patch.object(launch, "PROBLEM", "it is disabled")


def turns() -> Iterator[Turns]:
    """Measurements, the most important first."""
    both = ("step", "inference")
    ours = {name: CLASSIFIERS[name] for name in (FIRST, *OURS)}
    yield from (Turns(CLASSIFIERS, Case(what, 128, "bf16", "channels_last")) for what in both)
    yield from (Turns(ours, Case(what, 128, "bf16", "channels_last"), kernels=False) for what in both)
    yield from (Turns(SEGMENTERS, Case(what, 8, "bf16", "channels_last")) for what in both)
    yield from (Turns(CLASSIFIERS, Case(what, 64, "bf16", "channels_last")) for what in both)


def measure(turns: Turns, repeats: int, device: torch.device) -> Iterator[Row]:
    """Measure the memory of each network alone, then time those that run.

    Raises:
        RuntimeError: Some did not run; raised after the rows of all others.
    """
    size = (3, turns.side, turns.side)
    actions: dict[str, Callable[[], object]] = {}
    peaks, failed = {}, []
    with turns.form():
        for name, make in turns.networks.items():
            try:
                action = timed_action(make(), turns.case, size, device)
                peaks[name] = peak_mib(action, device)
                actions[name] = action
            except Exception as error:  # a failing network must not prevent the others
                failed.append(f"{name} ({type(error).__name__}: {str(error).partition(chr(10))[0]})")
        costs = {name: cost(turns.networks[name], size) for name in actions}
        speeds = measure_speeds(actions, costs, turns.case, repeats=repeats, device=device) if actions else {}
    yield from rows_of(turns, speeds, peaks, repeats)
    if failed:
        raise RuntimeError(f"these did not run: {', '.join(failed)}")


def rows_of(
    turns: Turns, speeds: Mapping[str, Speed], peaks: Mapping[str, float | None], repeats: int
) -> Iterator[Row]:
    """Build the rows of networks."""
    first = next((speed.ms for speed in speeds.values()), 0.0)
    for name, speed in speeds.items():
        yield Row(
            network=name,
            kernels="Triton" if turns.kernels else "plain torch",
            what=turns.case.mode,
            batch=turns.case.batch,
            side=turns.side,
            precision=turns.case.precision,
            memory_format=turns.case.memory_format,
            **{key: round(value, 3) for key, value in asdict(speed).items()},
            ratio=round(speed.ms / first, 3),
            share=round(max(speed.macs_ms, speed.bytes_ms) / speed.ms, 3),
            peak_mib=peaks[name],
            repeats=repeats,
        )


@cache
def cost(make: Make, size: tuple[int, int, int]) -> Profile:
    """Profile a network without storing its weights."""
    with torch.device("meta"):
        return profile(make(), size)


def peak_mib(action: Callable[[], object], device: torch.device) -> float | None:
    """Peak MiB of the second run; None without allocator statistics."""
    action()
    if device.type != "cuda":
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    action()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)


def tell(row: Row) -> str:
    """Format a row."""
    return (
        f"{row.network}, {row.kernels}, {row.what}, batch {row.batch}: {row.ms:.2f} ms, {row.images_per_second:.0f} "
        f"images/s, {row.ratio} times the first, {row.peak_mib} MiB, {row.share:.0%} of the lower bound"
    )


def printed(turns: Turns, repeats: int, device: torch.device) -> Iterator[Row]:
    """Print rows as they come."""
    return timing.printed(measure(turns, repeats, device), tell)


def main() -> None:
    """Run the measurements within the time limit, print them, and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu_networks", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=4, help="start no further rounds after this time")
    parser.add_argument("--output", type=Path, default=timing.RESULTS / "gpu_networks.csv")
    given = parser.parse_args()
    device = timing.gpu()
    cases = ((str(made), partial(printed, made, given.repeats, device)) for made in turns())
    _, failed = keeping.run(cases, given.minutes, given.output, device)
    keeping.end(given.output, failed)


if __name__ == "__main__":
    main()
