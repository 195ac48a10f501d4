"""Do one thing for every item of a data set, in processes that work ahead."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from torch.utils.data import Dataset

from skipweave.data.loader_workers import Loader, check_workers
from skipweave.errors import SkipweaveError

Answer = TypeVar("Answer")


def each(work: Callable[[int], Answer], count: int, workers: int) -> Iterator[Answer]:
    """The answers work(0), work(1), ... work(count - 1), in order.

    Args:
        work: what to do; picklable where processes cannot be forked, as its answers must be anywhere.
        count: how often.
        workers: processes; 0 does the work in this one.

    Raises:
        SkipweaveError: a process was killed, or `workers` is out of range.
    """
    check_workers(workers)
    loader: Loader[Answer] = Loader(
        _Work(work, count),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        prefetch_factor=8 if workers else None,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise SkipweaveError(
            f"a process that reads images was ended from outside, perhaps for want of memory: try fewer than "
            f"{workers} workers ({str(error).splitlines()[0]})"
        ) from error


class _Work(Dataset[Answer], Generic[Answer]):
    def __init__(self, work: Callable[[int], Answer], count: int) -> None:
        self.work = work
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Answer:
        return self.work(index)


def _as_it_is(answer: Any) -> Any:
    return answer
