"""Runner for benchmark cases with a time limit, which saves results incrementally."""

import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import write

Case = tuple[str, Callable[[], Iterable[Any]]]


def run(cases: Iterable[Case], minutes: float, output: Path, device: torch.device) -> tuple[list[Any], list[str]]:
    """Run cases in order and write the table after each, until the time limit.

    Args:
        cases: Names, and functions that return the rows of each.
        minutes: Time limit; no case starts later.
        output: Table to write.
        device: Device.

    Returns:
        All rows, and the names of the failed cases with the reasons. Skipped cases are printed.
    """
    end = time.monotonic() + 60 * minutes
    rows: list[Any] = []
    failed: list[str] = []
    for name, find in cases:
        if time.monotonic() >= end:
            print(f"No time left for {name}", flush=True)
            continue
        try:
            for row in find():
                rows.append(row)
        except Exception as error:  # a failing kernel must not prevent the others
            traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        if rows:
            write(output, rows, device)
    return rows, failed


def end(output: Path, problems: list[str]) -> None:
    """Print the path of the table; exit with the problems if there are any."""
    print(f"Written to {output}" if output.exists() else "Nothing was measured.")
    if problems:
        raise SystemExit("\n".join([f"{len(problems)} problems:", *problems]))
