"""Running cases until the time is over, and keeping what was found whatever happens."""

import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import write

Case = tuple[str, Callable[[], Iterable[Any]]]


def run(cases: Iterable[Case], minutes: float, output: Path, device: torch.device) -> tuple[list[Any], list[str]]:
    """Run cases one after another; what they find is written after each, and none starts when the time is over.

    Args:
        cases: Their names, and what finds the rows of each.
        minutes: After which no further case starts.
        output: The table.
        device: On which they run.

    Returns:
        All rows, and the names of the cases that failed, with the reasons. What there was no time for is printed.
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
        except Exception as error:  # a kernel that fails must not cost what others found
            traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
        if rows:
            write(output, rows, device)
    return rows, failed


def end(output: Path, problems: list[str]) -> None:
    """Say where the table is; leave with the problems if there are some."""
    print(f"Written to {output}" if output.exists() else "Nothing was measured.")
    if problems:
        raise SystemExit("\n".join([f"{len(problems)} problems:", *problems]))
