"""Interleaved timing of functions, and its output."""

import csv
import datetime
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import torch

from skipweave.ops.triton import launch
from skipweave.study.timing import machine

WARM_UP = 1
CPU = torch.device("cpu")
RESULTS = Path(__file__).parent / "results"
RowType = TypeVar("RowType")


@dataclass(frozen=True)
class Times:
    """Median times of a function, in milliseconds.

    Attributes:
        cpu: Processor time of this process, which hardly depends on other processes.
        wall: Wall time.
    """

    cpu: float
    wall: float


def in_turns(
    actions: Mapping[str, Callable[[], object]], repeats: int, at_least: float = 0.0, pause: float = 0.0
) -> dict[str, Times]:
    """Time functions in interleaved rounds.

    Args:
        actions: Functions to time, by name.
        repeats: Rounds, after one warm-up round.
        at_least: Minimum seconds per function and round; shorter functions are called several times, with operands in
            the caches.
        pause: Seconds before each function, in which threads of the one before stop to busy-wait.
    """
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    calls = dict.fromkeys(actions, 1)
    for done in range(-WARM_UP, repeats):
        for name, action in actions.items():
            time.sleep(pause)
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls[name]):
                action()
            spent = (time.process_time() - cpu) / calls[name], (time.perf_counter() - wall) / calls[name]
            if done >= 0:
                rounds[name].append(spent)
            else:
                calls[name] = max(1, math.ceil(at_least / max(spent[1], 1e-9)))
    return {
        name: Times(*(round(1000 * median(column), 3) for column in zip(*spent, strict=True)))
        for name, spent in rounds.items()
    }


def gpu() -> torch.device:
    """Initialize and return the GPU; exit without one."""
    if not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU: nothing was measured")
    torch.manual_seed(0)
    launch.PROBLEM = launch.MISSING  # the kernels are off by default
    torch.backends.cudnn.benchmark = True
    return torch.device("cuda")


def conditions(device: torch.device) -> dict[str, str | int]:
    """Conditions of a run: date, machine, torch version and threads."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(device),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def printed(rows: Iterable[RowType], line: Callable[[RowType], str]) -> Iterator[RowType]:
    """Print rows as they come."""
    for row in rows:
        print(line(row), flush=True)
        yield row


def write(path: Path, rows: Iterable[Any], device: torch.device = CPU) -> None:
    """Write dataclass rows as CSV, each with the conditions of this run."""
    shared = conditions(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    names = [*shared, *(field.name for field in fields(rows[0]))]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, lineterminator="\n")
        table.writeheader()
        table.writerows(shared | asdict(row) for row in rows)
