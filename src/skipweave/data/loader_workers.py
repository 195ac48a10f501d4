"""Data-loading workers: valid numbers and a warning for too many."""

from typing import TypeVar

from torch.utils.data import DataLoader

from skipweave.ops.cpu.processor import cores
from skipweave_config.errors import SkipweaveError

Value = TypeVar("Value")

MOST_WORKERS = 1024


def workers_problem(workers: int) -> str:
    """Describe what is wrong with a number of workers; empty if it is valid."""
    return "" if 0 <= workers <= MOST_WORKERS else f"workers is {workers}: expected 0 to {MOST_WORKERS}"


def check_workers(workers: int) -> None:
    """Check a number of workers.

    Raises:
        SkipweaveError: The number is negative or above 1024.
    """
    if problem := workers_problem(workers):
        raise SkipweaveError(problem)


def workers_warning(workers: int, processes: int = 1) -> str:
    """Return a warning if there are more workers than processor cores; empty otherwise.

    Args:
        workers: Workers per process.
        processes: Training processes on this machine.
    """
    if not workers or workers * processes <= cores():
        return ""
    each = f" in each of {processes} processes" if processes > 1 else ""
    return f"workers is {workers}{each}, but this machine has {cores()} cores: more workers do not load faster"


class Loader(DataLoader[Value]):
    """`DataLoader` without its warning about more workers than cores, which `workers_warning` replaces."""

    def check_worker_number_rationality(self) -> None:
        """Do nothing."""
