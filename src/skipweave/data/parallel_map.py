"""Ordered map over the indices of a dataset in worker processes."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from torch.utils.data import Dataset

from skipweave.data.loader_workers import Loader
from skipweave_config.errors import SkipweaveError

Result = TypeVar("Result")


def parallel_map(function: Callable[[int], Result], count: int, workers: int) -> Iterator[Result]:
    """Yield function(0), function(1), ... function(count - 1), in order.

    Args:
        function: Function of an index; picklable where processes cannot be forked. Its results must be picklable.
        count: Number of calls.
        workers: Worker processes; 0 runs in the calling process.

    Raises:
        SkipweaveError: A worker was killed, or `workers` is out of range.
    """
    loader: Loader[Result] = Loader(_Calls(function, count), workers, prefetch_factor=8 if workers else None)
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise SkipweaveError(
            f"a data-loading worker was killed, perhaps for lack of memory: use fewer than {workers} workers "
            f"({str(error).splitlines()[0]})"
        ) from error


class _Calls(Dataset[Result], Generic[Result]):
    def __init__(self, function: Callable[[int], Result], count: int) -> None:
        self.function = function
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Result:
        return self.function(index)
