"""Processes that read images ahead, and how many of them make sense."""

from typing import TypeVar

from torch.utils.data import DataLoader

from skipweave.errors import SkipweaveError
from skipweave.ops.cpu.processor import cores

Value = TypeVar("Value")

MOST_WORKERS = 1024


def workers_problem(workers: int) -> str:
    """What is wrong with a number of processes; nothing if it can be tried."""
    return "" if 0 <= workers <= MOST_WORKERS else f"workers is {workers}: expected 0 to {MOST_WORKERS} processes"


def check_workers(workers: int) -> None:
    """Check a number of processes.

    Raises:
        SkipweaveError: it is below 0 or above 1024.
    """
    if problem := workers_problem(workers):
        raise SkipweaveError(problem)


def workers_note(workers: int, processes: int = 1) -> str:
    """What the user should know of a number of processes that can be tried; nothing if it is fine.

    Args:
        workers: of each process.
        processes: on this machine that start so many each.
    """
    if not workers or workers * processes <= cores():
        return ""
    each = f" in each of {processes} processes" if processes > 1 else ""
    return f"workers is {workers}{each}, but there are {cores()} cores here: more workers wait for each other"


class Loader(DataLoader[Value]):
    """torch's, without its warning of more workers than cores: `workers_note` is said instead."""

    def check_worker_number_rationality(self) -> None:
        """Warn of nothing."""
