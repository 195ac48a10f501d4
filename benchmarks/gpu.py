"""All GPU benchmarks in one call of under 8 minutes: correctness, speed and memory.

Each part is a script and runs in its own process, so a crashing kernel does not affect the others; tables are written
incrementally. Cases that are skipped for lack of time are printed.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.timing import RESULTS

PARTS = {  # scripts, and fractions of the time
    "kernels": ("gpu_kernels", 2.0),
    "networks": ("gpu_networks", 3.8),
    "channel_sparse": ("channel_sparse_gpu", 1.0),
}
GRACE = 0.9  # minutes for the running case of a part


def main() -> None:
    """Run the parts in order, each with its fraction of the remaining time."""
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=6.8, help="for all parts; a running case may take one more")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="gets gpu_PART.csv of each")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            "There is no GPU here that torch can use: nothing was measured. On a machine with one, "
            "`python -m benchmarks.gpu` measures everything within 8 minutes."
        )
    failed = run(given.parts, given.minutes, given.folder)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def run(parts: list[str], minutes: float, folder: Path) -> list[str]:
    """Run parts; return those that failed, or were stopped."""
    end = time.monotonic() + 60 * minutes
    failed = []
    for place, part in enumerate(parts):
        left = max(0.0, (end - time.monotonic()) / 60)
        share = left * PARTS[part][1] / sum(PARTS[other][1] for other in parts[place:])
        print(f"== {part}: {share:.1f} minutes", flush=True)
        if not ran(command(part, share, folder / f"gpu_{part}.csv"), share + GRACE):
            failed.append(part)
    return failed


def command(part: str, minutes: float, output: Path) -> list[str]:
    """The command line of a part."""
    return [
        sys.executable,
        "-m",
        f"benchmarks.{PARTS[part][0]}",
        "--minutes",
        f"{minutes:.2f}",
        "--output",
        str(output),
    ]


def ran(command: list[str], minutes: float) -> bool:
    """Whether a command succeeded within the time."""
    try:
        return subprocess.run(command, timeout=60 * minutes).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"stopped after {minutes:.1f} minutes; its table has the results so far", flush=True)
        return False


if __name__ == "__main__":
    main()
