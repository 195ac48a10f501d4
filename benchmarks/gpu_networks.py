"""How fast are networks of every family on a GPU beside timm's, how much memory do they take, and what bounds them?

Training steps and inference in bfloat16 on channels-last maps, in turns: forward, cross-entropy and backward under
autocast; and what `optimize_for_inference` makes of each network, timm's too. Ours run with Triton's kernels, and once
more without ("plain torch"). `skipweave.analysis.speed` says what the bounds are.

Memory is what torch's allocator gave out at once at the most, less what it holds between two calls: weights, gradients
and images.
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
from skipweave.analysis.speed import Case, Speed, measure_actions, timed_action
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
    """One network; `ratio` is its time over that of the first one in the same turns, `share` what bounds it over it."""

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
    """Networks that are timed in turns.

    Attributes:
        networks: What makes each, by name.
        case: What is timed.
        side: Of the images.
        kernels: Whether Triton's kernels run.
    """

    networks: Mapping[str, Make]
    case: Case
    side: int = 224
    kernels: bool = True

    def __str__(self) -> str:
        kernels = "" if self.kernels else ", plain torch"
        return f"{', '.join(self.networks)}: {self.case.mode}, batch {self.case.batch}{kernels}"

    def form(self) -> AbstractContextManager[object]:
        """Leave Triton out, where that is asked for."""
        return nullcontext() if self.kernels else patch.object(launch, "PROBLEM", "it is left out")


def turns() -> Iterator[Turns]:
    """What is measured, the most telling first."""
    both = ("step", "inference")
    ours = {name: CLASSIFIERS[name] for name in (FIRST, *OURS)}
    yield from (Turns(CLASSIFIERS, Case(what, 128, "bf16", "channels_last")) for what in both)
    yield from (Turns(ours, Case(what, 128, "bf16", "channels_last"), kernels=False) for what in both)
    yield from (Turns(SEGMENTERS, Case(what, 8, "bf16", "channels_last")) for what in both)
    yield from (Turns(CLASSIFIERS, Case(what, 64, "bf16", "channels_last")) for what in both)


def measure(turns: Turns, repeats: int, device: torch.device) -> Iterator[Row]:
    """Measure the memory of each network alone, then time those that run in turns.

    Raises:
        RuntimeError: Some did not run; raised when the rows of all others have been given.
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
            except Exception as error:  # one network that fails must not cost what the others show
                failed.append(f"{name} ({type(error).__name__}: {str(error).partition(chr(10))[0]})")
        costs = {name: cost(turns.networks[name], size) for name in actions}
        speeds = measure_actions(actions, costs, turns.case, repeats=repeats, device=device) if actions else {}
    yield from rows_of(turns, speeds, peaks, repeats)
    if failed:
        raise RuntimeError(f"these did not run: {', '.join(failed)}")


def rows_of(
    turns: Turns, speeds: Mapping[str, Speed], peaks: Mapping[str, float | None], repeats: int
) -> Iterator[Row]:
    """Make the rows of networks that were timed in turns."""
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
    """Count what a network costs, without storing its weights."""
    with torch.device("meta"):
        return profile(make(), size)


def peak_mib(action: Callable[[], object], device: torch.device) -> float | None:
    """MiB at the most in its second run; None where there is no allocator that counts."""
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
    """Say what was found."""
    return (
        f"{row.network}, {row.kernels}, {row.what}, batch {row.batch}: {row.ms:.2f} ms, {row.images_per_second:.0f} "
        f"images/s, {row.ratio} times the first, {row.peak_mib} MiB, {row.share:.0%} of what is possible"
    )


def told(turns: Turns, repeats: int, device: torch.device) -> Iterator[Row]:
    """Print rows as they come."""
    return timing.told(measure(turns, repeats, device), tell)


def main() -> None:
    """Measure everything that there is time for, print it, and write the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu_networks", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=4, help="start no further turns after this time")
    parser.add_argument("--output", type=Path, default=timing.RESULTS / "gpu_networks.csv")
    given = parser.parse_args()
    device = timing.gpu()
    cases = ((str(made), partial(told, made, given.repeats, device)) for made in turns())
    _, failed = keeping.run(cases, given.minutes, given.output, device)
    keeping.end(given.output, failed)


if __name__ == "__main__":
    main()
