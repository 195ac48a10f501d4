"""Data-loading workers: valid numbers and a warning for too many."""

import sys
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from skipweave.ops.cpu.processor import cores
from skipweave_config.errors import SkipweaveError

Value = TypeVar("Value")

MOST_WORKERS = 1024


def check_workers(workers: int) -> None:
    """Check a number of workers.

    Raises:
        SkipweaveError: The number is negative or above 1024.
    """
    if not 0 <= workers <= MOST_WORKERS:
        raise SkipweaveError(f"workers is {workers}: expected 0 to {MOST_WORKERS}")


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
    """`DataLoader` of a dataset's items as they are, not in batches, in forked workers on Linux.

    It does not warn about more workers than cores, as `workers_warning` does.

    Args:
        dataset: Any dataset.
        workers: Worker processes; 0 loads in the calling process.
        **options: Other options of `DataLoader`.

    Raises:
        SkipweaveError: The number of workers is out of range.
    """

    def __init__(self, dataset: Dataset[Value], workers: int, **options: Any) -> None:
        check_workers(workers)
        fork = "fork" if workers and sys.platform == "linux" else None
        super().__init__(
            dataset,
            batch_size=None,
            collate_fn=_identity,
            num_workers=workers,
            multiprocessing_context=fork,
            **options,
        )

    def check_worker_number_rationality(self) -> None:
        """Do nothing."""


def _identity(item: Any) -> Any:
    return item
